"""Chats with everything that their formats hold: parts, calls, results, reasoning, an answer."""

from __future__ import annotations

import json
from typing import Any

RICH: dict[str, dict[str, Any]] = {
    "openai": {
        "id": 1,
        "system": [{"type": "text", "text": "sys one."}, {"type": "text", "text": "sys two."}],
        "tools": json.dumps(
            [
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": "looks around",
                        "parameters": {
                            "type": "object",
                            "properties": {"at": {"type": "string", "description": "where to"}},
                        },
                    },
                }
            ]
        ),
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "find the key"},
                    {"type": "image_url", "image_url": {"url": "data:x"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "maybe the door"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "a", "name": "look", "input": {"at": "door side"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [{"type": "text", "text": "a closed door"}],
                    },
                    {"type": "text", "text": "hurry up"},
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "reasoning_details": [{"type": "reasoning.text", "text": "the window then"}],
                "tool_calls": [
                    {
                        "id": "b",
                        "type": "function",
                        "function": {"name": "look", "arguments": {"at": "window pane"}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "b", "content": {"found": "nothing here"}},
        ],
        "response": {
            "choices": [
                {
                    "message": {
                        "role": "assistant",
                        "content": "I give up.",
                        "reasoning": "no way out",
                    },
                    "finish_reason": "stop",
                }
            ]
        },
    },
    "sharegpt": {
        "id": 1,
        "system": "sys one.",
        "tools": json.dumps([{"name": "look", "description": "looks around"}]),
        "conversations": [
            {"from": "human", "value": "find the key"},
            {
                "from": "function_call",
                "value": json.dumps({"name": "look", "arguments": {"at": "door side"}}),
            },
            {"from": "observation", "value": "a closed door"},
            {"from": "gpt", "value": "I look.", "reasoning": "maybe the door"},
            {"from": "human", "value": "hurry up"},
            {
                "from": "function_call",
                "value": {"name": "look", "arguments": {"at": "window pane"}},
            },
            {"from": "observation", "value": {"found": "nothing here"}},
        ],
        "chosen": {"from": "gpt", "value": "I give up."},
        "rejected": {"from": "gpt", "value": "bad"},
    },
    "xlam": {
        "id": 1,
        "query": "find the key",
        "tools": [{"name": "look", "description": "looks around"}],
        "answers": [
            {"name": "look", "arguments": {"at": "door side"}},
            {"name": "look", "arguments": {"at": "window pane"}},
        ],
    },
}
