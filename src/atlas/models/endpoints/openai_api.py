"""Models on servers with OpenAI's chat completions API: vLLM, SGLang, llama.cpp and others.

No SDK is used, because it would take several times the processor time per question
(benchmarks/clients.py). For providers with other protocols see inspect_api.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atlas.errors import EndpointError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.connections import Transport
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.http_error import FILTERED
from atlas.models.endpoints.json_endpoint import JsonEndpoint, RejectedError, UnreadError
from atlas.models.endpoints.reported import read_name, read_usage
from atlas.records import Message, ToolCall, Usage
from atlas.rendering.openai_messages import write_openai_message

# Fields of an assistant message that hold its thoughts: vLLM and SGLang, and newer vLLM.
THOUGHTS = ("reasoning_content", "reasoning")


class ChatClient:
    """Asks `model` (its name at the server) at `endpoint.base_url`."""

    def __init__(self, model: str, endpoint: Endpoint, transport: Transport | None = None) -> None:
        self._model = model
        # The field in which the server returns thoughts, and reads those of earlier answers.
        self._thoughts = THOUGHTS[0]
        self._endpoint = JsonEndpoint("/chat/completions", model, endpoint, transport)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer. A request that the server declines gives a Completion with a `refusal`."""
        body = chat_request(self._model, messages, sampling, self._thoughts)
        # What was paid for answers that cannot be read, so that the question was asked again.
        wasted = Usage()

        def read(answer: Any) -> Completion:
            nonlocal wasted
            try:
                return self._read(answer, bool(sampling.tools))
            except ValueError:
                usage, is_counted = _usage_in(answer)
                wasted += usage if is_counted else Usage()
                raise

        try:
            completion = await self._endpoint.ask(body, read)
        except RejectedError as error:
            completion = Completion.rejected(str(error))
        except UnreadError as error:
            completion = Completion.unread(str(error))
        except EndpointError as error:
            error.paid = wasted
            raise
        return replace(completion, usage=completion.usage + wasted)

    async def close(self) -> None:
        await self._endpoint.close()

    def _read(self, answer: Any, has_tools: bool) -> Completion:
        read = read_chat_answer(answer, has_tools)
        if read.reasoning is not None:
            message = answer["choices"][0]["message"]
            self._thoughts = next(name for name in THOUGHTS if message.get(name) == read.reasoning)
        censor = self._endpoint.censor
        calls = tuple(
            call.model_copy(update={"arguments": censor.redact(call.arguments)})
            for call in read.tool_calls
        )
        refusal = None if read.refusal is None else censor.quote(read.refusal)
        text, model = censor.redact(read.text), read.model and censor.redact(read.model)
        thoughts = read.reasoning and censor.redact(read.reasoning)
        return replace(
            read,
            text=text,
            refusal=refusal,
            tool_calls=calls,
            model=model,
            reasoning=thoughts,
        )


def chat_request(
    model: str, messages: Sequence[Message], sampling: Sampling, thoughts: str = THOUGHTS[0]
) -> dict[str, Any]:
    """The body of a request. Settings that are None in `sampling` are left out.

    Args:
        thoughts: the field of a message that holds its thoughts.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [_wire_message(message, thoughts) for message in messages],
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "tools": list(sampling.tools) or None,
    }
    body = {name: value for name, value in body.items() if value is not None}
    if sampling.response_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": sampling.response_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def read_chat_answer(answer: Any, has_tools: bool = True) -> Completion:
    """The completion in a decoded chat completions answer.

    Args:
        has_tools: whether tools were offered; otherwise unreadable tool calls are left out.

    Raises:
        ValueError: the answer holds no completion.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        refusal = message.get("refusal") or next(
            (part["refusal"] for part in parts if part.get("refusal")), None
        )
        finish_reason = read_name(choice.get("finish_reason")) or "stop"
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("the answer holds no choices[0].message") from None
    if isinstance(content, list):
        # Parts of other types are thoughts.
        texts = [part.get("text") for part in parts if part.get("type") == "text"]
        content = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str | None):
        raise ValueError(f"choices[0].message.content is {content!r:.60}, expected a text")
    if refusal is None and finish_reason == "content_filter":
        refusal = content or FILTERED
    refusal = None if refusal is None else str(refusal)
    calls = _tool_calls(message.get("tool_calls"), has_tools)
    usage, is_counted = _usage_in(answer, (content or "") + "".join(call.name for call in calls))
    model = read_name(answer.get("model"))
    found = (message.get(name) for name in THOUGHTS)
    thoughts = next((said for said in found if isinstance(said, str) and said), None)
    return Completion(
        content or "",
        usage,
        finish_reason,
        refusal,
        calls,
        model,
        is_counted,
        reasoning=thoughts,
    )


def _usage_in(answer: Any, text: str = "") -> tuple[Usage, bool]:
    """The usage in a decoded answer whose text is `text`, and whether both counts are known."""
    reported = answer.get("usage") if isinstance(answer, dict) else None
    reported = reported if isinstance(reported, dict) else {}
    return read_usage(reported.get("prompt_tokens"), reported.get("completion_tokens"), text)


def _tool_calls(given: Any, has_tools: bool) -> tuple[ToolCall, ...]:
    """The tool calls of an answer, with arguments as text; some servers send them decoded."""
    try:
        return tuple(
            ToolCall(
                id=None if call.get("id") is None else str(call["id"]),
                name=str(call["function"]["name"]),
                arguments=_arguments(call["function"].get("arguments")),
            )
            for call in given or ()
        )
    except (KeyError, TypeError, AttributeError):
        if not has_tools:
            return ()
        found = f"choices[0].message.tool_calls is {given!r:.60}"
        raise ValueError(f"{found}, expected function calls") from None


def _arguments(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def _wire_message(message: Message, thoughts: str) -> dict[str, Any]:
    """A message in OpenAI's form. Servers refuse a call without an id or with empty arguments."""
    calls = tuple(
        ToolCall(id=call.id or f"call_{index}", name=call.name, arguments=call.arguments or "{}")
        for index, call in enumerate(message.tool_calls)
    )
    sent = message.model_copy(update={"tool_calls": calls, "reasoning": None, "name": None})
    written = write_openai_message(sent)
    return written if message.reasoning is None else {**written, thoughts: message.reasoning}
