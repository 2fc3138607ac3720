"""A model that is asked over a network, through inspect_ai: OpenAI, Anthropic, Google, and whoever else it knows.

inspect_ai brings the providers, their protocols and the retries; here is what our promises need beside them: which address is
asked, when a try is repeated, what counts as a refusal, and that no key leaves the process but to its provider.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atlas.errors import ConfigError, DataError, DependencyError, EndpointError, ModelError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.endpoint import (
    BUSY,
    REFUSED_ACCESS,
    REFUSED_REQUEST,
    TOO_MUCH,
    Batching,
    Censor,
    read_key,
    retry_after_seconds,
)
from atlas.models.endpoints.retries import BusyError, Retries
from atlas.records import Message, Usage

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput, ResponseSchema

    from atlas.models.endpoints.batches.transport import BatchTransport

NO_CONTENT = "(no content)"  # inspect_ai's words for an answer without any
NO_KEY = (
    "API_KEY_INVALID",
    "credit balance is too low",
)  # Google's and Anthropic's words: though the status is 400, no fault of a request
OTHER_ADDRESSES = {
    "google": ("GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_USE_VERTEXAI")
}  # that an SDK reads by itself
OTHER_KEYS = (
    "GEMINI_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "AZUREAI_OPENAI_API_KEY",
)
UNLIMITED = 100_000  # how many are in flight is the caller's choice; inspect_ai would keep the first limit for the whole process


class InspectClient:
    """Asks one model, named as inspect_ai does (openai/gpt-4o, anthropic/…, google/…); at `base_url` in the protocol of its provider."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_variable: str | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 5,
        batching: Batching | None = None,
    ) -> None:
        self._name = model
        self._url = base_url or "the provider's own address"
        self._advice = (
            f"Check model and the key in {api_key_variable or 'the variable of the provider'}."
        )
        self._key = read_key(base_url, api_key_variable)
        if (
            self._key is not None
            and model.startswith("anthropic/")
            and base_url is None
            and os.environ.get("ANTHROPIC_AUTH_TOKEN")
        ):
            raise ConfigError(
                f"the environment variable ANTHROPIC_AUTH_TOKEN would take the place of the key in {api_key_variable}, which is the one to "
                "use. Unset it, or leave api_key_variable out."
            )
        self._censor = Censor([self._key])
        self._retries = Retries(max_retries, self._url)
        self._batches: BatchTransport | None = None
        self._model = self._open(model, base_url, timeout_seconds, max_retries, batching)
        # Where the provider found it; some SDKs look into variables of which inspect_ai does not tell.
        self._censor.add(
            [getattr(self._model.api, "api_key", None), *map(os.environ.get, OTHER_KEYS)]
        )

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer; a request that the endpoint declines as such is a Completion with a `refusal`.

        Raises:
            EndpointError: no answer after all retries, or something that is no answer.
            ModelError: the endpoint does not know the model or does not accept the key.
        """
        from inspect_ai.model import GenerateConfig

        asked = [_chat_message(message) for message in messages]
        schema = (
            None if sampling.response_schema is None else _response_schema(sampling.response_schema)
        )
        config = GenerateConfig(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            response_schema=schema,
            reasoning_summary="none",  # nobody reads it; to find out whether gpt-5 gives one, inspect_ai would ask a question of its own
        )
        return await self._retries.run(lambda: self._try(asked, config))

    async def close(self) -> None:
        await self._model.api.aclose()
        if self._batches is not None:
            await self._batches.aclose()

    async def _try(self, messages: list[ChatMessage], config: GenerateConfig) -> Completion:
        from tenacity import RetryError

        try:
            # In a task of its own: inspect_ai keeps a transcript of all that was asked for as long as the task lives.
            return self._read(
                await asyncio.create_task(self._model.generate(messages, config=config))
            )
        except (
            Exception
        ) as failure:  # the errors of every provider's SDK, which have no base in common
            last = failure.last_attempt.exception() if isinstance(failure, RetryError) else None
            error = last or failure
            status = _status(error)
            said = (
                self._censor.quote(getattr(error, "provider_message", None) or error)
                or type(error).__name__
            )
            is_refused = status in REFUSED_ACCESS or any(words in str(error) for words in NO_KEY)
            if status in REFUSED_REQUEST and not is_refused:
                return Completion(
                    text="", usage=Usage(requests=1), finish_reason="rejected", refusal=said
                )
            message = f"{self._url} gave no answer from model '{self._name}': {said.rstrip('.')}. {self._advice}"
            if "Timeout" in type(error).__name__:
                message = f"{self._url} did not answer in time. Raise timeout_seconds, or lower max_in_flight."
            spent = (
                getattr(error, "code", None) == "insufficient_quota"
            )  # a 429 that no waiting cures
            if is_refused or spent:
                raise ModelError(message) from None
            if status is None or status >= 500 or status in BUSY:
                is_too_much = (
                    status in TOO_MUCH and self._batches is None
                )  # how many are under way is no matter to a batch
                raise BusyError(message, retry_after_seconds(error), is_too_much) from None
            raise EndpointError(message) from None

    def _open(
        self,
        name: str,
        base_url: str | None,
        timeout_seconds: float,
        max_retries: int,
        batching: Batching | None,
    ) -> Model:
        try:
            from inspect_ai.model import GenerateConfig, get_model
        except ImportError:
            raise DependencyError("inspect-ai", "providers") from None
        # What it has to say reaches us as errors; its own lines would come in between ours, with the endpoint's words uncensored.
        logging.getLogger("inspect_ai").setLevel(logging.CRITICAL + 1)
        _refuse_addresses_in_the_environment(name, base_url)
        provider = name.partition("/")[0]
        attempt_seconds: int | None = math.ceil(timeout_seconds)
        arguments: dict[str, Any] = {}
        if batching is not None:
            attempt_seconds = None  # a batch takes up to a day
            self._batches, arguments = _open_batches(
                batching, provider, max_retries, timeout_seconds
            )
        config = GenerateConfig(
            max_retries=0, attempt_timeout=attempt_seconds, max_connections=UNLIMITED
        )
        try:
            model = get_model(
                name,
                base_url=base_url,
                api_key=self._key,
                config=config,
                memoize=False,
                **arguments,
            )
        except Exception as error:  # each provider has its own ways to be unusable: no such one, no package, no key
            raise ConfigError(
                f"model '{name}' cannot be asked: {self._censor.quote(_plain(error))} Expected provider/model (openai/gpt-4o, anthropic/…, "
                "google/…) with the key in the provider's variable, or any name together with base_url=… of an OpenAI-compatible "
                "server, such as http://127.0.0.1:8000/v1."
            ) from None
        _try_once(model)
        if self._batches is not None:
            from atlas.models.endpoints.batches.under_inspect import put_under

            put_under(provider, model, self._batches)
        return model

    def _read(self, output: ModelOutput) -> Completion:
        if not output.choices:
            raise ValueError("an answer without choices")
        choice = output.choices[0]
        text = "" if output.completion == NO_CONTENT else output.completion
        if output.usage is None and output.completion == NO_CONTENT:
            raise ValueError("an answer without content")
        refused = isinstance(choice.message.content, list) and any(
            getattr(part, "refusal", None) for part in choice.message.content
        )
        if (
            output.usage is None and choice.stop_reason == "model_length"
        ):  # so inspect_ai tells of some refused requests
            return Completion(
                text="",
                usage=Usage(requests=1),
                finish_reason="rejected",
                refusal=self._censor.quote(text),
            )
        if choice.stop_reason == "content_filter" or refused:
            explained = choice.stop_details.explanation if choice.stop_details else None
            refusal = self._censor.quote(
                text or explained or "stopped by the endpoint's content filter"
            )
        else:
            refusal = None
        return Completion(
            text=self._censor.strike(text),
            usage=_usage(output),
            finish_reason="length"
            if choice.stop_reason in ("max_tokens", "model_length")
            else choice.stop_reason,
            refusal=refusal,
        )


def _open_batches(
    batching: Batching, provider: str, max_retries: int, timeout_seconds: float
) -> tuple[BatchTransport, dict[str, Any]]:
    """A transport, and what inspect_ai has to be told for the provider's SDK to use it."""
    try:
        from atlas.models.endpoints.batches.transport import BatchTransport
        from atlas.models.endpoints.batches.under_inspect import model_arguments, protocol_of
    except ImportError:
        raise DependencyError("httpx2", "providers") from None
    transport = BatchTransport(
        protocol_of(provider), batching, max_retries=max_retries, timeout_seconds=timeout_seconds
    )
    return transport, model_arguments(provider, transport)


def _refuse_addresses_in_the_environment(name: str, base_url: str | None) -> None:
    """Results depend on the config alone; inspect_ai would let a variable send the questions, and the key, elsewhere."""
    if base_url is not None:
        return
    provider = name.partition("/")[0]
    usual = f"{provider.upper().replace('-', '_')}_BASE_URL"
    for variable in (usual, "INSPECT_EVAL_MODEL_BASE_URL", *OTHER_ADDRESSES.get(provider, ())):
        if os.environ.get(variable):
            raise ConfigError(
                f"the environment variable {variable} names another address for model '{name}', expected the config alone to choose. "
                "Unset it, or give base_url=… (an OpenAI-compatible server)."
            )


def _try_once(model: Model) -> None:
    """A try is repeated by `Retries` alone and not, beneath it, by inspect_ai or the SDK too."""
    from tenacity import wait_none

    api: Any = model.api
    api.retry_wait = wait_none
    if isinstance(getattr(getattr(api, "client", None), "max_retries", None), int):
        api.client.max_retries = 0
    if type(api).__name__ == "GoogleGenAIAPI":
        _try_google_once(api)


def _try_google_once(api: Any) -> None:
    """Its SDK has a client, with options, for each question."""
    from google.genai.types import HttpRetryOptions

    usual = api._http_options

    def http_options(*arguments: Any) -> Any:
        return usual(*arguments).model_copy(update={"retry_options": HttpRetryOptions(attempts=1)})

    api._http_options = http_options


def _status(error: BaseException) -> int | None:
    """The HTTP status in an SDK's error: OpenAI's and Anthropic's name it status_code, Google's code."""
    found = [getattr(error, name, None) for name in ("status_code", "code")]
    return next((status for status in found if isinstance(status, int)), None)


def _plain(error: Exception) -> str:
    """What an error of inspect_ai's says, without its markup for terminals."""
    from rich.text import Text

    return Text.from_markup(str(error)).plain.removeprefix("ERROR: ")


def _usage(output: ModelOutput) -> Usage:
    """What the server says it used, cached tokens included; some servers say nothing."""
    used = output.usage
    if used is None:
        return Usage(requests=1)
    cached = (used.input_tokens_cache_read or 0) + (used.input_tokens_cache_write or 0)
    return Usage(
        requests=1,
        input_tokens=max(0, used.input_tokens + cached),
        output_tokens=max(0, used.output_tokens),
    )


def _response_schema(schema: dict[str, Any]) -> ResponseSchema:
    from inspect_ai.model import ResponseSchema
    from inspect_ai.util import JSONSchema

    return ResponseSchema(name="answer", json_schema=JSONSchema.model_validate(schema), strict=True)


def _chat_message(message: Message) -> ChatMessage:
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageTool,
        ChatMessageUser,
    )
    from inspect_ai.tool import ToolCall

    if message.role == "system":
        return ChatMessageSystem(content=message.content)
    if message.role == "user":
        return ChatMessageUser(content=message.content)
    if message.role == "tool":
        return ChatMessageTool(
            content=message.content, tool_call_id=message.tool_call_id, function=message.name
        )
    calls = [
        ToolCall(
            id=call.id or f"call_{index}",
            function=call.name,
            arguments=_arguments(call.name, call.arguments),
        )
        for index, call in enumerate(message.tool_calls)
    ]
    return ChatMessageAssistant(content=message.content, tool_calls=calls or None)


def _arguments(tool: str, text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise DataError(
            f"a call of tool '{tool}' has arguments {text!r:.60}, expected a JSON object. Mend the message that is sent."
        )
    return arguments
