"""Rows for ms-swift: `loss` on assistant messages; tool calls are messages with their own role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from atlas.exporting.dialects.base import Change, Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.chat import (
    CALL_IDS_DROPPED,
    THINKING_MOVED,
    flagged_messages,
    supervised_chat,
    tools_text,
    with_thinking,
)
from atlas.records import Message, Selection, ToolCall, Trajectory
from atlas.rendering.openai_messages import decode_arguments, encode_arguments


class MsSwiftDialect(Dialect):
    """`loss` true on critical turns, false on the other assistant turns."""

    notes = """\
Run with ms-swift 4.6.0 (its preprocessor and the template chatml; text turns, no tools). One token
per turn differs: its templates also train the newline after <|im_end|>. `loss` overrides
`--loss_scale`; leave that at `default`. ms-swift trains the end of the last turn of a row whatever
its `loss` says, so rows stop at the last critical step; do not append turns to them. It drops other
fields of a message without a warning, so reasoning is written into the content and tool calls are
messages (read in its code, not run)."""
    stanza = "swift sft --dataset {file} …"
    changes = (
        THINKING_MOVED,
        CALL_IDS_DROPPED,
        Change("names on messages", lambda one: any(m.name is not None for m in one.messages)),
    )
    stops_at_last_step = True

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        flagged = list(flagged_messages(trajectory, selection))
        last = max(place for place, (_, critical) in enumerate(flagged) if critical)
        messages: list[dict[str, Any]] = []
        for message, critical in flagged[: last + 1]:
            role, content = message.role, with_thinking(message)
            if role != "assistant":
                role_there = "tool_response" if role == "tool" else role
                messages.append({"role": role_there, "content": message.content})
            elif content or not message.tool_calls:
                messages.append({"role": role, "content": content, "loss": critical})
            # Only an assistant's message has calls.
            for call in message.tool_calls:
                made = {"name": call.name, "arguments": decode_arguments(call.arguments)}
                text = json.dumps(made, ensure_ascii=False)
                messages.append({"role": "tool_call", "content": text, "loss": critical})
        tools = tools_text(trajectory)
        yield {"messages": messages, **({"tools": tools} if tools else {})}

    def read(self, row: ExportRow) -> SupervisedChat:
        turns: list[tuple[Message, bool]] = []
        for chat in row["messages"]:
            loss = bool(chat.get("loss", True))
            if chat["role"] != "tool_call":
                role = "tool" if chat["role"] == "tool_response" else chat["role"]
                turns.append(
                    (Message(role=role, content=chat["content"]), role == "assistant" and loss)
                )
                continue
            call = json.loads(chat["content"])
            made = ToolCall(name=call["name"], arguments=encode_arguments(call["arguments"]))
            message = Message(role="assistant")
            if turns and turns[-1][0].role == "assistant":
                message, flag = turns.pop()
                loss = flag and loss
            calls = (*message.tool_calls, made)
            turns.append((message.model_copy(update={"tool_calls": calls}), loss))
        return supervised_chat(turns)
