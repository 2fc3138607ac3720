"""ms-swift: `loss` on assistant messages; tool calls are messages of their own (`tool_call`), results have the role `tool_response`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from atlas.exporting.dialects.base import Row, SupervisedChat
from atlas.exporting.dialects.chat import (
    ChatDialect,
    thinking_losses,
    tools_text,
    until_last_step,
    with_thinking,
)
from atlas.records import Message, Selection, ToolCall, Trajectory


class MsSwiftDialect(ChatDialect):
    """`loss` true on critical turns, false on the other assistant turns."""

    notes = """\
Executed with ms-swift 4.6.0 (its preprocessor and the template chatml; text turns, no tools), except for one token a
turn: the newline after <|im_end|>, which its templates count to the end of turn, is trained too. `loss` wins over
`--loss_scale` (leave that at `default`). The end of the last turn of a row is trained whatever its `loss` says. So
rows stop at the last critical step; do not append turns to them. Other fields of a message are dropped without a
word: reasoning therefore stands in the content, and tool calls are messages (read, not run)."""
    stops_at_last_step = True
    stanza = "swift sft --dataset {file} …"

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        messages: list[dict[str, Any]] = []
        for message, critical in until_last_step(trajectory, selection):
            if message.role != "assistant":
                messages.append(
                    {
                        "role": "tool_response" if message.role == "tool" else message.role,
                        "content": message.content,
                    }
                )
                continue
            if (content := with_thinking(message)) or not message.tool_calls:
                messages.append({"role": "assistant", "content": content, "loss": critical})
            for call in message.tool_calls:
                messages.append(
                    {"role": "tool_call", "content": _call_text(call), "loss": critical}
                )
        yield {
            "messages": messages,
            **({"tools": tools_text(trajectory)} if trajectory.tools else {}),
        }

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        lost = [*thinking_losses(trajectory)]
        messages = trajectory.messages
        if any(call.id is not None for message in messages for call in message.tool_calls):
            lost.append("ids of tool calls: calls and results are matched by their order alone")
        if any(message.name is not None for message in messages):
            lost.append("names on messages")
        return tuple(lost)

    def read(self, row: Row) -> SupervisedChat:
        messages: list[Message] = []
        flags: list[bool] = []
        for chat in row["messages"]:
            loss = bool(chat.get("loss", True))
            if chat["role"] == "tool_call":
                call = json.loads(chat["content"])
                made = ToolCall(name=call["name"], arguments=_arguments_text(call["arguments"]))
                if messages and messages[-1].role == "assistant":
                    messages[-1] = messages[-1].model_copy(
                        update={"tool_calls": (*messages[-1].tool_calls, made)}
                    )
                    flags[-1] = flags[-1] and loss
                else:
                    messages.append(Message(role="assistant", tool_calls=(made,)))
                    flags.append(loss)
                continue
            role = "tool" if chat["role"] == "tool_response" else chat["role"]
            messages.append(Message(role=role, content=chat["content"]))
            flags.append(role == "assistant" and loss)
        return SupervisedChat(tuple(messages), tuple(flags))


def _call_text(call: ToolCall) -> str:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments  # a model wrote broken JSON: it stays a text
    return json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)


def _arguments_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
