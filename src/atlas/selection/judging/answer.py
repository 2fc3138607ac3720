"""Reads the answer of a judge: `text -> critical steps`, or an error. Nothing is guessed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

from atlas.records import CRITICAL_KINDS, CriticalKind, CriticalStep
from atlas.selection.selectors.base import take_best

WordT = TypeVar("WordT", bound=str)
# Maximum number of braces that begin no JSON. Each one costs a pass over the text, which may be
# long.
MOST_BRACES = 1_000


class AnswerError(Exception):
    """An answer that cannot be used. The message completes "Your answer could not be used: …"."""


def read_answer(text: str, steps: range, budget: int) -> list[CriticalStep]:
    """Read the critical steps in an answer about `steps`: one JSON object, maybe inside prose.

    Raises:
        AnswerError: there is not exactly one such object, an index is out of range or repeated, a
            kind is unknown, or there are more than `budget` steps.
    """
    found = [
        _critical_step(entry, place, steps)
        for place, entry in enumerate(answer_list(text, "critical_steps"))
    ]
    refuse_repeats([step.index for step in found])
    if len(found) > budget:
        raise AnswerError(f"it names {len(found)} steps, at most {budget} are allowed")
    return sorted(found, key=lambda step: step.index)


def merge_answers(answers: Iterable[Sequence[CriticalStep]], budget: int) -> list[CriticalStep]:
    """The `budget` steps with the highest confidence in the answers about overlapping windows.

    Of equals the earlier step is taken. A step in two answers counts with the higher confidence;
    steps without a confidence come last.
    """
    surest: dict[int, CriticalStep] = {}
    for step in chain.from_iterable(answers):
        if step.index not in surest or (step.score or 0.0) > (surest[step.index].score or 0.0):
            surest[step.index] = step
    return sorted(take_best(surest.values(), budget), key=lambda step: step.index)


def answer_list(text: str, name: str) -> list[Any]:
    """The list `name` in the only JSON object that has it; equal objects count once.

    Raises:
        AnswerError: no object or several different ones have it, or it is not a list.
    """
    found: list[dict[str, Any]] = []
    for value in _json_objects(_without_thoughts(text)):
        if name in value and value not in found:
            found.append(value)
    if not found:
        raise AnswerError(f"it holds no JSON object with {name}")
    if len(found) > 1:
        raise AnswerError(f"it holds {len(found)} different JSON objects with {name}, expected one")
    given = found[0][name]
    if not isinstance(given, list):
        raise AnswerError(f"{name} is {given!r:.60}, expected a list")
    return given


def refuse_repeats(indices: Iterable[int]) -> None:
    """Raises AnswerError where one index is given twice."""
    if twice := sorted(index for index, count in Counter(indices).items() if count > 1):
        raise AnswerError(f"step {twice[0]} is named more than once")


def read_index(entry: Any, place: int, name: str, steps: range) -> int:
    """The index in one entry of the list `name`; it must be one of `steps`."""
    where = f"entry {place} of {name}"
    if not isinstance(entry, dict):
        raise AnswerError(f"{where} is {entry!r:.60}, expected an object with an index")
    index = entry.get("index")
    if not isinstance(index, int) or isinstance(index, bool):
        raise AnswerError(f"{where} has index {index!r:.60}, expected a whole number")
    if index not in steps:
        first, last = steps[0], steps[-1]
        raise AnswerError(f"index {index} is out of range, steps are numbered {first} to {last}")
    return index


def read_word(given: Any, what: str, words: Sequence[WordT], written: Any) -> WordT:
    """Find `written` in `words`; the error quotes `given`, the original answer."""
    for word in words:
        if written == word:
            return word
    raise AnswerError(f"{what} is {given!r:.60}, expected one of {', '.join(words)}")


def read_reason(entry: dict[str, Any], index: int) -> str | None:
    """The reason in an entry, without lone surrogates, which cannot be saved."""
    reason = entry.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise AnswerError(f"the reason of step {index} is {reason!r:.60}, expected a sentence")
    return reason and reason.encode("utf-8", "replace").decode("utf-8")


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in a text."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    position, num_others = text.find("{"), 0
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end, num_others = position + 1, num_others + 1
            if num_others > MOST_BRACES:
                raise AnswerError(
                    f"it holds more than {MOST_BRACES:,} braces that begin no JSON object"
                ) from None
        else:
            yield value
        position = text.find("{", end)


def _without_thoughts(text: str) -> str:
    """The text without the parts between think tags."""
    # One pass over the text; a regular expression would start again at each tag.
    kept, position = [], 0
    while (start := text.find("<think>", position)) >= 0:
        if (end := text.find("</think>", start)) < 0:
            break
        kept.append(text[position:start])
        position = end + len("</think>")
    return "".join(kept) + text[position:]


def _critical_step(entry: Any, place: int, steps: range) -> CriticalStep:
    index = read_index(entry, place, "critical_steps", steps)
    confidence = entry.get("confidence")
    is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if confidence is not None and not (is_number and 0 <= confidence <= 1):
        what = f"the confidence of step {index} is {confidence!r:.60}"
        raise AnswerError(f"{what}, expected a number from 0 to 1")
    given = entry.get("kind")
    written = re.sub(r"[\s-]+", "_", given.strip().lower()) if isinstance(given, str) else given
    kind: CriticalKind = read_word(given, f"the kind of step {index}", CRITICAL_KINDS, written)
    reason = read_reason(entry, index)
    return CriticalStep(index=index, kinds=(kind,), reason=reason, score=confidence)


def _refuse_constant(constant: str) -> Any:
    raise ValueError(constant)
