"""Small logs of coding agents that hold calls, results, reasoning and tools, for the law."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def _claude(uuid: str, parent: str | None, kind: str, **fields: Any) -> Row:
    line = {"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": "s", "cwd": "/w"}
    return {**line, **fields}


def _said(role: str, *blocks: Row, id: str | None = None) -> Row:
    return {"role": role, "content": list(blocks), **({"id": id} if id else {})}


_RESULT = {
    "type": "tool_result",
    "tool_use_id": "c",
    "content": [{"type": "text", "text": "A door."}],
}
_CALL = {"type": "tool_use", "id": "c", "name": "look", "input": {"at": "the wall"}}
CLAUDE_CODE = [
    _claude("a", None, "user", message={"role": "user", "content": "Find the key."}),
    _claude(
        "b", "a", "attachment", attachment={"type": "queued_command", "prompt": "And be quick."}
    ),
    _claude(
        "c",
        "b",
        "assistant",
        message=_said("assistant", {"type": "thinking", "thinking": "Where is it?"}, id="m"),
    ),
    _claude(
        "d",
        "c",
        "assistant",
        message=_said("assistant", {"type": "text", "text": "I look."}, _CALL, id="m"),
    ),
    _claude("e", "d", "user", message=_said("user", _RESULT)),
    _claude(
        "f",
        "e",
        "assistant",
        message=_said("assistant", {"type": "text", "text": "Here it is."}, id="n"),
    ),
]
STREAM_JSON = [
    {"type": "system", "subtype": "init", "session_id": "s", "tools": ["look"]},
    {"type": "assistant", "session_id": "s", "message": _said("assistant", _CALL, id="m")},
    {"type": "user", "session_id": "s", "message": _said("user", _RESULT)},
    {
        "type": "assistant",
        "session_id": "s",
        "message": _said("assistant", {"type": "text", "text": "Here it is."}, id="n"),
    },
]


def _content(role: str, *parts: Row) -> Row:
    return {"role": role, "parts": list(parts)}


_FUNCTION_CALL = {"functionCall": {"id": "c", "name": "look", "args": {"at": "the wall"}}}
_RESPONSE = {"functionResponse": {"id": "c", "name": "look", "response": {"output": "A door."}}}
_THOUGHT = {"text": "Where is it?", "thought": True}
GEMINI = [
    {
        "systemInstruction": {"parts": [{"text": "Rules."}]},
        "tools": [{"functionDeclarations": [{"name": "look", "description": "Looks around."}]}],
        "contents": [
            _content("user", {"text": "Find the key."}),
            _content("model", _THOUGHT, {"text": "I look."}, _FUNCTION_CALL),
            _content("user", _RESPONSE),
            _content("model", {"text": "Here it is."}),
        ],
    }
]
GEMINI_CHAT = [
    {
        "sessionId": "s",
        "projectHash": "p",
        "messages": [
            {"id": "a", "timestamp": "t", "type": "user", "content": "Find the key."},
            {
                "id": "b",
                "timestamp": "t",
                "type": "gemini",
                "content": "I look.",
                "thoughts": [{"subject": "Key", "description": "Where is it?"}],
                "toolCalls": [
                    {"id": "c", "name": "look", "args": {"at": "the wall"}, "result": [_RESPONSE]}
                ],
            },
            {"id": "d", "timestamp": "t", "type": "gemini", "content": "Here it is."},
        ],
    }
]
GEMINI_STREAM = [
    {"type": "init", "session_id": "s", "model": "m"},
    {"type": "message", "timestamp": "t", "role": "user", "content": "Find the key."},
    {"type": "message", "timestamp": "t", "role": "assistant", "content": "I look."},
    {"type": "tool_use", "tool_name": "look", "tool_id": "c", "parameters": {"at": "the wall"}},
    {"type": "tool_result", "tool_id": "c", "status": "success", "output": "A door."},
    {"type": "message", "timestamp": "t", "role": "assistant", "content": "Here it is."},
]


def _qwen(uuid: str, parent: str | None, kind: str, message: Row) -> Row:
    line = {"uuid": uuid, "parentUuid": parent, "sessionId": "s", "type": kind, "cwd": "/w"}
    return {**line, "message": message}


QWEN_CODE = [
    _qwen("a", None, "user", _content("user", {"text": "Find the key."})),
    _qwen("b", "a", "assistant", _content("model", _THOUGHT, {"text": "I look."}, _FUNCTION_CALL)),
    _qwen("c", "b", "tool_result", _content("user", _RESPONSE)),
    _qwen("d", "c", "assistant", _content("model", {"text": "Here it is."})),
]
CLINE = [
    {
        "version": 1,
        "updated_at": "t",
        "agent": "lead",
        "sessionId": "s",
        "system_prompt": "Rules.",
        "messages": [
            {"ts": 1, **_said("user", {"type": "text", "text": "Find the key."})},
            {
                "ts": 2,
                **_said("assistant", {"type": "thinking", "thinking": "Where is it?"}, _CALL),
            },
            {"ts": 3, **_said("user", _RESULT)},
            {"ts": 4, **_said("assistant", {"type": "text", "text": "Here it is."})},
        ],
    }
]
_TOOL = {"type": "function", "name": "look", "description": "Looks around.", "parameters": {}}


def _message(role: str, text: str) -> Row:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


ITEMS: list[Row] = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Where is it?"}]},
    {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"at": "the wall"}'},
    {"type": "function_call_output", "call_id": "c", "output": "A door."},
    {"type": "custom_tool_call", "call_id": "d", "name": "patch", "input": "Open it."},
    {
        "type": "custom_tool_call_output",
        "call_id": "d",
        "output": [{"type": "input_text", "text": "Opened."}],
    },
    _message("assistant", "Here it is."),
]
CODEX = [
    {
        "timestamp": "t",
        "type": "session_meta",
        "payload": {"id": "s", "cwd": "/w", "base_instructions": {"text": "Rules."}},
    },
    *(
        {"timestamp": "t", "type": "response_item", "payload": item}
        for item in (_message("user", "Find the key."), *ITEMS)
    ),
]
CODEX_BARE = [
    {"id": "s", "timestamp": "t", "instructions": None, "git": {}},
    _message("user", "Find the key."),
    *ITEMS,
]
CODEX_EXEC: list[Row] = [
    {"type": "thread.started", "thread_id": "s"},
    {"type": "item.completed", "item": {"id": "a", "type": "reasoning", "text": "Where is it?"}},
    {
        "type": "item.completed",
        "item": {
            "id": "b",
            "type": "command_execution",
            "command": "look",
            "aggregated_output": "A door.",
        },
    },
    {
        "type": "item.completed",
        "item": {"id": "c", "type": "agent_message", "text": "Here it is."},
    },
]
RESPONSES = [{"tools": [_TOOL], "input": [_message("user", "Find the key.")], "output": ITEMS}]
NEMO_GYM = [
    {
        "responses_create_params": {"input": [_message("user", "Find the key.")], "tools": [_TOOL]},
        "response": {"id": "r", "object": "response", "output": ITEMS},
        "reward": 1.0,
    }
]
_STATE = {"status": "completed", "input": {"at": "the wall"}, "output": "A door."}
_PARTS = [
    {"type": "reasoning", "text": "Where is it?"},
    {"type": "tool", "tool": "look", "callID": "c", "state": _STATE},
    {"type": "text", "text": "Here it is."},
]
OPENCODE = [
    {
        "info": {"id": "s", "version": "1"},
        "messages": [
            {
                "info": {"id": "a", "role": "user", "sessionID": "s"},
                "parts": [{"type": "text", "text": "Find the key."}],
            },
            {"info": {"id": "b", "role": "assistant", "sessionID": "s"}, "parts": _PARTS},
        ],
    }
]
OPENCODE_STREAM = [
    {"type": kind, "sessionID": "s", "part": part}
    for kind, part in zip(("reasoning", "tool_use", "text"), _PARTS, strict=True)
]
_REQUEST = {"status": "success", "value": {"name": "look", "arguments": {"at": "the wall"}}}
_ANSWERED = {"status": "success", "value": [{"type": "text", "text": "A door."}]}
GOOSE = [
    {
        "id": "s",
        "working_dir": "/w",
        "conversation": [
            {"created": 1, "metadata": {"agentVisible": True}, **_said(role, *blocks)}
            for role, *blocks in (
                ("user", {"type": "text", "text": "Find the key."}),
                (
                    "assistant",
                    {"type": "thinking", "thinking": "Where is it?"},
                    {"type": "toolRequest", "id": "c", "toolCall": _REQUEST},
                ),
                ("user", {"type": "toolResponse", "id": "c", "toolResult": _ANSWERED}),
                ("assistant", {"type": "text", "text": "Here it is."}),
            )
        ],
    }
]
# By the name of the format, several forms of it.
LOGS: dict[str, tuple[list[Row], ...]] = {
    "claude_code": (CLAUDE_CODE, STREAM_JSON),
    "gemini": (GEMINI, GEMINI_CHAT, GEMINI_STREAM),
    "qwen_code": (QWEN_CODE,),
    "cline": (CLINE,),
    "codex": (CODEX, CODEX_BARE, CODEX_EXEC),
    "responses": (RESPONSES,),
    "nemo_gym": (NEMO_GYM,),
    "opencode": (OPENCODE, OPENCODE_STREAM),
    "goose": (GOOSE,),
}
