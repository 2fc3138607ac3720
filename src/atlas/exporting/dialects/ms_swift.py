"""Rows for ms-swift: `loss` on assistant messages; tool calls are messages with their own role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from atlas.exporting.dialects.base import Dialect, ExportRow, SupervisedChat, lost_if
from atlas.exporting.dialects.chat import (
    call_id_losses,
    flagged_messages,
    thinking_losses,
    tools_text,
    with_thinking,
)
from atlas.records import Message, Selection, ToolCall, Trajectory
from atlas.rendering.openai_messages import decode_arguments, encode_arguments


class MsSwiftDialect(Dialect):
    """`loss` true on critical turns, false on the other assistant turns."""

    notes = """\
Run with ms-swift 4.6.0 (its preprocessor and the template chatml; text turns, no tools). One token
per turn differs: its templates count the newline after <|im_end|> to the end of turn and train it.
`loss` overrides `--loss_scale`; leave that at `default`. ms-swift trains the end of the last turn
of a row whatever its `loss` says, so rows stop at the last critical step; do not append turns to
them. It drops other fields of a message without a warning, so reasoning is written into the content
and tool calls are messages (read in its code, not run)."""
    stanza = "swift sft --dataset {file} …"
    stops_at_last_step = True

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        flagged = list(flagged_messages(trajectory, selection))
        last = max(place for place, (_, critical) in enumerate(flagged) if critical)
        messages: list[dict[str, Any]] = []
        for message, critical in flagged[: last + 1]:
            if message.role != "assistant":
                role = "tool_response" if message.role == "tool" else message.role
                messages.append({"role": role, "content": message.content})
                continue
            if (content := with_thinking(message)) or not message.tool_calls:
                messages.append({"role": "assistant", "content": content, "loss": critical})
            for call in message.tool_calls:
                made = {"name": call.name, "arguments": decode_arguments(call.arguments)}
                text = json.dumps(made, ensure_ascii=False)
                messages.append({"role": "tool_call", "content": text, "loss": critical})
        tools = tools_text(trajectory)
        yield {"messages": messages, **({"tools": tools} if tools else {})}

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        has_names = any(message.name is not None for message in trajectory.messages)
        return (
            *thinking_losses(trajectory),
            *call_id_losses(trajectory),
            *lost_if(has_names, "names on messages"),
        )

    def read(self, row: ExportRow) -> SupervisedChat:
        messages: list[Message] = []
        flags: list[bool] = []
        for chat in row["messages"]:
            loss = bool(chat.get("loss", True))
            if chat["role"] != "tool_call":
                role = "tool" if chat["role"] == "tool_response" else chat["role"]
                messages.append(Message(role=role, content=chat["content"]))
                flags.append(role == "assistant" and loss)
                continue
            call = json.loads(chat["content"])
            made = ToolCall(name=call["name"], arguments=encode_arguments(call["arguments"]))
            if messages and messages[-1].role == "assistant":
                calls = (*messages[-1].tool_calls, made)
                messages[-1] = messages[-1].model_copy(update={"tool_calls": calls})
                flags[-1] = flags[-1] and loss
            else:
                messages.append(Message(role="assistant", tool_calls=(made,)))
                flags.append(loss)
        return SupervisedChat(tuple(messages), tuple(flags))
