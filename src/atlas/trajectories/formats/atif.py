"""Agent Trajectory Interchange Format, v1.0 to v1.8.

A document is one trajectory, and one more for each embedded sub-agent. An agent step is a step; its
observation is what the next one saw. Copied context at the start is prompt. A step that no model
wrote (`llm_call_count` 0) is kept and annotated as not to be trained on.
Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.records import Outcome, Role, Task, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT
from atlas.trajectories.formats.conversations import split_conversation
from atlas.trajectories.formats.fields import (
    list_of_objects,
    object_or_empty,
    read_one_message,
    text_or_none,
)
from atlas.trajectories.formats.messages import Turn, read_tool_call
from atlas.trajectories.formats.rows import BadRowError, SourceRow

ROLES: dict[str, Role] = {"system": "system", "user": "user", "agent": "assistant"}
DETAILS = (
    "schema_version",
    "session_id",
    "trajectory_id",
    "notes",
    "final_metrics",
    "continued_trajectory_ref",
    "extra",
)
_VERSION = re.compile(r"ATIF-v1\.\d+")


class ATIFFormat(RowFormat):
    """Reads ATIF documents, one a file or as rows."""

    def matches(self, row: Any) -> bool:
        return (
            isinstance(row, dict)
            and _is_atif(row.get("schema_version"))
            and isinstance(row.get("steps"), list)
        )

    def convert(self, row: SourceRow) -> list[Trajectory]:
        return _trajectories(row, None)


def _is_atif(version: Any) -> bool:
    return isinstance(version, str) and version.startswith("ATIF-v")


def _trajectories(row: SourceRow, parent: str | None) -> list[Trajectory]:
    """The document's trajectory, then its sub-agents', each after the one that called it."""
    document = row.value
    if not isinstance(document, dict) or not (parent or _is_atif(document.get("schema_version"))):
        raise BadRowError("no 'schema_version', expected one such as 'ATIF-v1.6'")
    version = document.get("schema_version")
    if version is not None and not (isinstance(version, str) and _VERSION.fullmatch(version)):
        raise BadRowError(f"schema_version is {version!r:.60}, expected ATIF-v1.0 to ATIF-v1.8")
    given = list_of_objects(document.get("steps"), "steps")
    start = _num_prompt_steps(given)
    turns = [_turns(step, index) for index, step in enumerate(given)]
    if not start:
        start = next(
            (index for index, step in enumerate(given) if step.get("source") != "system"),
            len(given),
        )
    conversation = split_conversation(
        [turn for step in turns for turn in step], sum(map(len, turns[:start]))
    )
    name = _name(document)
    agent = object_or_empty(document.get("agent"))
    trajectory = Trajectory(
        id=f"{name}-{row.content_hash}",
        task=Task(id=name, environment=UNKNOWN_ENVIRONMENT),
        prompt=conversation.prompt,
        tools=tuple(list_of_objects(agent.get("tool_definitions"), "tool_definitions")),
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        outcome=Outcome(status="unknown", reason="ATIF records no outcome"),
        source=row.source("atif", _details(document, given, parent)),
    )
    trajectories = [trajectory]
    for embedded in list_of_objects(document.get("subagent_trajectories"), "subagent_trajectories"):
        trajectories += _trajectories(row.part(embedded), trajectory.id)
    return trajectories


def _num_prompt_steps(steps: Sequence[Mapping[str, Any]]) -> int:
    """The steps up to the last copied one before the agent's first own step."""
    copied = [step.get("is_copied_context") is True for step in steps]
    first = next(
        (
            index
            for index, step in enumerate(steps)
            if step.get("source") == "agent" and not copied[index]
        ),
        len(steps),
    )
    for index in range(first, len(steps)):
        if copied[index] and steps[index].get("source") == "agent":
            raise BadRowError(
                "is_copied_context on an agent step after the agent's own steps, so it is neither "
                "prompt nor step. Import the trajectory it was copied from, and fix or leave out "
                "this one",
                index,
            )
    return max((index + 1 for index in range(first) if copied[index]), default=0)


def _turns(step: Mapping[str, Any], index: int) -> list[Turn]:
    """The step's message, then the results in its observation."""
    role = ROLES.get(step["source"]) if isinstance(step.get("source"), str) else None
    if role is None:
        raise BadRowError(
            f"source is {step.get('source')!r:.60}, expected one of {', '.join(ROLES)}", index
        )
    calls = [
        read_tool_call(
            {
                "id": call.get("tool_call_id"),
                "name": call.get("function_name"),
                "arguments": call.get("arguments"),
            },
            index,
        )
        for call in list_of_objects(step.get("tool_calls"), "tool_calls", index)
    ]
    if calls and role != "assistant":
        raise BadRowError("tool_calls may only stand on agent steps", index)
    message = read_one_message(
        role, step.get("message"), index, reasoning_content=step.get("reasoning_content")
    )
    is_models_own = False if step.get("llm_call_count") == 0 else None
    turns = [Turn(message.model_copy(update={"tool_calls": tuple(calls)}), is_models_own)]
    for result in list_of_objects(
        object_or_empty(step.get("observation")).get("results"),
        "the results of an observation",
        index,
    ):
        id_ = result.get("source_call_id")
        # A result that names no call answers the text of the turn, as a user does.
        answer = read_one_message(
            "tool" if id_ or calls else "user", result.get("content"), index, tool_call_id=id_
        )
        if not answer.content:
            answer = answer.model_copy(update={"content": _references(result)})
        turns.append(Turn(answer))
    return turns


def _references(result: Mapping[str, Any]) -> str:
    """Marks for the sub-agents that gave a result without text."""
    given = result.get("subagent_trajectory_ref") or []
    return "".join(
        f"[sub-agent {_name(object_or_empty(each))}]"
        for each in (given if isinstance(given, list) else [given])
    )


def _name(document: Mapping[str, Any]) -> str:
    for key in ("trajectory_id", "session_id", "trajectory_path"):
        if name := text_or_none(document.get(key)):
            return name
    return "unnamed"


def _details(
    document: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], parent: str | None
) -> dict[str, Any]:
    details = {key: document[key] for key in DETAILS if document.get(key) is not None}
    if agent := {
        key: value
        for key, value in object_or_empty(document.get("agent")).items()
        if key != "tool_definitions"
    }:
        details["agent"] = agent
    extras = {
        str(step.get("step_id", index + 1)): step["extra"]
        for index, step in enumerate(steps)
        if step.get("extra")
    }
    if extras:
        details["step_extra"] = extras
    if parent is not None:
        details["parent"] = parent
    return details
