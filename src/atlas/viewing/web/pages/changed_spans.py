"""Two texts or two calls -> spans, each marked as changed or not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
# Words that are compared one by one on both sides together; longer texts are marked as a whole.
MAX_COMPARISONS = 250_000


@dataclass(frozen=True, slots=True)
class ChangedSpan:
    """A piece of text, and whether the other side has another one in its place."""

    text: str
    is_changed: bool = False


Spans = tuple[ChangedSpan, ...]


def plain_spans(text: str) -> Spans:
    """The text as one unchanged span; none if it is empty."""
    return (ChangedSpan(text),) if text else ()


def compare_words(left: str, right: str) -> tuple[Spans, Spans]:
    """The spans of both texts; words that the other text lacks at this place are changed."""
    if left == right:
        return plain_spans(left), plain_spans(right)
    if left > right:
        # The matcher depends on the order of its arguments, and this function does not.
        other, one = compare_words(right, left)
        return one, other
    words, others = _WORDS.findall(left), _WORDS.findall(right)
    start = _num_common(words, others)
    end = _num_common(words[start:][::-1], others[start:][::-1])
    inner, inner_others = words[start : len(words) - end], others[start : len(others) - end]
    kept, kept_others = [(0, start)], [(0, start)]
    if len(inner) * len(inner_others) <= MAX_COMPARISONS:
        matcher = SequenceMatcher(None, inner, inner_others, autojunk=False)
        for place, other_place, size in matcher.get_matching_blocks():
            kept.append((start + place, size))
            kept_others.append((start + other_place, size))
    kept.append((len(words) - end, end))
    kept_others.append((len(others) - end, end))
    return _mark(words, kept), _mark(others, kept_others)


def compare_values(left: Any, right: Any) -> tuple[Spans, Spans]:
    """The spans of two JSON values; texts are compared by word, others as they are written."""
    if isinstance(left, str) and isinstance(right, str):
        return compare_words(left, right)
    one, other = write_value(left), write_value(right)
    if type(left) is type(right) and not isinstance(left, int | float):
        return compare_words(one, other)
    # 1 and "1" have the same text.
    is_changed = one != other or type(left) is not type(right)
    return (ChangedSpan(one, is_changed),), (ChangedSpan(other, is_changed),)


def write_value(value: Any) -> str:
    """A JSON value as text; a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _num_common(left: Sequence[str], right: Sequence[str]) -> int:
    shorter = min(len(left), len(right))
    return next((index for index in range(shorter) if left[index] != right[index]), shorter)


def _mark(words: Sequence[str], kept: Sequence[tuple[int, int]]) -> Spans:
    """The words as spans; `kept` has the runs (start, length) that are unchanged, in order."""
    spans: list[ChangedSpan] = []

    def add(text: str, is_changed: bool) -> None:
        if text and spans and spans[-1].is_changed == is_changed:
            text = spans.pop().text + text
        if text:
            spans.append(ChangedSpan(text, is_changed))

    done = 0
    for start, size in kept:
        add("".join(words[done:start]), True)
        add("".join(words[start : start + size]), False)
        done = max(done, start + size)
    add("".join(words[done:]), True)
    return tuple(spans)
