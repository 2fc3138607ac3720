"""Agent Trajectory Interchange Format, v1.0 to v1.8.

A document holds one trajectory, one more for each compaction, and one for each embedded sub-agent.
An agent step is a step; its observation belongs to the next step. Copied context at the start is
the prompt. A step that no model wrote (`llm_call_count` 0) is kept, and annotated as not trained.
In a folder of Harbor, the result of the trial beside the trajectory gives task and outcome.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from atlas.records import Outcome, Role, Task
from atlas.trajectories.formats.agent_logs import (
    build_reading,
    call_fields,
    hash_of_texts,
    texts_of,
)
from atlas.trajectories.formats.atif.segments import segments_of
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT, outcome_of_row
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import (
    list_of_objects,
    object_or_empty,
    read_one_message,
    text_or_none,
)
from atlas.trajectories.formats.harbor import (
    document_beside,
    is_harbor_record,
    outcome_of_trial,
    result_of_trial,
)
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

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
        "agent.name",
        "agent.version",
        "final_metrics",
        "*.steps.step_id",
        "*.steps.source",
        "*.metrics",
        "*.extra",
        "*.source.path",
        "*.source.media_type",
        "*.source.duration_sec",
        "*.subagent_trajectory_ref",
        "*.subagent_trajectories.schema_version",
        "*.subagent_trajectories.agent.name",
        "*.subagent_trajectories.agent.version",
        "*.subagent_trajectories.final_metrics",
        "*.reasoning_effort",
        "*.llm_call_count",
        "*.is_copied_context",
        "*.steps.observation.results.source_call_id",
    )

    def matches(self, row: Any) -> bool:
        document = object_or_empty(row)
        is_document = _is_atif(document) and isinstance(document.get("steps"), list)
        return is_document or is_harbor_record(row)

    def read(self, source: SourceFile) -> Iterator[Item]:
        convert = partial(_convert, file=source.path)
        return convert_rows(source.rows(), convert, self.metadata, source.ignored)

    def convert(self, row: SourceRow) -> list[Reading]:
        return _convert(row)


def _convert(row: SourceRow, file: Path | None = None) -> list[Reading]:
    """The trajectories of a row, with what stands beside its file."""
    if is_harbor_record(row.value):
        # What Harbor keeps beside trajectories is not a trajectory.
        return []
    return _trajectories(row, None, file, None if file is None else result_of_trial(file))


def _is_atif(document: Mapping[str, Any]) -> bool:
    return str(document.get("schema_version")).startswith("ATIF-v")


def _trajectories(
    row: SourceRow,
    parent: str | None,
    file: Path | None = None,
    trial: Mapping[str, Any] | None = None,
) -> list[Reading]:
    """The document's trajectories, then its sub-agents', each after the one that called it."""
    document = object_or_empty(row.value)
    if not (parent or _is_atif(document)):
        raise BadRowError("no 'schema_version', expected one such as 'ATIF-v1.6'")
    version = document.get("schema_version")
    if version is not None and not _VERSION.fullmatch(str(version)):
        raise BadRowError(f"schema_version is {version!r:.60}, expected ATIF-v1.0 to ATIF-v1.8")
    given = list_of_objects(document.get("steps"), "steps")
    turns = [_turns(step, index) for index, step in enumerate(given)]
    embedded = list_of_objects(document.get("subagent_trajectories"), "subagent_trajectories")
    agent = object_or_empty(document.get("agent"))
    asked = partial(_asked, embedded, file)
    found = segments_of(given, turns, _num_prompt_steps(given), str(agent.get("name")), asked)
    readings: list[Reading] = []
    for number, segment in enumerate(found):
        digest = row.content_hash
        reading = build_reading(
            segment.turns,
            segment.num_prompt,
            task=_task(document, trial),
            digest=hash_of_texts((digest, str(number))) if number else digest,
            outcome=_outcome(document, trial),
            source=row.source("atif", _details(document, given, parent, trial)),
            tools=tuple(list_of_objects(agent.get("tool_definitions"), "tool_definitions")),
            remarks=segment.remarks,
        )
        readings.append(reading)
    for one in embedded:
        readings += _trajectories(row.part(one), readings[0].trajectory.id)
    return readings


def _asked(
    embedded: Sequence[Mapping[str, Any]], file: Path | None, references: Collection[str]
) -> list[Turn]:
    """The turns of the sub-agent that asked about a summary, which the agent continues.

    It is embedded, or stands in a file beside the document.
    """
    for name in references:
        if not name.removesuffix(".json").endswith("-questions"):
            continue
        found = next((one for one in embedded if _name(one) == name), None)
        if found is None and file is not None:
            found = document_beside(file, name)
        if found is not None:
            steps = list_of_objects(found.get("steps"), "steps")
            return [turn for at, step in enumerate(steps) for turn in _turns(step, at)]
    return []


def _task(document: Mapping[str, Any], trial: Mapping[str, Any] | None) -> Task:
    if trial is None:
        loaded = object_or_empty(object_or_empty(document.get("extra")).get("agentpile"))
        source, task = object_or_empty(loaded.get("source")), object_or_empty(loaded.get("task"))
        return Task(
            id=text_or_none(task.get("id")) or _name(document),
            environment=text_or_none(source.get("dataset")) or UNKNOWN_ENVIRONMENT,
        )
    environment = text_or_none(trial.get("source")) or UNKNOWN_ENVIRONMENT
    return Task(id=text_or_none(trial.get("task_name")) or "unnamed", environment=environment)


def _outcome(document: Mapping[str, Any], trial: Mapping[str, Any] | None) -> Outcome:
    if trial is not None:
        return outcome_of_trial(trial)
    outcome = outcome_of_row(document)
    if outcome.status == "unknown" and outcome.score is None:
        return outcome.model_copy(update={"reason": "ATIF records no outcome"})
    return outcome


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
    given = object_or_empty(step.get("observation")).get("results")
    results = list_of_objects(given, "the results of an observation", index)
    # Results without ids answer the calls in their order, if there are as many.
    in_order = len(results) == len(calls) and not any(one.get("source_call_id") for one in results)
    for at, result in enumerate(results):
        id_ = calls[at]["id"] if in_order else result.get("source_call_id")
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
    document: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    parent: str | None,
    trial: Mapping[str, Any] | None,
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
        "trial": text_or_none((trial or {}).get("trial_name")),
    }
    kept = {key: document[key] for key in DETAILS if document.get(key) is not None}
    return kept | {key: value for key, value in made.items() if value}
