"""Chat completions of OpenAI's as Anthropic and Google would send the same answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.models.endpoints.chat_server import Reply

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    429: "rate_limit_error",
    500: "api_error",
}
GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def said(body: dict[str, Any]) -> str:
    """The first message of a question, in any protocol."""
    if "contents" in body:
        return str(body["contents"][0]["parts"][0]["text"])
    content = body["messages"][0]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


def as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """A question's messages as OpenAI's protocol has them, system first."""
    if "contents" in body:
        parts = [body["systemInstruction"], *body["contents"]]
        texts = ["".join(part["text"] for part in content["parts"]) for content in parts]
    elif "system" in body:
        contents = [body["system"], *(message["content"] for message in body["messages"])]
        texts = [
            content if isinstance(content, str) else "".join(part["text"] for part in content)
            for content in contents
        ]
    else:
        return body
    return {"messages": [{"content": text} for text in texts]}


def anthropic(reply: Reply) -> Reply:
    text, finish, usage, message = _read(reply)
    if message is not None:
        kind = ANTHROPIC_TYPES.get(reply.status, "api_error")
        return replace(
            reply,
            body=json.dumps(
                {
                    "type": "error",
                    "error": {"type": kind, "message": message},
                    "request_id": "req_1",
                }
            ),
        )
    if usage is None:
        return reply
    row = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": STOP_REASONS[finish],
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
        },
    }
    return replace(reply, body=json.dumps(row))


def anthropic_events(reply: Reply) -> Reply:
    """Like `anthropic`, as the stream of events that single questions get."""
    whole = anthropic(reply)
    row = json.loads(whole.body)
    if row["type"] == "error":
        return whole
    begun = row | {"content": [], "stop_reason": None, "usage": row["usage"] | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(row["content"]):
        events.append(
            {
                "type": "content_block_start",
                "index": index,
                "content_block": {"type": "text", "text": ""},
            }
        )
        events.append(
            {
                "type": "content_block_delta",
                "index": index,
                "delta": {"type": "text_delta", "text": block["text"]},
            }
        )
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": row["stop_reason"], "stop_sequence": None}
    events.append(
        {
            "type": "message_delta",
            "delta": ending,
            "usage": {"output_tokens": row["usage"]["output_tokens"]},
        }
    )
    events.append({"type": "message_stop"})
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return replace(whole, body=text, headers={"Content-Type": "text/event-stream"})


def google(reply: Reply) -> Reply:
    text, finish, usage, message = _read(reply)
    if message is not None:
        status = GOOGLE_STATUSES.get(reply.status, "UNKNOWN")
        return replace(
            reply,
            body=json.dumps(
                {"error": {"code": reply.status, "message": message, "status": status}}
            ),
        )
    if usage is None:
        return reply
    counts = {
        "promptTokenCount": usage["prompt_tokens"],
        "candidatesTokenCount": usage["completion_tokens"],
    }
    content = {"role": "model", "parts": [{"text": text}] if text else []}
    candidate = {"content": content, "finishReason": FINISH_REASONS[finish], "index": 0}
    row = {
        "candidates": [candidate],
        "usageMetadata": counts | {"totalTokenCount": 107},
        "modelVersion": "gemini-test",
    }
    return replace(reply, body=json.dumps(row))


def _read(reply: Reply) -> tuple[str, str, dict[str, int] | None, str | None]:
    """Text, finish reason, usage and error message of an answer in OpenAI's protocol.

    Without usage and message it is not an answer.
    """
    try:
        row = json.loads(reply.body)
    except ValueError:
        return "", "", None, None
    if "error" in row:
        return "", "", None, row["error"]["message"]
    choice = row["choices"][0]
    return choice["message"]["content"] or "", choice["finish_reason"], row["usage"], None
