"""Rows for torchtune: messages with `masked`, read by a small message transform."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.exporting.dialects.base import CannotCarryError, Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.changes import (
    NAMES_DROPPED,
    NEIGHBORS_JOINED,
    OF_ALTERNATING,
    SYSTEM_MOVED,
    THINKING_MOVED,
    TOOLS_DROPPED,
)
from atlas.exporting.dialects.chat import flagged_messages, supervised_chat, with_thinking
from atlas.exporting.dialects.sharegpt import joined
from atlas.records import Message, Selection, Trajectory


class TorchtuneDialect(Dialect):
    """`masked` false on critical turns, true on all others."""

    notes = """\
Run with torchtune 0.6.1 and torchao 0.9.0 (Message, validate_messages, SFTTransform and its Qwen
tokenizer class with another vocabulary). That tokenizer also trains the role header of a critical
turn. torchtune's own transforms (OpenAIToMessages, ShareGPTToMessages) ignore `masked` and train
every assistant turn: use the one below. It refuses two user turns in a row, a system message in
mid-conversation, and an assistant turn after a tool result (its main branch takes that now):
neighbors are joined here, and trajectories with tools are left out. The end of a turn is trained
with it. `max_seq_len` cuts the tail, and masks the last token also of rows that are short enough:
a last turn is trained without its end. The project is no longer developed."""
    stanza = """\
# For torchtune.datasets.SFTDataset(source="json", data_files="{file}", split="train", …):
class MaskedMessages:
    def __call__(self, sample):
        messages = [torchtune.data.Message.from_dict(message) for message in sample["messages"]]
        return {"messages": messages}"""

    changes = (
        *OF_ALTERNATING,
        THINKING_MOVED,
        NEIGHBORS_JOINED,
        SYSTEM_MOVED,
        NAMES_DROPPED,
        TOOLS_DROPPED,
    )

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        if any(message.tool_calls or message.role == "tool" for message in trajectory.messages):
            raise CannotCarryError(
                "torchtune's messages hold no tool calls, and it refuses an assistant turn after a "
                "tool result. Use --to trl"
            )
        flagged = list(flagged_messages(trajectory, selection))
        system = flagged[:1] if flagged and flagged[0][0].role == "system" else []
        yield {
            "messages": [
                {"role": message.role, "content": with_thinking(message), "masked": not critical}
                for message, critical in [*system, *joined(flagged[len(system) :])]
            ]
        }

    def read(self, row: ExportRow) -> SupervisedChat:
        return supervised_chat(
            (Message(role=chat["role"], content=chat["content"]), not chat["masked"])
            for chat in row["messages"]
        )
