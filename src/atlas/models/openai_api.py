"""A model behind an OpenAI-compatible endpoint: OpenAI's own, vLLM, llama.cpp, Ollama and others.

The key comes from an environment variable and goes nowhere but into the request's header: it is struck out of whatever
the endpoint says before that can reach a record, a log or an error message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atlas.errors import ConfigError, DependencyError, EndpointError, ModelError
from atlas.models.base import Completion, Sampling
from atlas.records import Message, Usage

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

OPENAI_URL = "https://api.openai.com/v1"
KEYLESS = "no-key"  # local servers ask for none, the SDK does
LONGEST_QUOTE = 300  # characters of an endpoint's own words in a message; an HTML page is longer
REFUSED_REQUEST = (400, 413, 422)  # this request is at fault (too long, filtered), another may not be
REFUSED_ACCESS = (401, 403, 404)  # no request of ours can succeed

logger = logging.getLogger(__name__)


class OpenAIClient:
    """Asks one model. The SDK retries what may pass (429, 5xx, timeouts, broken connections), heeding Retry-After."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_variable: str = "OPENAI_API_KEY",
        timeout_seconds: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        try:
            import openai
        except ImportError:
            raise DependencyError("openai", "oracle") from None
        self._model = model
        self._url = base_url or OPENAI_URL  # given outright: the SDK would else read it from the environment
        self._key = os.environ.get(api_key_variable, "").strip()
        if not self._key and base_url is None:
            raise ConfigError(
                f"the environment variable {api_key_variable} is not set, expected the key for {OPENAI_URL}. "
                "Set it, name another with api_key_variable=…, or give base_url=… of a server without keys."
            )
        self._advice = f"Check base_url, model and the key in {api_key_variable}."
        self._client = openai.AsyncOpenAI(
            api_key=self._key or KEYLESS, base_url=self._url, timeout=timeout_seconds, max_retries=max_retries
        )
        self._takes_schema: bool | None = None  # not known before the first answer

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer; a request that the endpoint declines as such is a Completion with a `refusal`.

        Raises:
            EndpointError: no answer after all retries, or something that is no answer.
            ModelError: the endpoint does not know the model or does not accept the key.
        """
        import openai

        request = _request(self._model, messages, sampling)
        schema = sampling.response_schema
        if schema is None or self._takes_schema is False:
            return await self._completion(request)
        try:
            answer = await self._completion(request | {"response_format": _response_format(schema)}, refuse=self._takes_schema is True)
            self._takes_schema = True
            return answer
        except openai.APIStatusError as error:  # perhaps for the schema, perhaps for something else: the plain request tells
            answer = await self._completion(request)
            if answer.finish_reason != "rejected" and self._takes_schema is None:
                self._takes_schema = False
                logger.warning("%s refuses JSON schemas (%s); asking for JSON in words from now on", self._url, self._quote(error))
            return answer

    async def close(self) -> None:
        await self._client.close()

    async def _completion(self, request: dict[str, Any], refuse: bool = True) -> Completion:
        """One request. What is refused comes back as a Completion, or as the SDK's error where `refuse` is false."""
        import openai

        try:
            answer = await self._client.chat.completions.create(**request)
        except openai.APIStatusError as error:
            if error.status_code in REFUSED_REQUEST:
                if not refuse:
                    raise
                return Completion(text="", usage=Usage(requests=1), finish_reason="rejected", refusal=self._quote(error))
            kind = ModelError if error.status_code in REFUSED_ACCESS else EndpointError
            raise kind(f"{self._url} gave no answer from model '{self._model}': {self._quote(error)}. {self._advice}") from None
        except openai.APITimeoutError:
            raise EndpointError(f"{self._url} did not answer in time. Raise timeout_seconds, or lower max_in_flight.") from None
        except openai.OpenAIError as error:
            raise EndpointError(f"{self._url} gave no answer: {self._quote(error)} {self._advice}") from None
        except ValueError as error:  # a body that calls itself JSON and is none
            raise EndpointError(f"{self._url} answered something that is not JSON: {self._quote(error)}. {self._advice}") from None
        return self._read(answer)

    def _read(self, answer: ChatCompletion) -> Completion:
        """The SDK checks nothing: it hands an HTML page on as text, and whatever JSON came as if it were a completion."""
        try:
            choice = answer.choices[0]
            text, refusal = choice.message.content or "", choice.message.refusal
            if not isinstance(text, str):
                raise TypeError("content is no text")
        except (AttributeError, IndexError, KeyError, TypeError):
            raise EndpointError(
                f"{self._url} answered something that is no chat completion: {self._quote(answer)}. {self._advice}"
            ) from None
        if choice.finish_reason == "content_filter":
            refusal = refusal or "stopped by the endpoint's content filter"
        return Completion(
            text=self._strike_key(text),
            usage=_usage(answer.usage),
            finish_reason=str(choice.finish_reason),
            refusal=self._quote(refusal) if refusal else None,
        )

    def _quote(self, said: object) -> str:
        text = " ".join(self._strike_key(str(said)).split())
        return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"

    def _strike_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _usage(reported: object) -> Usage:
    """What the server says it used; some servers say nothing."""
    counts = (getattr(reported, name, None) for name in ("prompt_tokens", "completion_tokens"))
    input_tokens, output_tokens = (count if isinstance(count, int) else 0 for count in counts)
    return Usage(requests=1, input_tokens=input_tokens, output_tokens=output_tokens)


def _request(model: str, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    options = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, "seed": sampling.seed}
    given = {name: value for name, value in options.items() if value is not None}
    return {"model": model, "messages": [_chat_message(message) for message in messages], **given}


def _chat_message(message: Message) -> dict[str, Any]:
    chat: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        chat["tool_calls"] = [
            {"id": call.id or f"call_{index}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(message.tool_calls)
        ]
    if message.tool_call_id is not None:
        chat["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        chat["name"] = message.name
    return chat


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
