"""Rows for tinker-cookbook: `trainable` on every message; reasoning is a part of the content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atlas.exporting.dialects.base import Change, Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.changes import OF_FLAGS
from atlas.exporting.dialects.chat import supervised_chat, tools_field, write_flagged
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.openai_messages import read_openai_message, write_openai_message


class TinkerDialect(Dialect):
    """`trainable` true on critical turns, false on all other messages."""

    notes = """\
Run with tinker-cookbook 0.6.1 (renderer qwen3_instruct, TrainOnWhat.CUSTOMIZED, rows through its
Dataset.from_list). Any other `train_on_what` refuses the `trainable` fields; the default trains
every assistant turn. Weights are normalized per row (`reduction="mean"`), so rows with few critical
tokens count as much as rows with many; reduction="none" sums over tokens. Renderers that strip
earlier thinking (has_extension_property False) show a flagged turn in mid-conversation without its
thinking: use last-turn. What the generation prompt supplies, such as an opened <think>, carries no
loss in newer versions (read in its code). Tools: replace each call by
ToolCall.model_validate(call), and begin with
renderer.create_conversation_prefix_with_tools(row["tools"])."""
    stanza = """\
FromConversationFileBuilder(
    file_path="{file}",
    common_config=ChatDatasetBuilderCommonConfig(…, train_on_what=TrainOnWhat.CUSTOMIZED),
)"""

    changes = (
        *OF_FLAGS,
        Change(
            "tool schemas are in `tools`, which tinker-cookbook's file builder does not read "
            "(see --explain)",
            lambda trajectory, _: bool(trajectory.tools),
            name="tools_unread",
        ),
        Change(
            "tool calls are plain objects; tinker-cookbook needs ToolCall.model_validate first "
            "(see --explain)",
            lambda trajectory, _: any(message.tool_calls for message in trajectory.messages),
            name="calls_plain",
        ),
    )

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        messages = write_flagged(trajectory, selection, "trainable", write=_write)
        yield {"messages": messages, **tools_field(trajectory)}

    def read(self, row: ExportRow) -> SupervisedChat:
        return supervised_chat((_read(chat), chat["trainable"]) for chat in row["messages"])


def _write(message: Message) -> dict[str, Any]:
    chat = write_openai_message(message)
    thinking = chat.pop("reasoning_content", None)
    if thinking is not None:
        chat["content"] = [
            {"type": "thinking", "thinking": thinking},
            {"type": "text", "text": message.content},
        ]
    return chat


def _read(chat: Mapping[str, Any]) -> Message:
    if isinstance(chat["content"], str):
        return read_openai_message(chat)
    thinking = [part["thinking"] for part in chat["content"] if part["type"] == "thinking"]
    text = "".join(part["text"] for part in chat["content"] if part["type"] == "text")
    reasoning = thinking[0] if thinking else None
    return read_openai_message({**chat, "content": text, "reasoning_content": reasoning})
