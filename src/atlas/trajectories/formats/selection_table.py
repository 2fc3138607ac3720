"""Rows of `atlas export --to parquet`: a trajectory, and which of its steps are critical.

    {"id", "task", "environment", "outcome", "score", "selector", "messages": […], "step": […],
     "critical": […], "kinds": […], "reasons": […], "scores": […], "tools"}

The lists have an entry per message. `step` says of which step a message is the response (-1: none).
Critical steps become annotations with their kinds and scores; the reasons, which an annotation
cannot hold, are kept by step in `source.details`. A critical step without kind and score has the
score 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from atlas.records import Annotation, Outcome, OutcomeStatus, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import (
    SELECTION_COLUMNS,
    UNKNOWN_ENVIRONMENT,
    details_of_row,
    is_number,
)
from atlas.trajectories.formats.conversations import num_leading_system, read_tools
from atlas.trajectories.formats.fields import text_or_none
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

USED = frozenset(("messages", *SELECTION_COLUMNS, "reasons", "tools", "task", "outcome", "score"))


class SelectionTableFormat(RowFormat):
    """Reads rows that the dialect `parquet` wrote, in any kind of file."""

    metadata = ("task", "outcome", "selector", "step", "critical", "kinds", "reasons", "scores")

    def matches(self, row: Any) -> bool:
        return is_selection_row(row)

    def convert(self, row: SourceRow) -> Reading:
        fields = row.value
        if not is_selection_row(fields):
            raise BadRowError(
                f"not a row of 'atlas export --to parquet', expected 'messages' and the lists "
                f"{', '.join(SELECTION_COLUMNS)}"
            )
        messages = fields["messages"]
        columns = {name: _column(fields, name, len(messages)) for name in SELECTION_COLUMNS}
        turns = [_turn(message, index) for index, message in enumerate(messages)]
        agents = [index for index, turn in enumerate(turns) if turn.message.role == "assistant"]
        in_prompt = [index for index in agents if columns["step"][index] == -1]
        num_prompt = in_prompt[-1] + 1 if in_prompt else num_leading_system(turns)
        responses = [index for index in agents if index >= num_prompt]
        reasons = _column({"reasons": [None] * len(messages), **fields}, "reasons", len(messages))
        given = {
            str(step): reasons[index]
            for step, index in enumerate(responses)
            if isinstance(reasons[index], str)
        }
        details = details_of_row(fields, USED)
        made, remarks = build_reading(
            turns,
            num_prompt,
            task=_task(fields, f"selection-{row.content_hash}"),
            digest=row.content_hash,
            outcome=_outcome(fields),
            source=row.source(
                "selection_table", {**details, **({"reasons": given} if given else {})}
            ),
            tools=read_tools(fields.get("tools")) or (),
        )
        notes = [_annotation(columns, index) for index in responses]
        steps = tuple(
            step.model_copy(update={"annotation": note})
            for step, note in zip(made.steps, notes, strict=True)
        )
        return Reading(made.model_copy(update={"steps": steps}), remarks)


def _turn(given: Any, index: int) -> Turn:
    turns = list(read_message(given, index))
    if len(turns) != 1:
        raise BadRowError("holds several turns, but the columns have one entry for it", index)
    return turns[0]


def _column(fields: Mapping[str, Any], name: str, length: int) -> Sequence[Any]:
    column = fields[name]
    if not isinstance(column, list) or len(column) != length:
        found = f"{len(column)} entries" if isinstance(column, list) else repr(column)[:60]
        raise BadRowError(f"{name} is {found}, expected a list for {length} messages")
    return column


def _annotation(columns: Mapping[str, Sequence[Any]], index: int) -> Annotation:
    critical, kinds, score = (columns[name][index] for name in ("critical", "kinds", "scores"))
    if not isinstance(critical, bool):
        raise BadRowError(f"critical is {critical!r:.60}, expected true or false", index)
    if not critical:
        return Annotation()
    if score is not None and not is_number(score):
        raise BadRowError(f"the score is {score!r:.60}, expected a number", index)
    # Validates the kinds.
    made = Annotation.model_validate({"kinds": kinds or (), "score": max(0.0, float(score or 0))})
    return made if made.is_marked else Annotation(score=1.0)


def _task(fields: Mapping[str, Any], otherwise: str) -> Task:
    return Task(
        id=text_or_none(fields.get("task")) or otherwise,
        environment=text_or_none(fields.get("environment")) or UNKNOWN_ENVIRONMENT,
    )


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    status, score = fields.get("outcome"), fields.get("score")
    if status not in get_args(OutcomeStatus):
        raise BadRowError(
            f"outcome is {status!r:.60}, expected one of {', '.join(get_args(OutcomeStatus))}"
        )
    if score is not None and not is_number(score):
        raise BadRowError(f"score is {score!r:.60}, expected a number")
    return Outcome(
        status=status,
        score=None if score is None else float(score),
        reason="as in the trajectory that was exported",
    )


def is_selection_row(row: Any) -> bool:
    """Whether a row is one of the dialect `parquet`."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("messages"), list)
        and all(isinstance(row.get(name), list) for name in SELECTION_COLUMNS)
    )
