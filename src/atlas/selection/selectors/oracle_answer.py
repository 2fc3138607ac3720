"""What the oracle answered: `text -> critical steps`, or a complaint that says what is wrong. Nothing is guessed or trimmed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from atlas.records import CRITICAL_KINDS, CriticalKind, CriticalStep

_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)


class AnswerError(Exception):
    """An answer that cannot be used; the message completes the sentence "Your answer could not be used: …"."""


def read_answer(text: str, num_steps: int, budget: int) -> list[CriticalStep]:
    """The critical steps in an answer: one JSON object, prose or a code fence around it allowed.

    Raises:
        AnswerError: no such object or several, an index out of range or named twice, an unknown kind, more than `budget` steps.
    """
    given = _answer_object(text).get("critical_steps")
    if not isinstance(given, list):
        raise AnswerError(f"critical_steps is {given!r:.60}, expected a list")
    steps = [_critical_step(entry, place, num_steps) for place, entry in enumerate(given)]
    indices = [step.index for step in steps]
    if twice := sorted({index for index in indices if indices.count(index) > 1}):
        raise AnswerError(f"step {twice[0]} is named more than once")
    if len(steps) > budget:
        raise AnswerError(f"it names {len(steps)} steps, at most {budget} are allowed")
    return sorted(steps, key=lambda step: step.index)


def _answer_object(text: str) -> dict[str, Any]:
    """The one JSON object with critical_steps in the text; the same object said twice counts once."""
    found: list[dict[str, Any]] = []
    for value in _json_objects(_THINKING.sub("", text)):
        if "critical_steps" in value and value not in found:
            found.append(value)
    if not found:
        raise AnswerError("it holds no JSON object with critical_steps")
    if len(found) > 1:
        raise AnswerError(f"it holds {len(found)} different JSON objects with critical_steps, expected one")
    return found[0]


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in a text."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield value
        position = text.find("{", end)


def _critical_step(entry: Any, place: int, num_steps: int) -> CriticalStep:
    if not isinstance(entry, dict):
        raise AnswerError(f"entry {place} of critical_steps is {entry!r:.60}, expected an object with index, kind, reason and confidence")
    index, reason, confidence = entry.get("index"), entry.get("reason"), entry.get("confidence")
    if not isinstance(index, int) or isinstance(index, bool):
        raise AnswerError(f"entry {place} of critical_steps has index {index!r:.60}, expected a whole number")
    if not 0 <= index < num_steps:
        raise AnswerError(f"index {index} is out of range, steps are numbered 0 to {num_steps - 1}")
    if reason is not None and not isinstance(reason, str):
        raise AnswerError(f"the reason of step {index} is {reason!r:.60}, expected a sentence")
    if confidence is not None and (isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1):
        raise AnswerError(f"the confidence of step {index} is {confidence!r:.60}, expected a number from 0 to 1")
    return CriticalStep(index=index, kinds=(_kind(entry.get("kind"), index),), reason=_printable(reason), score=confidence)


def _kind(given: Any, index: int) -> CriticalKind:
    written = re.sub(r"[\s-]+", "_", given.strip().lower()) if isinstance(given, str) else given
    for kind in CRITICAL_KINDS:
        if written == kind:
            return kind
    raise AnswerError(f"the kind of step {index} is {given!r:.60}, expected one of {', '.join(CRITICAL_KINDS)}")


def _printable(reason: str | None) -> str | None:
    """Without lone surrogates, which JSON can spell and a file cannot hold."""
    return reason and reason.encode("utf-8", "replace").decode("utf-8")


def _refuse_constant(constant: str) -> Any:
    raise ValueError(constant)
