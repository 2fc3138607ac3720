"""A model on a server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, LiteLLM, OpenRouter and many more.

Spoken here without an SDK, for what one question costs: hundreds in flight are asked by one processor that way
(benchmarks/selection.py). Providers with protocols and habits of their own are asked through inspect_ai (inspect_api.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.endpoint import Censor
from atlas.models.endpoints.json_endpoint import JsonEndpoint, RejectedError, Wire
from atlas.records import Message, ToolCall, Usage


class ChatClient:
    """Asks the server at `base_url` for `model`, by its name there; over `wire`, if not over connections of its own."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key_variable: str | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 5,
        wire: Wire | None = None,
    ) -> None:
        self._model = model
        self._endpoint = JsonEndpoint(
            base_url.rstrip("/") + "/chat/completions",
            model,
            api_key_variable=api_key_variable,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
            wire=wire,
        )

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer; a request that the server declines as such is a Completion with a `refusal`.

        Raises:
            EndpointError: no answer after all retries, or something that is no answer.
            ModelError: the server does not know the model or does not accept the key.
        """
        try:
            return await self._endpoint.ask(
                chat_request(self._model, messages, sampling), self._read
            )
        except RejectedError as error:
            return Completion(
                text="", usage=Usage(requests=1), finish_reason="rejected", refusal=str(error)
            )

    async def close(self) -> None:
        await self._endpoint.close()

    def _read(self, answer: Any) -> Completion:
        text, refusal, finish_reason, usage = read_chat_answer(answer)
        if refusal is None and finish_reason == "content_filter":
            refusal = text or "stopped by the endpoint's content filter"
        censor = self._endpoint.censor
        return Completion(
            censor.strike(text),
            usage,
            finish_reason,
            None if refusal is None else censor.quote(refusal),
            tuple(_read_tool_calls(answer["choices"][0]["message"], censor)),
        )


def chat_request(model: str, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    """The body of a request; what `sampling` leaves to the model is not in it."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [_chat_message(message) for message in messages],
    }
    told = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
    }
    body |= {name: value for name, value in told.items() if value is not None}
    if sampling.response_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": sampling.response_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.tools:
        body["tools"] = list(sampling.tools)
    return body


def read_chat_answer(answer: Any) -> tuple[str, str | None, str, Usage]:
    """Text, refusal, why it ended and what it took, of a chat completions answer.

    Raises:
        ValueError: it is none.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
        parts = (
            [part for part in content if isinstance(part, dict)]
            if isinstance(content, list)
            else []
        )
        refusal = message.get("refusal") or next(
            (part["refusal"] for part in parts if part.get("refusal")), None
        )
        finish_reason = choice.get("finish_reason") or "stop"
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("the answer holds no choices[0].message") from None
    if isinstance(content, list) and len(parts) == len(
        content
    ):  # of several parts; those of other types are thoughts
        content = "".join(
            part["text"]
            for part in parts
            if part.get("type") == "text" and isinstance(part.get("text"), str)
        )
    if not isinstance(content, str | None):
        raise ValueError(f"choices[0].message.content is {content!r:.60}, expected a text")
    return (
        content or "",
        None if refusal is None else str(refusal),
        str(finish_reason),
        _usage(answer.get("usage")),
    )


def _read_tool_calls(message: Any, censor: Censor) -> Iterator[ToolCall]:
    """The calls in an answer.

    Raises:
        ValueError: one of them is not a call of a function.
    """
    for call in message.get("tool_calls") or ():
        try:
            function, identity = call["function"], call.get("id")
            name, arguments = function["name"], function.get("arguments") or "{}"
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"tool call {call!r:.100}, expected a function with a name") from None
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        yield ToolCall(
            id=None if identity is None else str(identity),
            name=str(name),
            arguments=censor.strike(text),
        )


def _usage(told: Any) -> Usage:
    """What the server says it used; some servers say nothing."""
    if not isinstance(told, dict):
        return Usage(requests=1)
    counts = [told.get(name) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return Usage(requests=1, input_tokens=read, output_tokens=written)


def _chat_message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        written["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id or f"call_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for index, call in enumerate(message.tool_calls)
        ]
    return written
