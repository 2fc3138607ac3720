"""One conversation per critical step, ending in it, for trainers that train the last turn only."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.exporting.dialects.base import CannotCarryError, Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.changes import OF_ROWS, TURNS_ADJACENT
from atlas.exporting.dialects.chat import (
    conversations_to_steps,
    row_name,
    supervise_last,
    tools_field,
)
from atlas.records import Selection, Trajectory
from atlas.rendering.openai_messages import read_openai_message, write_openai_message


class LastTurnDialect(Dialect):
    """`prompt` (everything before) and `completion` (the critical turn), as TRL and others read."""

    notes = """\
Each row repeats the history, so file and training grow with the square of a trajectory's length.
In return nothing depends on a flag, and a template that strips earlier thinking shows the history
as at inference. TRL trains only the completion (`completion_only_loss`, its default for this
shape). For other trainers, join `prompt` and `completion` and turn on "last turn only": a trainer
that trains every assistant turn would train the history too. `id` and `step` say which rows belong
together."""
    changes = (*OF_ROWS, TURNS_ADJACENT)
    one_row_per_step = True

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        for step, history, response in conversations_to_steps(trajectory, selection):
            if not history:
                raise CannotCarryError(
                    "a critical step follows nothing, and TRL cannot read an empty prompt. "
                    "Use --to openai, or leave the step out of the selection"
                )
            yield {
                **row_name(trajectory, step),
                "prompt": list(map(write_openai_message, history)),
                "completion": [write_openai_message(response)],
                **tools_field(trajectory),
            }

    def read(self, row: ExportRow) -> SupervisedChat:
        if len(row["completion"]) != 1:
            raise ValueError("the completion is not one assistant message")
        return supervise_last(list(map(read_openai_message, row["prompt"] + row["completion"])))
