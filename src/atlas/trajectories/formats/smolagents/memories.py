"""Memory of smolagents: `agent.memory.get_full_steps()`, a run's full result, or its messages.

A row is one step (a file of steps is one run), a list of steps, or an object with them under
`steps` or `intermediate_steps`. An action of the model is a step. What a code agent writes is text,
so it has no tool calls; the code is the executed action. Full steps hold the input of the model:
from there come the system prompt and the observations as the model saw them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atlas.config import Config
from atlas.records import Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.conversations import OUTCOME_KEYS, num_leading_system
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.gathered_rows import gathered
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.smolagents.run import ACTION_KEYS, SmolagentsRun
from atlas.trajectories.formats.source_file import SourceFile

STEPS_KEYS = ("steps", "intermediate_steps")


class SmolagentsFormat:
    """Reads the memory of smolagents."""

    # Copies of the conversation, and what the program measured.
    metadata = (
        "*.model_input_messages",
        "*.plan",
        "*.timing",
        "*.raw",
        "*.step_number",
        "*.action_output",
        "*.is_final_answer",
        "*.observations_images",
        "*.task_images",
        "*.error.type",
        "*.tool_calls.function.name",
        "output",
        "state",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return _is_step(row) or bool(_steps_of(row)) or bool(_messages_of(row))

    def read(self, source: SourceFile) -> Iterator[Item]:
        rows = gathered(source.rows(), _is_step, lambda value: isinstance(value, dict))
        return convert_rows(rows, self.convert, self.metadata, source.ignored, accounted=_accounted)

    def convert(self, row: SourceRow) -> Reading:
        """The trajectory of a row that holds the memory of an agent."""
        fields = row.value if isinstance(row.value, dict) else {}
        run = SmolagentsRun()
        if messages := _messages_of(row.value):
            for index, message in enumerate(messages):
                run.add_message(message, index)
        elif steps := _steps_of(row.value):
            for index, step in enumerate(steps):
                run.add_step(step, index)
        else:
            raise BadRowError(
                "no memory of smolagents, expected steps with 'task', 'model_output' or 'plan'"
            )
        run.close()
        digest = row.content_hash
        used = {*STEPS_KEYS, *OUTCOME_KEYS, *ID_KEYS}
        trajectory, remarks = build_reading(
            run.turns,
            num_leading_system(run.turns),
            task=_task(fields, digest, run.goal),
            digest=digest,
            outcome=_outcome(fields),
            source=row.source("smolagents", details_of_row(fields, used)),
            remarks=run.remarks,
        )
        made = tuple(
            step if action is None else step.model_copy(update={"action": action})
            for step, action in zip(trajectory.steps, run.actions, strict=True)
        )
        return Reading(trajectory.model_copy(update={"steps": made}), remarks)


def _is_step(value: Any) -> bool:
    """Whether a decoded value is a step of a memory."""
    if not isinstance(value, dict):
        return False
    keys = value.keys()
    return (
        {"task", "task_images"} == keys
        or ({"plan", "model_output_message"} <= keys)
        or ("step_number" in keys and any(key in keys for key in ACTION_KEYS))
    )


def _steps_of(row: Any) -> list[Any]:
    found = row
    if isinstance(row, dict):
        if "schema_version" in row:
            return []
        found = next((v for key in STEPS_KEYS if (v := decode_nested(row.get(key)))), None)
    steps = found if isinstance(found, list) else []
    return steps if any(map(_is_step, steps[:2])) else []


def _messages_of(row: Any) -> list[Any]:
    """The messages of a memory, which say in words which tools were called."""
    given = decode_nested(row.get("intermediate_steps")) if isinstance(row, dict) else None
    messages = given if isinstance(given, list) else []
    return messages if messages and "role" in object_or_empty(messages[0]) else []


def _accounted(row: SourceRow) -> list[SourceRow]:
    """The row without the words that tell calls, each of which was read or is code in the text."""
    messages = _messages_of(row.value)
    if not messages:
        return [row]
    others = [one for one in messages if object_or_empty(one).get("role") != "tool-call"]
    return [row.part({**row.value, "intermediate_steps": others})]


def _task(fields: Mapping[str, Any], digest: str, goal: str | None) -> Task:
    return task_of_row(fields, otherwise=f"smolagents-{digest}").model_copy(update={"goal": goal})


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    """A run that ends says nothing about whether its answer is right."""
    outcome = outcome_of_row(fields)
    if outcome.status == "unknown" and fields.get("state") == "max_steps_error":
        return outcome.model_copy(update={"status": "truncated", "reason": "max_steps_error"})
    return outcome
