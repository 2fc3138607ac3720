"""Reads the answer of a judge: `text -> critical steps`, or an error. Nothing is guessed.

The time is linear in the length of the answer, for any content.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

from atlas.records import CRITICAL_KINDS, CriticalKind, CriticalStep
from atlas.selection.selectors.base import take_best

WordT = TypeVar("WordT", bound=str)
# Maximum characters of an answer that are read.
LONGEST_ANSWER = 500_000
# A brace that begins no JSON object may cost a pass over the rest of the text. This many passes are
# made, and a short text may take as many as these characters allow.
MOST_PASSES, FREE_CHARACTERS = 4, 1_000_000
# An object begins with a name, or ends at once. Most braces in prose and code are not objects.
_OBJECT = re.compile(r'\{\s*["}]')
# A message quotes at most this many characters of a value.
LONGEST_QUOTED = 60
_QUOTES = reprlib.Repr()
_QUOTES.maxstring = _QUOTES.maxother = _QUOTES.maxlong = LONGEST_QUOTED


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
        AnswerError: no object or several different ones have it, it is not a list, or the text is
            too long, or nested too deeply, to be read.
    """
    if len(text) > LONGEST_ANSWER:
        raise AnswerError(f"it has {len(text):,} characters, at most {LONGEST_ANSWER:,} are read")
    found: dict[str, Any] | None = None
    try:
        for value in _json_objects(_without_thoughts(text)):
            if name not in value or value == found:
                continue
            if found is not None:
                raise AnswerError(f"it holds different JSON objects with {name}, expected one")
            found = value
    except RecursionError:
        raise AnswerError("it is nested too deeply") from None
    if found is None:
        raise AnswerError(f"it holds no JSON object with {name}")
    given = found[name]
    if not isinstance(given, list):
        raise AnswerError(f"{name} is {quoted(given)}, expected a list")
    return given


def quoted(value: Any) -> str:
    """A decoded value as a few characters for a message, however large or nested it is."""
    return _QUOTES.repr(value)[:LONGEST_QUOTED]


def refuse_repeats(indices: Iterable[int]) -> None:
    """Raises AnswerError where one index is given twice."""
    if twice := sorted(index for index, count in Counter(indices).items() if count > 1):
        raise AnswerError(f"step {twice[0]} is named more than once")


def read_index(entry: Any, place: int, name: str, steps: range) -> int:
    """The index in one entry of the list `name`; it must be one of `steps`."""
    where = f"entry {place} of {name}"
    if not isinstance(entry, dict):
        raise AnswerError(f"{where} is {quoted(entry)}, expected an object with an index")
    index = entry.get("index")
    if not isinstance(index, int) or isinstance(index, bool):
        raise AnswerError(f"{where} has index {quoted(index)}, expected a whole number")
    if index not in steps:
        first, last = steps[0], steps[-1]
        raise AnswerError(
            f"index {quoted(index)} is out of range, steps are numbered {first} to {last}"
        )
    return index


def read_word(given: Any, what: str, words: Sequence[WordT], written: Any) -> WordT:
    """Find `written` in `words`; the error quotes `given`, the original answer."""
    for word in words:
        if written == word:
            return word
    raise AnswerError(f"{what} is {quoted(given)}, expected one of {', '.join(words)}")


def read_reason(entry: dict[str, Any], index: int) -> str | None:
    """The reason in an entry, without lone surrogates, which cannot be saved."""
    reason = entry.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise AnswerError(f"the reason of step {index} is {quoted(reason)}, expected a sentence")
    return reason and reason.encode("utf-8", "replace").decode("utf-8")


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in a text.

    Raises:
        AnswerError: too many braces begin no JSON object, and finding this out takes too long.
    """
    constants: list[str] = []
    decoder = json.JSONDecoder(parse_constant=constants.append)
    left = MOST_PASSES * len(text) + FREE_CHARACTERS
    position = 0
    while (match := _OBJECT.search(text, position)) is not None:
        start, end, is_object = match.start(), len(text), False
        try:
            value, end = decoder.raw_decode(text, start)
            is_object = not constants
        except json.JSONDecodeError as error:
            # The error of an open string has the position where the string begins.
            if not error.msg.startswith("Unterminated"):
                end = error.pos
        except (ValueError, RecursionError):
            # A number has thousands of digits, or there are too many levels. The position is
            # unknown.
            pass
        constants.clear()
        if is_object:
            yield value
            position = end
            continue
        # An error also counts the lines before it.
        left -= end - start + start // 10 + 50
        if left < 0:
            raise AnswerError("it holds too many braces that begin no JSON object")
        position = start + 1


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
        what = f"the confidence of step {index} is {quoted(confidence)}"
        raise AnswerError(f"{what}, expected a number from 0 to 1")
    given = entry.get("kind")
    written = re.sub(r"[\s-]+", "_", given.strip().lower()) if isinstance(given, str) else given
    kind: CriticalKind = read_word(given, f"the kind of step {index}", CRITICAL_KINDS, written)
    reason = read_reason(entry, index)
    return CriticalStep(index=index, kinds=(kind,), reason=reason, score=confidence)
