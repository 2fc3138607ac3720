"""Logs of agents with all that their format holds."""

from __future__ import annotations

from typing import Any

from tests.format_examples import openhands, smolagents
from tests.format_examples.rich_chats import CHAT, FUNCTION, TOOL, Example, Row

ARGUMENTS = '{"door": "word7"}'
REASONING = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "word6 hm"}]}
CALL = {"type": "function_call", "call_id": "c1", "name": "open", "arguments": ARGUMENTS}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "word8 wall"}
GO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "word4 go"}]}
TOOL_OF_ITEMS = {"type": "function", **FUNCTION}
PATCH = {"type": "custom_tool_call", "call_id": "k", "name": "patch", "input": "+ word10"}
PATCHED = {"type": "custom_tool_call_output", "call_id": "k", "output": "word11 patched"}
SERVED = {"type": "mcp_call", "id": "m", "name": "look", "arguments": "{}", "output": "word12"}


def _answer(text: str) -> Row:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content, "status": "completed"}


def _line(kind: str, payload: Row) -> Row:
    return {"timestamp": "2026-01-01T10:00:00Z", "type": kind, "payload": payload}


LOOK, DONE = _answer("word5 look"), _answer("word9 done")
META = {
    "id": "01900000-0000-7000-8000-000000000000",
    "cwd": "/w",
    "base_instructions": {"text": "word3 rules"},
}
ITEMS = (GO, REASONING, LOOK, CALL, RESULT, PATCH, PATCHED, DONE)
ROLLOUT = [_line("session_meta", META), *(_line("response_item", item) for item in ITEMS)]
SUMMARY = {**GO, "content": [{"type": "input_text", "text": "word13 opened"}]}
COMPACTED = [
    *ROLLOUT,
    _line("compacted", {"message": "word13 opened", "replacement_history": [GO, SUMMARY]}),
    _line("response_item", {**GO, "content": [{"type": "input_text", "text": "word14 now"}]}),
    _line("response_item", _answer("word15 all")),
]


def _exec(kind: str, **fields: Any) -> Row:
    return {"type": "item.completed", "item": {"id": f"item_{kind}", "type": kind, **fields}}


EXEC = [
    {"type": "thread.started", "thread_id": "t"},
    {"type": "turn.started"},
    _exec("reasoning", text="word6 hm"),
    _exec(
        "command_execution",
        command="word7",
        aggregated_output="word8 wall",
        exit_code=0,
        status="completed",
    ),
    _exec("agent_message", text="word9 done"),
    {"type": "turn.completed", "usage": {"input_tokens": 1}},
]


def _part(kind: str, **fields: Any) -> Row:
    return {"id": "p", "sessionID": "s", "messageID": "m", "type": kind, **fields}


def _opencode(id_: str, role: str, *parts: Row) -> Row:
    return {"info": {"id": id_, "sessionID": "s", "role": role}, "parts": [*parts]}


STATE = {"status": "completed", "input": {"door": "word7"}, "output": "word8 wall"}


def _goose(role: str, *parts: Row) -> Row:
    marks = {"userVisible": True, "agentVisible": True}
    return {"role": role, "created": 1, "content": [*parts], "metadata": marks}


def _text(words: str) -> Row:
    return {"type": "text", "text": words}


def _value(**value: Any) -> Row:
    return {"status": "success", "value": value}


USE = {"type": "tool_use", "id": "c1", "name": "open", "input": {"door": "word7"}}
USED = {"type": "tool_result", "tool_use_id": "c1", "content": "word8 wall"}
THINKING = {"type": "thinking", "thinking": "word6 hm", "signature": "x"}


def _claude(number: int, kind: str, *blocks: Row, **fields: Any) -> Row:
    message = {"role": kind, "content": [*blocks], **fields}
    parent = f"u{number - 1}" if number else None
    return {
        **{"type": kind, "uuid": f"u{number}", "parentUuid": parent, "sessionId": "s"},
        "message": message,
    }


def _cline(role: str, *blocks: Row) -> Row:
    return {"role": role, "content": [*blocks], "ts": 1}


FUNCTION_CALL = {"functionCall": {"id": "c1", "name": "open", "args": {"door": "word7"}}}
FUNCTION_RESPONSE = {
    "functionResponse": {"id": "c1", "name": "open", "response": {"output": "word8 wall"}}
}
THOUGHT = {"text": "word6 hm", "thought": True}


def _qwen(number: int, kind: str, role: str, *parts: Row) -> Row:
    return {
        **{"uuid": f"u{number}", "parentUuid": f"u{number - 1}" if number else None},
        **{"sessionId": "s", "type": kind, "cwd": "/w"},
        "message": {"role": role, "parts": [*parts]},
    }


def _swe(role: str, content: str, kind: str, **fields: Any) -> Row:
    return {"role": role, "content": content, "agent": "main", "message_type": kind, **fields}


ATIF_CALL = {"tool_call_id": "c1", "function_name": "open", "arguments": {"door": "word7"}}
ATIF_RESULT = {"source_call_id": "c1", "content": "word8 wall"}
SYSTEM_EVENT = {
    "id": 0,
    "source": "agent",
    "action": "system",
    "args": {"content": "word3 rules", "tools": [TOOL]},
}
USER_EVENT = {"id": 1, "source": "user", "message": "word4 go", "action": "message"}
EXAMPLES: dict[str, Example] = {
    "codex": ("codex", ROLLOUT),
    "codex compacted": ("codex", COMPACTED),
    "codex exec": ("codex", EXEC),
    "responses": (
        "responses",
        [
            {
                "input": [GO],
                "instructions": "word3 rules",
                "tools": [TOOL_OF_ITEMS],
                "output": [REASONING, LOOK, CALL, RESULT, SERVED, DONE],
            }
        ],
    ),
    "responses as messages": ("responses", [{"messages": [GO, CALL, RESULT, DONE]}]),
    "nemo_gym": (
        "nemo_gym",
        [
            {
                "responses_create_params": {"input": [GO], "tools": [TOOL_OF_ITEMS]},
                "response": {
                    "object": "response",
                    "output": [REASONING, LOOK, CALL, RESULT, DONE],
                },
                "reward": 1.0,
            }
        ],
    ),
    "opencode": (
        "opencode",
        [
            {
                "info": {"id": "s", "version": "1.2"},
                "messages": [
                    _opencode("m1", "user", _part("text", text="word4 go")),
                    _opencode(
                        "m2",
                        "assistant",
                        _part("reasoning", text="word6 hm"),
                        _part("text", text="word5 look"),
                        _part("tool", callID="c1", tool="open", state=STATE),
                    ),
                    _opencode("m3", "assistant", _part("text", text="word9 done")),
                ],
            }
        ],
    ),
    "goose": (
        "goose",
        [
            {
                "id": "20260101_1",
                "working_dir": "/w",
                "conversation": [
                    _goose("user", _text("word4 go")),
                    _goose(
                        "assistant",
                        THINKING,
                        _text("word5 look"),
                        {
                            "type": "toolRequest",
                            "id": "c1",
                            "toolCall": _value(name="open", arguments={"door": "word7"}),
                        },
                    ),
                    _goose(
                        "user",
                        {
                            "type": "toolResponse",
                            "id": "c1",
                            "toolResult": _value(content=[_text("word8 wall")], isError=False),
                        },
                    ),
                    _goose("assistant", _text("word9 done")),
                ],
            }
        ],
    ),
    "openhands": (
        "openhands",
        [
            [
                SYSTEM_EVENT,
                {**USER_EVENT, "args": {"content": "word4 go"}},
                openhands.action(2, "c1", "word5 look", "word7"),
                openhands.observation(3, "c1", "word8 wall"),
                openhands.action(4, "c2", "word9 done", "ls"),
            ]
        ],
    ),
    "openhands sdk": (
        "openhands",
        [
            [
                openhands.sdk_message("e1", "user", "word4 go"),
                {
                    **openhands.sdk_action("e2", "c1", "word5 look", "r1"),
                    "reasoning_content": "word6 hm",
                },
                openhands.sdk_observation("e3", "c1", "word8 wall"),
                openhands.sdk_message("e4", "agent", "word9 done"),
            ]
        ],
    ),
    "smolagents": (
        "smolagents",
        [
            {
                "steps": [
                    {"task": "word4 go", "task_images": None},
                    smolagents.action(
                        1,
                        "word5 look",
                        "word8 wall",
                        tool_calls=[
                            {
                                "id": "c1",
                                "type": "function",
                                "function": {"name": "open", "arguments": {"door": "word7"}},
                            }
                        ],
                    ),
                    smolagents.action(2, "word9 done", None),
                ]
            }
        ],
    ),
    "claude_code": (
        "claude_code",
        [
            _claude(0, "user", _text("word4 go")),
            _claude(1, "assistant", THINKING, _text("word5 look"), USE, id="m1"),
            _claude(2, "user", USED),
            _claude(3, "assistant", _text("word9 done"), id="m2"),
        ],
    ),
    "cline": (
        "cline",
        [
            {
                **{"version": 1, "updated_at": "t", "agent": "lead", "sessionId": "s"},
                "system_prompt": "word3 rules",
                "messages": [
                    _cline("user", _text("word4 go")),
                    _cline("assistant", THINKING, _text("word5 look"), USE),
                    _cline("user", USED),
                    _cline("assistant", _text("word9 done")),
                ],
            }
        ],
    ),
    "gemini": (
        "gemini",
        [
            {
                "systemInstruction": {"parts": [{"text": "word3 rules"}]},
                "tools": [{"functionDeclarations": [FUNCTION]}],
                "contents": [
                    {"role": "user", "parts": [{"text": "word4 go"}]},
                    {"role": "model", "parts": [THOUGHT, {"text": "word5 look"}, FUNCTION_CALL]},
                    {"role": "user", "parts": [FUNCTION_RESPONSE]},
                    {"role": "model", "parts": [{"text": "word9 done"}]},
                ],
            }
        ],
    ),
    "qwen_code": (
        "qwen_code",
        [
            _qwen(0, "user", "user", {"text": "word4 go"}),
            _qwen(1, "assistant", "model", THOUGHT, {"text": "word5 look"}, FUNCTION_CALL),
            _qwen(2, "tool_result", "user", FUNCTION_RESPONSE),
            _qwen(3, "assistant", "model", {"text": "word9 done"}),
        ],
    ),
    "swe_agent": (
        "swe_agent",
        [
            {
                "environment": "main",
                "history": [
                    _swe("system", "word3 rules", "system_prompt"),
                    _swe("user", "word4 go", "observation"),
                    _swe(
                        "assistant",
                        "word5 look",
                        "action",
                        thinking_blocks=[THINKING],
                        tool_calls=CHAT[2]["tool_calls"],
                    ),
                    _swe("tool", "word8 wall", "observation", tool_call_ids=["c1"]),
                    _swe("assistant", "word9 done", "action"),
                ],
                "trajectory": [],
                "info": {"exit_status": "submitted"},
            }
        ],
    ),
    "atif": (
        "atif",
        [
            {
                "schema_version": "ATIF-v1.6",
                "session_id": "s",
                "agent": {"name": "a", "version": "1", "tool_definitions": [TOOL]},
                "steps": [
                    {"step_id": 1, "source": "system", "message": "word3 rules"},
                    {"step_id": 2, "source": "user", "message": "word4 go"},
                    {
                        "step_id": 3,
                        "source": "agent",
                        "message": "word5 look",
                        "reasoning_content": "word6 hm",
                        "tool_calls": [ATIF_CALL],
                        "observation": {"results": [ATIF_RESULT]},
                    },
                    {"step_id": 4, "source": "agent", "message": "word9 done"},
                ],
            }
        ],
    ),
}
