"""tinker-cookbook: `trainable` on every message; reasoning is a content part of the type `thinking`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.exporting.dialects.base import Row, SupervisedChat
from atlas.exporting.dialects.chat import (
    ChatDialect,
    flagged_messages,
    tools_field,
)
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.openai_messages import read_openai_message, write_openai_message


class TinkerDialect(ChatDialect):
    """`trainable` true on critical turns, false on all other messages: the renderer asks for it on each."""

    notes = """\
Executed with tinker-cookbook 0.6.1 (renderer qwen3_instruct, TrainOnWhat.CUSTOMIZED, rows through its
Dataset.from_list). With any other `train_on_what` the `trainable` fields are refused; without it the default trains
every assistant turn. Weights are normalised per row (`reduction="mean"`): rows with few critical tokens count as much
as rows with many; pass reduction="none" for a sum over tokens. Renderers that strip earlier thinking
(has_extension_property False) show a flagged turn in mid-conversation without its thinking: use last-turn. Tools: put
ToolCall.model_validate(call) in place of each call, and begin with
renderer.create_conversation_prefix_with_tools(row["tools"])."""
    stanza = """\
FromConversationFileBuilder(file_path="{file}", common_config=ChatDatasetBuilderCommonConfig(…, train_on_what=TrainOnWhat.CUSTOMIZED))"""

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        messages = [
            {**_tinker_dict(message), "trainable": critical}
            for message, critical in flagged_messages(trajectory, selection)
        ]
        yield {"messages": messages, **tools_field(trajectory)}

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        lost = []
        if trajectory.tools:
            lost.append(
                "tool schemas stand in `tools`, which tinker-cookbook's file builder does not read (see --explain)"
            )
        if any(message.tool_calls for message in trajectory.messages):
            lost.append(
                "tool calls are plain objects; tinker-cookbook needs ToolCall.model_validate first (see --explain)"
            )
        return tuple(lost)

    def read(self, row: Row) -> SupervisedChat:
        messages = tuple(_read_tinker_dict(chat) for chat in row["messages"])
        return SupervisedChat(messages, tuple(bool(chat["trainable"]) for chat in row["messages"]))


def _tinker_dict(message: Message) -> dict[str, Any]:
    chat = write_openai_message(message)
    thinking = chat.pop("reasoning_content", None)
    if thinking is not None:
        chat["content"] = [
            {"type": "thinking", "thinking": thinking},
            {"type": "text", "text": message.content},
        ]
    return chat


def _read_tinker_dict(chat: dict[str, Any]) -> Message:
    if isinstance(chat["content"], str):
        return read_openai_message(chat)
    thinking = [part["thinking"] for part in chat["content"] if part["type"] == "thinking"]
    text = "".join(part["text"] for part in chat["content"] if part["type"] == "text")
    return read_openai_message(
        {**chat, "content": text, "reasoning_content": thinking[0] if thinking else None}
    )
