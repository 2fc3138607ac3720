"""What a log of results says: samples with their scores, and facts about the log."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.errors import DataError, first_line
from atlas.records import Usage
from atlas.terminal.visible_text import one_line

MAX_ID_CHARS = 500
MAX_REASON_CHARS = 200
# A score of a sample: a number, also NaN, or a text that says what it is instead.
ScoreValue = float | str


@dataclass(frozen=True, slots=True)
class Sample:
    """One attempt at one task.

    Attributes:
        benchmark: what the task is a part of; a report shows each benchmark as a split.
        task: its id, the same in all logs that are compared.
        scores: by name. A score of several parts has a name for each: "judge/style".
        is_success: what the log itself says, if it says more than a score.
        error: why the sample broke: it is invalid, whatever its scores are.
        limit: the limit that ended it. With a score it counts.
        repetition: the number of the attempt; None: attempts are numbered in their order.
        seed: what the log calls a seed, if it holds several runs.
        content: a digest of the task itself, which tells different tasks of one id apart.
        num_steps: turns of the agent; None: the log does not say.
    """

    benchmark: str
    task: str
    scores: Mapping[str, ScoreValue]
    is_success: bool | None = None
    error: str | None = None
    limit: str | None = None
    repetition: int | None = None
    seed: str | None = None
    environment: str = ""
    group: str = ""
    content: str | None = None
    num_steps: int | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class ResultLog:
    """What one file says.

    Attributes:
        samples: may be read only once.
        id: what the log calls itself, the same in each copy; parts of one run share it.
        part: which part of a file these samples are, if it holds several, such as an arm.
        model: who was evaluated.
        settings: of the evaluation; a report says where those of two arms differ.
        score: the name of the score that the benchmark itself counts.
        success_at: from which score on it counts a success.
        cautions: what a reader must know of the log, such as that it is not finished.
    """

    samples: Iterable[Sample]
    id: str | None = None
    part: str = ""
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    score: str | None = None
    success_at: float | None = None
    cautions: tuple[str, ...] = ()


def read_id(value: Any, where: str, what: str = "task") -> str:
    """An id as text.

    Raises:
        DataError: it is not a text or whole number that can be shown.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_ID_CHARS:
        raise DataError(
            f"{where}: the {what} is {_shown(value)}, expected a name of at most {MAX_ID_CHARS} "
            "characters or a whole number."
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{where}: the {what} {_shown(value)} holds half of a surrogate pair.")
    return text.strip()


def read_score(value: Any) -> ScoreValue:
    """A number, or a text that says what is there instead."""
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return _shown(value)


def read_scores(given: Any, name: str = "") -> dict[str, ScoreValue]:
    """Scores by name; those of an object get names such as "judge/style"."""
    if not isinstance(given, dict):
        return {name or "score": read_score(given)}
    found: dict[str, ScoreValue] = {}
    for key, value in given.items():
        found |= read_scores(value, f"{name}/{key}" if name else safe_text(str(key)))
    return found


def reason_of(value: Any) -> str:
    """The first line of what a log says about an error."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return one_line(safe_text(first_line(text)), MAX_REASON_CHARS) or "an error without a message"


def content_of(*parts: Any) -> str | None:
    """A digest of a task's content; None if nothing is known of it."""
    if all(part is None or part in ("", [], {}) for part in parts):
        return None
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def whole_number(value: Any) -> int | None:
    """A count, None where there is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value < 1 << 53 else None


def usage_of(requests: Any, input_tokens: Any, output_tokens: Any) -> Usage | None:
    """The usage of a sample; None unless its tokens are known."""
    read, written = whole_number(input_tokens), whole_number(output_tokens)
    if read is None or written is None:
        return None
    return Usage(requests=whole_number(requests) or 0, input_tokens=read, output_tokens=written)


def safe_text(text: str) -> str:
    """The text as it can be stored: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def mapping(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """A text with something in it, as it can be stored, else None."""
    return safe_text(value) if isinstance(value, str) and value.strip() else None


def _shown(value: Any) -> str:
    return safe_text(f"{value!r:.60}")
