"""Chats in many spellings of calls, parts, reasoning and answers."""

from __future__ import annotations

import json
from typing import Any

from tests.format_examples.rich_chats import Example

USER = {"role": "user", "content": "Go."}
END = {"role": "assistant", "content": "end"}
ARGUMENTS = {"x": 1, "deep": {"y": [True]}}


def call(id_: str, name: str = "f", **arguments: Any) -> dict[str, Any]:
    return {"id": id_, "function": {"name": name, "arguments": json.dumps(arguments)}}


def calling(*calls: Any, content: Any = "") -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(id_: str | None, content: Any = "7", **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content, **fields}


def format_of(row: Any) -> str:
    """Named, since some spellings are also those of an agent that has a format of its own."""
    if isinstance(row, dict) and not {"query", "conversations"}.isdisjoint(row):
        return "xlam" if "query" in row else "sharegpt"
    return "openai"


CALLS = [
    *(
        {"id": "c", "name": "f", key: ARGUMENTS}
        for key in ("args", "params", "kwargs", "parameters", "input", "arguments", "tool_input")
    ),
    *(
        {"id": "c", "type": "function", "function": {"name": "f", key: ARGUMENTS}}
        for key in ("args", "params", "arguments")
    ),
    {"id": "c", "name": "f", "args": json.dumps(ARGUMENTS)},
    {"id": "c", "name": "f", "arguments": {}, "args": ARGUMENTS},
    {"id": "c", "function": {"name": "f"}, "arguments": ARGUMENTS},
    {"id": "c", "function": "f", "arguments": ARGUMENTS},
    {"toolCallId": "c", "toolName": "f", "args": ARGUMENTS},
    {"id": "c", "tool": "f", "input": ARGUMENTS},
    {"toolUse": {"toolUseId": "c", "name": "f", "input": ARGUMENTS}},
    json.dumps({"id": "c", "name": "f", "arguments": ARGUMENTS}),
]
CALL_PARTS: list[dict[str, Any]] = [
    *(
        {"type": kind, "id": "c", "name": "f", "input": ARGUMENTS}
        for kind in ("tool_use", "tool_call", "function_call", "mcp_tool_use", "server_tool_use")
    ),
    {"type": "tool-call", "toolCallId": "c", "toolName": "f", "args": ARGUMENTS},
    {"type": "tool-call", "toolCallId": "c", "toolName": "f", "input": ARGUMENTS},
    {"type": "function_call", "call_id": "c", "id": "fc", "name": "f", "arguments": "{}"},
    {"type": "toolRequest", "id": "c", "toolCall": {"value": {"name": "f", "arguments": {}}}},
    {"functionCall": {"id": "c", "name": "f", "args": ARGUMENTS}},
    {"toolUse": {"toolUseId": "c", "name": "f", "input": ARGUMENTS}},
    {"type": "tool_call", "value": json.dumps({"id": "c", "name": "f", "arguments": ARGUMENTS})},
]
RESULT_PARTS: list[dict[str, Any]] = [
    {"type": "tool_result", "tool_use_id": "c", "content": "seven"},
    {"type": "tool_result", "tool_call_id": "c", "content": [{"type": "text", "text": "seven"}]},
    {"type": "tool-result", "toolCallId": "c", "toolName": "f", "result": "seven"},
    {
        "type": "tool-result",
        "toolCallId": "c",
        "toolName": "f",
        "output": {"type": "text", "value": "seven"},
    },
    {"type": "function_call_output", "call_id": "c", "output": "seven"},
    {
        "type": "toolResponse",
        "id": "c",
        "toolResult": {"value": [{"type": "text", "text": "seven"}]},
    },
    {
        "type": "toolResponse",
        "id": "c",
        "toolResult": {
            "status": "success",
            "value": {"content": [{"type": "text", "text": "seven"}]},
        },
    },
    {"toolResult": {"toolUseId": "c", "content": [{"text": "seven"}]}},
    {"type": "tool_call_response", "id": "c", "result": "seven"},
]
MESSAGE = {"role": "assistant", "content": "I look.", "tool_calls": [call("d", at="door")]}
CHOICE = {"index": 0, "finish_reason": "tool_calls", "message": MESSAGE}
SCHEMA = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_ROWS: dict[str, Any] = {
    **{
        f"call {number}": [USER, calling(call), result("c"), END]
        for number, call in enumerate(CALLS)
        if isinstance(call, dict)
    },
    **{
        f"call part {number}": [
            USER,
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, part]},
            result("c"),
            END,
        ]
        for number, part in enumerate(CALL_PARTS)
        if "value" not in part
    },
    **{
        f"result part {number}": [
            USER,
            calling(CALLS[0]),
            {"role": "user", "content": [part]},
            END,
        ]
        for number, part in enumerate(RESULT_PARTS)
    },
    "response": {"messages": [USER], "response": {"choices": [CHOICE]}, "tools": [SCHEMA]},
    "preference": {"messages": [USER], "chosen": [MESSAGE], "rejected": [END]},
    "reasoning": {
        "messages": [
            *(USER, {**END, "reasoning_details": [{"type": "reasoning.text", "text": "one"}]}),
            *(USER, {**END, "thinking_blocks": [{"thinking": "two"}]}),
            *(USER, {**END, "reasoning": {"content": "three"}}),
        ]
    },
    "system": {"system": [{"type": "text", "text": "rules"}], "messages": [USER, END]},
    "media": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "x"}},
                    {"type": "document", "source": {"type": "text", "data": "a paper"}},
                ],
            },
            END,
        ]
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "system": "rules",
        "chosen": {"from": "gpt", "value": "b"},
        "rejected": {"from": "gpt", "value": "c"},
    },
}
EXAMPLES: dict[str, Example] = {name: (format_of(row), [row]) for name, row in _ROWS.items()}
