"""Agent Trajectory Interchange Format, v1.0 to v1.8.

A document holds one trajectory, and one more for each embedded sub-agent. An agent step is a step;
its observation belongs to the next step. Copied context at the start is the prompt. A step that no
model wrote (`llm_call_count` 0) is kept, and annotated as not trained. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.records import Outcome, Role, Task, Trajectory
from atlas.trajectories.formats.agent_logs import build_trajectory, call_fields, texts_of
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, read_one_message
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, SourceRow

ROLES: dict[str, Role] = {"system": "system", "user": "user", "agent": "assistant"}
NAME_KEYS = ("trajectory_id", "session_id", "trajectory_path")
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

    metadata = (
        "schema_version",
        "agent",
        "final_metrics",
        "extra",
        "*.steps.step_id",
        "*.steps.source",
        "steps.step_id",
        "steps.source",
        "*.metrics",
        "*.extra",
        "*.source.path",
    )

    def matches(self, row: Any) -> bool:
        document = object_or_empty(row)
        return _is_atif(document) and isinstance(document.get("steps"), list)

    def convert(self, row: SourceRow) -> list[Trajectory]:
        return _trajectories(row, None)


def _is_atif(document: Mapping[str, Any]) -> bool:
    return str(document.get("schema_version")).startswith("ATIF-v")


def _trajectories(row: SourceRow, parent: str | None) -> list[Trajectory]:
    """The document's trajectory, then its sub-agents', each after the one that called it."""
    document = object_or_empty(row.value)
    if not (parent or _is_atif(document)):
        raise BadRowError("no 'schema_version', expected one such as 'ATIF-v1.6'")
    version = document.get("schema_version")
    if version is not None and not _VERSION.fullmatch(str(version)):
        raise BadRowError(f"schema_version is {version!r:.60}, expected ATIF-v1.0 to ATIF-v1.8")
    given = list_of_objects(document.get("steps"), "steps")
    num_prompt_steps = _num_prompt_steps(given)
    turns = [_turns(step, index) for index, step in enumerate(given)]
    name = _name(document)
    tools = object_or_empty(document.get("agent")).get("tool_definitions")
    trajectory = build_trajectory(
        [turn for step in turns for turn in step],
        sum(map(len, turns[:num_prompt_steps])),
        task=Task(id=name, environment=UNKNOWN_ENVIRONMENT),
        digest=row.content_hash,
        outcome=Outcome(status="unknown", reason="ATIF records no outcome"),
        source=row.source("atif", _details(document, given, parent)),
        tools=tuple(list_of_objects(tools, "tool_definitions")),
    )
    trajectories = [trajectory]
    for embedded in list_of_objects(document.get("subagent_trajectories"), "subagent_trajectories"):
        trajectories += _trajectories(row.part(embedded), trajectory.id)
    return trajectories


def _num_prompt_steps(steps: Sequence[Mapping[str, Any]]) -> int:
    """The number of steps up to the last copied one before the agent's first own step.

    If there are none, the number of system steps at the start.
    """
    num_copied = 0
    agent_has_begun = False
    for index, step in enumerate(steps):
        is_agents = step.get("source") == "agent"
        if step.get("is_copied_context") is not True:
            agent_has_begun = agent_has_begun or is_agents
        elif not agent_has_begun:
            num_copied = index + 1
        elif is_agents:
            raise BadRowError(
                "is_copied_context on an agent step after the agent's own steps, so it is neither "
                "prompt nor step. Import the trajectory it was copied from, and fix or leave out "
                "this one",
                index,
            )
    spoken = (index for index, step in enumerate(steps) if step.get("source") != "system")
    return num_copied or next(spoken, len(steps))


def _turns(step: Mapping[str, Any], index: int) -> list[Turn]:
    """The step's message, then the results in its observation."""
    source = step.get("source")
    role = ROLES.get(str(source))
    if role is None:
        raise BadRowError(f"source is {source!r:.60}, expected one of {', '.join(ROLES)}", index)
    calls = [
        call_fields(call, "tool_call_id", "function_name")
        for call in list_of_objects(step.get("tool_calls"), "tool_calls", index)
    ]
    if calls and role != "assistant":
        raise BadRowError("tool_calls may only stand on agent steps", index)
    reasoning = step.get("reasoning_content")
    message = read_one_message(
        role, step.get("message"), index, reasoning_content=reasoning, tool_calls=calls
    )
    turns = [Turn(message, False if step.get("llm_call_count") == 0 else None)]
    results = object_or_empty(step.get("observation")).get("results")
    for result in list_of_objects(results, "the results of an observation", index):
        id_ = result.get("source_call_id")
        # A result that names no call answers the text of the turn, as a user does.
        role = "tool" if id_ or calls else "user"
        answer = read_one_message(role, result.get("content"), index, tool_call_id=id_)
        if not answer.content:
            answer = answer.model_copy(update={"content": _references(result)})
        turns.append(Turn(answer))
    return turns


def _references(result: Mapping[str, Any]) -> str:
    """Marks for the sub-agents that gave a result without text."""
    given = result.get("subagent_trajectory_ref") or []
    references = given if isinstance(given, list) else [given]
    return "".join(f"[sub-agent {_name(object_or_empty(each))}]" for each in references)


def _name(document: Mapping[str, Any]) -> str:
    return next(iter(texts_of(document, NAME_KEYS).values()), "unnamed")


def _details(
    document: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], parent: str | None
) -> dict[str, Any]:
    agent = object_or_empty(document.get("agent"))
    extras = {
        str(step.get("step_id", index + 1)): step["extra"]
        for index, step in enumerate(steps)
        if step.get("extra")
    }
    made = {
        "agent": {key: value for key, value in agent.items() if key != "tool_definitions"},
        "step_extra": extras,
        "parent": parent,
    }
    kept = {key: document[key] for key in DETAILS if document.get(key) is not None}
    return kept | {key: value for key, value in made.items() if value}
