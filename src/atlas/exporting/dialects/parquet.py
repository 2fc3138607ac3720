"""Parquet tables: messages with critical flags for your own code, and the columns of verl."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config import Config
from atlas.errors import DependencyError
from atlas.exporting.dialects.base import Dialect, ExportRow, Suffix, SupervisedChat
from atlas.exporting.dialects.changes import FINAL_OBSERVATION, OF_FLAGS
from atlas.exporting.dialects.chat import read_flagged, read_listed, tools_text, write_flagged
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.rendering.openai_messages import write_openai_message


class ParquetConfig(Config):
    """No settings, but a package of an extra."""

    def needed_extras(self) -> tuple[str, ...]:
        return ("import",)


class ParquetDialect(Dialect):
    """One row per trajectory; `step`, `critical`, `kinds`, `reasons` and `scores` per message."""

    Config = ParquetConfig

    notes = """\
For your own code and for the Hub: `datasets.load_dataset("parquet", …)` reads it. `step` is the
index of the step whose response a message is, or -1. `tools` is JSON text, because schemas have no
common columns. Absent fields of a message are null: drop them before you apply a chat template.
`atlas import` reads it back with kinds and scores; the reasons stand in the details."""
    changes = (FINAL_OBSERVATION,)
    suffixes: tuple[Suffix, ...] = (".parquet",)

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        chosen = {step.index: step for step in selection.critical_steps}
        owned = list(trajectory.owned_messages())
        marks = [chosen.get(step, CriticalStep(index=0)) for _, step in owned]
        yield {
            "id": trajectory.id,
            "task": trajectory.task.id,
            "environment": trajectory.task.environment,
            "outcome": trajectory.outcome.status,
            "score": trajectory.outcome.score,
            "selector": selection.selector,
            "messages": [write_openai_message(message) for message, _ in owned],
            "step": [step for _, step in owned],
            "critical": [step in chosen for _, step in owned],
            "kinds": [list(mark.kinds) for mark in marks],
            "reasons": [mark.reason for mark in marks],
            "scores": [mark.score for mark in marks],
            "tools": tools_text(trajectory),
        }

    def schema(self) -> Any:
        """The columns; they cannot be inferred, because rows may lack optional fields."""
        arrow = import_arrow()
        text, many = arrow.string(), arrow.list_
        return arrow.schema(
            {
                **dict.fromkeys(("id", "task", "environment", "outcome"), text),
                "score": arrow.float64(),
                "selector": text,
                "messages": many(_message_type()),
                "step": many(arrow.int32()),
                "critical": many(arrow.bool_()),
                "kinds": many(many(text)),
                "reasons": many(text),
                "scores": many(arrow.float64()),
                "tools": text,
            }
        )

    def read(self, row: ExportRow) -> SupervisedChat:
        return read_listed(row["messages"], row["critical"], "critical")


class VerlDialect(Dialect):
    """`messages` with `loss_mask` 0 or 1 on each, and `tools` as JSON text."""

    Config = ParquetConfig

    notes = """\
Run with verl 0.9.1 and the class below (text turns; ray and its Qwen2-VL module replaced by empty
ones). One token per turn differs: verl trains all that the template writes after a turn's header,
with ChatML also the newline after <|im_end|>. verl's own MultiTurnSFTDataset trains every assistant
turn, canned acknowledgements included; the class below makes it read `loss_mask`. If a turn has
other tokens on its own than within the conversation, or the template refuses a lone turn, verl
stops with an error (set
`ignore_input_ids_mismatch` only after looking). `truncation: error` is the default; "right" drops
late critical steps silently."""
    stanza = """\
data.train_files={file} data.custom_cls.path=masked_sft.py data.custom_cls.name=MaskedSFTDataset
# ---
import json
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

class MaskedSFTDataset(MultiTurnSFTDataset):
    def _read_files_and_process(self):
        super()._read_files_and_process()
        self.tools = [json.loads(tools) if tools else None for tools in self.tools]

    def _build_messages(self, example):
        return [
            {key: value for key, value in message.items() if value is not None}
            for message in super()._build_messages(example)
        ]

    def _process_single_message(self, index, message, **others):
        ids, mask, *rest = super()._process_single_message(index=index, message=message, **others)
        return ids, mask * message.get("loss_mask", 0), *rest"""
    changes = OF_FLAGS
    suffixes: tuple[Suffix, ...] = (".parquet",)

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        messages = write_flagged(trajectory, selection, "loss_mask", int)
        yield {"id": trajectory.id, "messages": messages, "tools": tools_text(trajectory)}

    def schema(self) -> Any:
        """The columns that verl reads."""
        arrow = import_arrow()
        message = arrow.struct([*_message_type(), arrow.field("loss_mask", arrow.int8())])
        return arrow.schema(
            {"id": arrow.string(), "messages": arrow.list_(message), "tools": arrow.string()}
        )

    def read(self, row: ExportRow) -> SupervisedChat:
        return read_flagged(row["messages"], "loss_mask", default=False)


def import_arrow() -> Any:
    """Import pyarrow, which only these dialects need."""
    try:
        import pyarrow
    except ImportError:
        raise DependencyError("pyarrow", "import") from None
    return pyarrow


def _message_type() -> Any:
    arrow = import_arrow()
    text = arrow.string()
    function = arrow.struct({"name": text, "arguments": text})
    call = arrow.struct({"id": text, "type": text, "function": function})
    return arrow.struct(
        {
            **dict.fromkeys(("role", "content", "reasoning_content"), text),
            "tool_calls": arrow.list_(call),
            **dict.fromkeys(("tool_call_id", "name"), text),
        }
    )
