"""A trajectory during an import: its line of the file, and facts to filter, count and check.

It is made from a record, or directly from a plain chat whose values the reader has checked, which
saves time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import NamedTuple

import orjson
from pydantic_core import PydanticSerializationError, from_json
from pydantic_core import to_json as write_json

from atlas.records import CUT_STEPS, SCHEMA_VERSION, Message, OutcomeStatus, Role, Trajectory
from atlas.store.record_files import to_json
from atlas.trajectories.call_results import odd_calls
from atlas.trajectories.react_turns import ACTION, Remark, odd_opening, odd_steps

CUT = "the answer was cut by length"
# Of objects and lists in tools or details: with those around them, every reader of JSON takes them.
MAX_LEVELS = 120
TOO_DEEP = f"not usable: nested too deeply (more than {MAX_LEVELS} levels)"
# What `from_json` takes.
_LEVELS_OF_READER = 201

# Of a record: orjson writes them in the order of the record.
fields_of = attrgetter("__dict__")


class TrajectoryLine(NamedTuple):
    """One trajectory of an import.

    Attributes:
        line: the line in the JSONL file, without the line break.
        row: the row in the source file, counted from 0, if there is one.
        remarks: oddities of its steps.
        characters: number of characters per role, in texts, reasoning and calls.
        unread: paths of leaves of the source that are not in the record.
        ignored: those of the paths to ignore that occurred.
    """

    id: str
    line: bytes
    task: str
    environment: str
    group: str
    split: str
    source: str
    row: int | None
    status: OutcomeStatus
    num_steps: int
    remarks: list[Remark]
    characters: dict[Role, int]
    unread: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def with_id(self, id_: str) -> TrajectoryLine:
        """The same trajectory under another id."""
        rest = self.line[len(_line_start(self.id)) :]
        return self._replace(id=id_, line=_line_start(id_) + rest)


def line_of(trajectory: Trajectory) -> TrajectoryLine:
    """Make a TrajectoryLine from a record.

    Raises:
        RecursionError: tools or details are nested so deeply that the line could not be read again.
    """
    task, source = trajectory.task, trajectory.source
    responses = [step.response for step in trajectory.steps]
    texts = [response.content for response in responses]
    empty_steps = [
        index
        for index, response in enumerate(responses)
        if not response.tool_calls
        and not response.content.strip()
        and not (response.reasoning or "").strip()
    ]
    characters: dict[Role, int] = {}
    any_calls = False
    # Access to an attribute of a pydantic model is three times slower than access to its fields.
    for fields in map(fields_of, _messages(trajectory)):
        number = len(fields["content"]) + len(fields["reasoning"] or "")
        if calls := fields["tool_calls"]:
            number += sum(len(call.name) + len(call.arguments) for call in calls)
        any_calls = any_calls or bool(calls) or fields["tool_call_id"] is not None
        characters[fields["role"]] = characters.get(fields["role"], 0) + number
    return TrajectoryLine(
        id=trajectory.id,
        line=_write(trajectory),
        task=task.id,
        environment=task.environment,
        group=task.group,
        split=task.split or "",
        source=source.name,
        row=source.row,
        status=trajectory.outcome.status,
        num_steps=len(texts),
        remarks=_remarks(trajectory, texts, empty_steps, any_calls),
        characters=characters,
    )


def _remarks(
    trajectory: Trajectory, texts: Sequence[str], empty_steps: Sequence[int], any_calls: bool
) -> list[Remark]:
    """What is odd about the steps, in their order."""
    remarks = odd_steps(texts, [text.split(ACTION) for text in texts], empty_steps)
    if not texts:
        return remarks
    steps = trajectory.steps

    def seen_before(index: int) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in steps[index].observation]

    prompt = [(message.role, message.content) for message in trajectory.prompt]
    more = odd_opening([*prompt, *seen_before(0)], texts, seen_before)
    if any_calls:
        more += odd_calls(_in_place(trajectory))
    cut = trajectory.source.details.get(CUT_STEPS)
    if isinstance(cut, list):
        more += [(at, CUT) for at in cut if type(at) is int and 0 <= at < len(texts)]
    return sorted([*remarks, *more], key=itemgetter(0)) if more else remarks


def _in_place(trajectory: Trajectory) -> Iterator[tuple[int, Message]]:
    """Every message, with the step that it answers or was seen before; -1 for the prompt."""
    yield from ((-1, message) for message in trajectory.prompt)
    for index, step in enumerate(trajectory.steps):
        yield from ((index, message) for message in step.observation)
        yield index, step.response
    last = len(trajectory.steps) - 1
    yield from ((last, message) for message in trajectory.final_observation)


def _messages(trajectory: Trajectory) -> list[Message]:
    messages = [*trajectory.prompt, *trajectory.final_observation]
    for step in trajectory.steps:
        messages += step.observation
        messages.append(step.response)
    return messages


def _write(trajectory: Trajectory) -> bytes:
    """The same bytes as `to_json` in half the time.

    orjson would write null for infinity (1e400 in the source), so values that may hold one are
    checked.
    """
    scores = [reward for step in trajectory.steps if (reward := step.reward) is not None]
    if (score := trajectory.outcome.score) is not None:
        scores.append(score)
    open_values = (list(trajectory.tools), trajectory.source.details)
    try:
        as_it_came = [orjson.dumps(value) for value in open_values]
        _refuse_deep(as_it_came)
        if not any(b"null" in text for text in as_it_came) and all(map(math.isfinite, scores)):
            return orjson.dumps(fields_of(trajectory), default=fields_of)
    except orjson.JSONEncodeError:
        # Whole numbers beyond 64 bits, or great depth.
        try:
            _refuse_deep([write_json(value) for value in open_values])
        except PydanticSerializationError:
            raise RecursionError(TOO_DEEP) from None
    return to_json(trajectory)


def _refuse_deep(texts: Sequence[bytes]) -> None:
    """Refuse a JSON text of which a value has more than MAX_LEVELS levels."""
    for text in texts:
        if text.count(b"{") + text.count(b"[") > MAX_LEVELS and not _is_readable(text):
            raise RecursionError(TOO_DEEP)


# Rows of one source often have the same tools.
@lru_cache(maxsize=2)
def _is_readable(text: bytes) -> bool:
    """Whether a JSON text has at most MAX_LEVELS levels."""
    around = _LEVELS_OF_READER - MAX_LEVELS
    try:
        from_json(b"[" * around + text + b"]" * around)
    except ValueError:
        return False
    return True


def _line_start(id_: str) -> bytes:
    """A line up to its id: version and id are the first fields of a trajectory."""
    return orjson.dumps({"version": SCHEMA_VERSION, "id": id_})[:-1]
