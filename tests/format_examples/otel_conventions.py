"""One conversation of two model calls and a tool, in each convention of instrumentations.

A convention is two dictionaries of attributes, and the attributes of the run of the tool.
"""

from __future__ import annotations

import json
from typing import Any

Attributes = dict[str, Any]
ARGUMENTS = {"at": "the door"}
RESULT = {"seen": "a grey cat"}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
FUNCTION = {"name": "look", "description": "Looks somewhere.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}


def genai() -> tuple[Attributes, Attributes, Attributes]:
    user = {"role": "user", "parts": [{"type": "text", "content": "Go on."}]}
    call_made = {"id": "c1", "name": "look", "arguments": ARGUMENTS}
    calling = {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Where?"},
            {"type": "text", "content": "I look."},
            {"type": "tool_call", "tool_call": call_made},
        ],
    }
    result = {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "c1", "response": RESULT}],
    }
    done = {"role": "assistant", "parts": [{"type": "text", "content": "A cat."}]}
    base = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "x",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Rules."}]),
        "gen_ai.tool.definitions": json.dumps([TOOL]),
        "gen_ai.usage.input_tokens": 3,
    }

    def call(sent: list[Any], answered: Any) -> Attributes:
        return base | {
            "gen_ai.input.messages": json.dumps(sent),
            "gen_ai.output.messages": json.dumps([answered]),
        }

    run = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.call.arguments": json.dumps(ARGUMENTS),
        "gen_ai.tool.call.result": json.dumps(RESULT),
    }
    return call([user], calling), call([user, calling, result], done), run


def openinference() -> tuple[Attributes, Attributes, Attributes]:
    def message(prefix: str, role: str, **fields: Any) -> Attributes:
        return {f"{prefix}.message.{key}": value for key, value in {"role": role, **fields}.items()}

    def calling(prefix: str) -> Attributes:
        content, call = f"{prefix}.message.contents", f"{prefix}.message.tool_calls.0.tool_call"
        return message(prefix, "assistant") | {
            f"{content}.0.message_content.type": "reasoning",
            f"{content}.0.message_content.text": "Where?",
            f"{content}.1.message_content.type": "text",
            f"{content}.1.message_content.text": "I look.",
            f"{content}.2.message_content.type": "tool_use",
            f"{call}.id": "c1",
            f"{call}.function.name": "look",
            f"{call}.function.arguments": json.dumps(ARGUMENTS),
        }

    base = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "small",
        "llm.invocation_parameters": '{"max_tokens": 10}',
        "llm.token_count.prompt": 3,
        "llm.tools.0.tool.json_schema": json.dumps(TOOL),
        "input.value": '{"messages": "(as above)"}',
        "output.value": "{}",
        **message("llm.input_messages.0", "system", content="Rules."),
        **message("llm.input_messages.1", "user", content="Go on."),
    }
    first = base | calling("llm.output_messages.0")
    second = base | calling("llm.input_messages.2")
    second |= message("llm.input_messages.3", "tool", content=json.dumps(RESULT), tool_call_id="c1")
    second |= message("llm.output_messages.0", "assistant", content="A cat.")
    run = {
        "openinference.span.kind": "TOOL",
        "tool.name": "look",
        "tool_call.id": "c1",
        "input.value": json.dumps(ARGUMENTS),
        "output.value": json.dumps(RESULT),
    }
    return first, second, run


def traceloop() -> tuple[Attributes, Attributes, Attributes]:
    def message(prefix: str, **fields: Any) -> Attributes:
        return {f"{prefix}.{key}": value for key, value in fields.items()}

    def calling(prefix: str) -> Attributes:
        call = f"{prefix}.tool_calls.0"
        return message(prefix, role="assistant", content="I look.", reasoning="Where?") | {
            f"{call}.id": "c1",
            f"{call}.name": "look",
            f"{call}.arguments": json.dumps(ARGUMENTS),
        }

    base = {
        "gen_ai.system": "OpenAI",
        "llm.request.type": "chat",
        "llm.usage.total_tokens": 4,
        **message("gen_ai.prompt.0", role="system", content="Rules."),
        **message("gen_ai.prompt.1", role="user", content="Go on."),
        **message("llm.request.functions.0", **{**FUNCTION, "parameters": json.dumps(SCHEMA)}),
    }
    first = base | calling("gen_ai.completion.0")
    second = base | calling("gen_ai.prompt.2")
    second |= message("gen_ai.prompt.3", role="tool", content=json.dumps(RESULT), tool_call_id="c1")
    second |= message("gen_ai.completion.0", role="assistant", content="A cat.")
    run = {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "look",
        "traceloop.entity.output": json.dumps(RESULT),
    }
    return first, second, run


def aisdk() -> tuple[Attributes, Attributes, Attributes]:
    sent: list[Any] = [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ]
    call = {"toolCallId": "c1", "toolName": "look", "input": ARGUMENTS}
    history = [
        *sent,
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "text": "Where?"},
                {"type": "text", "text": "I look."},
                {"type": "tool-call", **call},
            ],
        },
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "c1",
                    "toolName": "look",
                    "output": {"type": "json", "value": RESULT},
                }
            ],
        },
    ]
    base = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.id": "small",
        "ai.prompt.tools": [json.dumps({"type": "function", **FUNCTION})],
        "ai.usage.inputTokens": 3,
    }
    first = base | {
        "ai.prompt.messages": json.dumps(sent),
        "ai.response.text": "I look.",
        "ai.response.reasoning": "Where?",
        "ai.response.toolCalls": json.dumps([call]),
        "ai.response.finishReason": "tool-calls",
    }
    second = base | {"ai.prompt.messages": json.dumps(history), "ai.response.text": "A cat."}
    run = {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.id": "c1",
        "ai.toolCall.name": "look",
        "ai.toolCall.args": json.dumps(ARGUMENTS),
        "ai.toolCall.result": json.dumps(RESULT),
    }
    return first, second, run


def pydantic_ai() -> tuple[Attributes, Attributes, Attributes]:
    sent: list[Any] = [
        {"event.name": "gen_ai.system.message", "role": "system", "content": "Rules."},
        {"event.name": "gen_ai.user.message", "role": "user", "content": "Go on."},
    ]
    function = {"name": "look", "arguments": ARGUMENTS}
    calling = {
        "role": "assistant",
        "content": [{"kind": "text", "type": "text", "text": "I look."}],
        "reasoning": "Where?",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    history = [
        *sent,
        {"event.name": "gen_ai.assistant.message", **calling, "gen_ai.message.index": 1},
        {
            "event.name": "gen_ai.tool.message",
            "role": "tool",
            "id": "c1",
            "name": "look",
            "content": RESULT,
        },
    ]
    tool = {"name": "look", "description": "Looks somewhere.", "parameters_json_schema": SCHEMA}
    base = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "model_request_parameters": json.dumps({"function_tools": [tool], "output_mode": "text"}),
    }

    def call(messages: list[Any], answer: Any) -> Attributes:
        choice = {"event.name": "gen_ai.choice", "index": 0, "message": answer}
        return base | {"events": json.dumps([*messages, choice])}

    done = {"role": "assistant", "content": "A cat."}
    run = {
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": "c1",
        "tool_arguments": json.dumps(ARGUMENTS),
        "tool_response": json.dumps(RESULT),
    }
    return call(sent, calling), call(history, done), run


def adk() -> tuple[Attributes, Attributes, Attributes]:
    contents: list[Any] = [{"role": "user", "parts": [{"text": "Go on."}]}]
    calling = {
        "role": "model",
        "parts": [
            {"text": "Where?", "thought": True},
            {"text": "I look."},
            {"function_call": {"id": "c1", "name": "look", "args": ARGUMENTS}},
        ],
    }
    result = {
        "role": "user",
        "parts": [{"function_response": {"id": "c1", "name": "look", "response": RESULT}}],
    }
    config = {"system_instruction": "Rules.", "tools": [{"function_declarations": [FUNCTION]}]}

    def call(history: list[Any], content: Any) -> Attributes:
        request = {"model": "small", "config": config, "contents": history}
        response = {"content": content, "finish_reason": "STOP"}
        return {
            "gen_ai.system": "gcp.vertex.agent",
            "gcp.vertex.agent.llm_request": json.dumps(request),
            "gcp.vertex.agent.llm_response": json.dumps(response),
        }

    run = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": "c1",
        "gcp.vertex.agent.tool_call_args": json.dumps(ARGUMENTS),
        "gcp.vertex.agent.tool_response": json.dumps(RESULT),
        "gcp.vertex.agent.llm_request": "{}",
    }
    done = {"role": "model", "parts": [{"text": "A cat."}]}
    return call(contents, calling), call([*contents, calling, result], done), run


CONVENTIONS = {
    "genai": genai,
    "openinference": openinference,
    "traceloop": traceloop,
    "aisdk": aisdk,
    "pydantic_ai": pydantic_ai,
    "adk": adk,
}
