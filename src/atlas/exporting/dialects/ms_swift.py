"""Rows for ms-swift: `loss` on assistant messages; tool calls are messages with their own role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from atlas.exporting.dialects.base import Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.changes import (
    CALL_IDS_DROPPED,
    CUT_AFTER_LAST,
    NAMES_DROPPED,
    OF_FLAGS,
    THINKING_MOVED,
)
from atlas.exporting.dialects.chat import (
    flagged_messages,
    read_call,
    supervised_chat,
    tools_text,
    with_thinking,
    write_call,
)
from atlas.exporting.dialects.demands import SYSTEM_IN_BETWEEN, USER_AFTER_RESULT
from atlas.records import Message, Selection, Trajectory


class MsSwiftDialect(Dialect):
    """`loss` true on critical turns, false on the other assistant turns."""

    notes = """\
Run with ms-swift 4.6.0 (its preprocessor and the template chatml; text turns, no tools). One token
per turn differs: its templates also train the newline after <|im_end|>. `loss` overrides
`--loss_scale`; leave that at `default`. ms-swift trains the end of the last turn of a row whatever
its `loss` says, so rows stop at the last critical step; do not append turns to them. It drops all
fields of a message but `loss` and `loss_scale` without a warning, so reasoning is written into the
content, and tool calls are messages (read in its code, not run; since 4.6 it also takes OpenAI's
`tool_calls`). Of several calls in a row, the `loss` of the first counts. A row must alternate
between the agent and a user or results, or it is dropped."""
    stanza = "swift sft --dataset {file} …"
    changes = (*OF_FLAGS, CUT_AFTER_LAST, THINKING_MOVED, CALL_IDS_DROPPED, NAMES_DROPPED)
    demands = (USER_AFTER_RESULT, SYSTEM_IN_BETWEEN)
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
            content = with_thinking(message)
            # Calls right after a turn would be read as a part of it.
            follows = bool(messages) and messages[-1]["role"] in ("assistant", "tool_call")
            if content or follows or not message.tool_calls:
                messages.append({"role": "assistant", "content": content, "loss": critical})
            for call in message.tool_calls:
                text = json.dumps(write_call(call), ensure_ascii=False)
                messages.append({"role": "tool_call", "content": text, "loss": critical})
        tools = tools_text(trajectory)
        yield {"messages": messages, **({"tools": tools} if tools else {})}

    def read(self, row: ExportRow) -> SupervisedChat:
        turns: list[tuple[Message, bool]] = []
        for chat in row["messages"]:
            loss = bool(chat.get("loss", True))
            if chat["role"] != "tool_call":
                role = "tool" if chat["role"] == "tool_response" else chat["role"]
                message = Message(role=role, content=chat["content"])
                turns.append((message, role == "assistant" and loss))
                continue
            message = Message(role="assistant")
            if turns and turns[-1][0].role == "assistant":
                message, flag = turns.pop()
                loss = flag and loss
            calls = (*message.tool_calls, read_call(json.loads(chat["content"])))
            turns.append((message.model_copy(update={"tool_calls": calls}), loss))
        return supervised_chat(turns)
