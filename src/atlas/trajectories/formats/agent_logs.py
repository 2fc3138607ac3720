"""Shared by readers of agent logs: `fields and turns -> trajectory`, or a problem."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atlas.records import Outcome, Problem, Source, Task, Trajectory
from atlas.trajectories.formats.conversations import split_conversation
from atlas.trajectories.formats.fields import text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Reading, printable
from atlas.trajectories.react_turns import Remark


def build_reading(
    turns: Sequence[Turn],
    prompt_length: int,
    *,
    task: Task,
    digest: str,
    outcome: Outcome,
    source: Source,
    tools: tuple[dict[str, Any], ...] = (),
    remarks: Iterable[Remark] = (),
) -> Reading:
    """The trajectory of a conversation whose first `prompt_length` turns are its prompt.

    Its id is that of the task and `digest`, the hash of what it was read from. `remarks` join
    those that the turns bring along.

    Raises:
        BadRowError: no assistant turn follows the prompt.
    """
    parts = split_conversation(turns, prompt_length)
    details = parts.add_cut_steps(source.details)
    trajectory = Trajectory(
        id=task.id if task.id.endswith(f"-{digest}") else f"{task.id}-{digest}",
        task=task,
        prompt=parts.prompt,
        tools=tools,
        steps=parts.steps,
        final_observation=parts.final_observation,
        outcome=outcome,
        source=source.model_copy(update={"details": details}),
    )
    return Reading(trajectory, tuple(dict.fromkeys((*parts.remarks, *remarks))))


def idle_remark(number: int) -> Remark:
    """The remark on messages of contexts in which the agent did not act."""
    return -1, f"{number} messages of a context in which the agent did not act are left out"


def acted_contexts(
    contexts: Iterable[tuple[range, Reading | None]],
) -> tuple[list[Reading], list[int]]:
    """The readings of a session's contexts, and the indices of the messages of the other ones.

    A context has no reading if the agent did not act in it. The last reading counts them.
    """
    readings: list[Reading] = []
    idle: list[int] = []
    for indices, reading in contexts:
        if reading is None:
            idle += indices
        else:
            readings.append(reading)
    if readings and idle:
        trajectory, remarks = readings[-1]
        readings[-1] = Reading(trajectory, [*remarks, idle_remark(len(idle))])
    return readings, idle


def problem_of(error: Exception, where: str, item: str | None = None) -> Problem:
    """The problem of a part of a log that could not be read."""
    place = error.place(where) if isinstance(error, BadRowError) else where
    return Problem(where=place, reason=reason_of(error), item=item)


def reason_of(error: Exception) -> str:
    """The reason why a part of a log could not be read."""
    if isinstance(error, BadRowError):
        return printable(str(error))
    if isinstance(error, RecursionError):
        return "not usable: nested too deeply"
    return f"not a trajectory: {printable(str(error)).splitlines()[0]}"


def hash_of_texts(texts: Iterable[str]) -> str:
    """12 hex digits of several texts."""
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:12]


def texts_of(owner: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """The fields in `keys` that hold a text."""
    return {key: text for key in keys if (text := text_or_none(owner.get(key)))}


def objects_of(owner: Mapping[str, Any], *keys: str) -> list[dict[str, Any]]:
    """The objects in the list under the first existing key of `keys`; other values are skipped."""
    value = next((owner[key] for key in keys if key in owner), None)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def call_fields(call: Mapping[str, Any], id_key: str, name_key: str) -> dict[str, Any]:
    """A tool call in the form of a chat; `keys` name its id and its name."""
    return {
        "id": call.get(id_key),
        "name": call.get(name_key),
        "arguments": call.get("arguments"),
    }
