"""A model of a provider that inspect_ai supports: OpenAI, Anthropic, Google and others.

This client controls which address is used, when a try is repeated and what counts as a refusal. It
makes sure that a key is sent only to its provider.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from atlas.errors import ConfigError, DependencyError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.endpoint import Batching, Censor, Endpoint, read_key
from atlas.models.endpoints.http_error import (
    FILTERED,
    SPENT,
    TOO_LATE,
    HttpError,
    retry_after_seconds,
)
from atlas.models.endpoints.reported import read_name, read_usage
from atlas.models.endpoints.retries import Retries
from atlas.records import Message, ToolCall, Usage

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput
    from inspect_ai.tool import ToolInfo

    from atlas.models.endpoints.batches.transport import BatchTransport

ADDRESS = "the provider's own address"
# The text that inspect_ai returns for an answer without content.
NO_CONTENT = "(no content)"
# Messages of Google and Anthropic with status 400 that are not caused by the request.
NO_KEY = ("API_KEY_INVALID", "credit balance is too low")
# Environment variables that change the address and that an SDK reads by itself.
OTHER_ADDRESSES = {"google": ("GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_USE_VERTEXAI")}
OTHER_KEYS = (
    "GEMINI_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "AZUREAI_OPENAI_API_KEY",
)
# A module, its package, and the extra that installs it.
INSPECT = ("inspect_ai.model", "inspect-ai", "providers")
# The same for each provider's SDK.
SDKS = {
    "openai": ("openai", "openai", "providers"),
    "anthropic": ("anthropic", "anthropic", "anthropic"),
    "google": ("google.genai", "google-genai", "google"),
}
# The caller limits the requests in flight; inspect_ai would keep its first limit for the whole
# process.
UNLIMITED = 100_000


class InspectClient:
    """Asks one model, which has inspect_ai's name for it (openai/gpt-4o, anthropic/…, google/…)."""

    def __init__(self, model: str, endpoint: Endpoint, batching: Batching | None = None) -> None:
        self._name = model
        variable = endpoint.api_key_variable
        self._advice = f"Check model and the key in {variable or 'the variable of the provider'}."
        key = read_key(endpoint)
        token = "ANTHROPIC_AUTH_TOKEN"
        if key is not None and model.startswith("anthropic/") and os.environ.get(token):
            raise ConfigError(
                f"the environment variable {token} would replace the key in {variable}. Unset it, "
                "or leave api_key_variable out."
            )
        self._censor = Censor([key])
        self._retries = Retries(endpoint, ADDRESS)
        self._batches: BatchTransport | None = None
        self._model = self._open(key, endpoint, batching)
        # Some SDKs read keys from variables that inspect_ai does not report.
        found = getattr(self._model.api, "api_key", None)
        self._censor.add([found, *map(os.environ.get, OTHER_KEYS)])

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer. A request that the provider declines gives a Completion with a `refusal`."""
        from atlas.models.endpoints import inspect_messages

        asked = [inspect_messages.inspect_message(message) for message in messages]
        tools = [inspect_messages.inspect_tool(schema) for schema in sampling.tools]
        config = inspect_messages.inspect_config(sampling)
        return await self._retries.run(lambda: self._try(asked, tools, config))

    async def close(self) -> None:
        await self._model.api.aclose()
        if self._batches is not None:
            await self._batches.close()

    async def _try(
        self, messages: list[ChatMessage], tools: list[ToolInfo], config: GenerateConfig
    ) -> Completion:
        try:
            # It runs in its own task, because inspect_ai keeps a transcript until the task ends.
            asking = asyncio.create_task(self._model.generate(messages, tools, config=config))
            return self._read(await asking)
        except Exception as failure:
            # The errors of the providers' SDKs have no common base class.
            return self._read_failure(failure)

    def _read_failure(self, failure: Exception) -> Completion:
        """Return a refused request as a Completion; raise other failures as atlas errors."""
        from tenacity import RetryError

        last = failure.last_attempt.exception() if isinstance(failure, RetryError) else None
        error = last or failure
        said = self._censor.quote(getattr(error, "provider_message", None) or error)
        said = said or type(error).__name__
        has_no_key = any(words in str(error) for words in NO_KEY)
        code = getattr(error, "code", None)
        # OpenAI's and Anthropic's SDKs call it status_code, Google's code.
        found = (getattr(error, "status_code", None), code)
        status = next((each for each in found if isinstance(each, int)), None)
        headers = getattr(getattr(error, "response", error), "headers", None) or {}
        is_spent, pause = has_no_key or code == SPENT, retry_after_seconds(headers)
        failed = HttpError(said, status, is_spent=is_spent, wait_seconds=pause)
        if failed.is_rejected:
            return Completion.rejected(said)
        message = f"{ADDRESS} gave no answer from model '{self._name}': {said.rstrip('.')}. "
        message += self._advice
        if "Timeout" in type(error).__name__:
            message = TOO_LATE.format(ADDRESS)
        raise failed.as_error(message, self._batches is not None) from None

    def _open(self, key: str | None, endpoint: Endpoint, batching: Batching | None) -> Model:
        provider = self._name.partition("/")[0]
        # The SDK brings inspect_ai's extra, or its own.
        for module, package, extra in (INSPECT, SDKS.get(provider, INSPECT)):
            try:
                import_module(module)
            except ImportError:
                raise DependencyError(package, extra) from None
        from inspect_ai.model import GenerateConfig, get_model
        from rich.text import Text

        # Its log would repeat error messages, with keys that are not redacted.
        logging.getLogger("inspect_ai").setLevel(logging.CRITICAL + 1)
        _refuse_addresses_in_the_environment(self._name)
        attempt_seconds: int | None = math.ceil(endpoint.timeout_seconds)
        arguments, options = dict[str, Any](), dict[str, Any]()
        if batching is not None:
            try:
                from atlas.models.endpoints.batches.under_inspect import open_batches
            except ModuleNotFoundError as error:
                raise DependencyError(error.name or "httpx2", "providers") from None
            # A batch takes up to a day.
            attempt_seconds = None
            self._batches, arguments, options = open_batches(provider, batching, endpoint)
        config = GenerateConfig(
            max_retries=0, attempt_timeout=attempt_seconds, max_connections=UNLIMITED
        )
        try:
            model = get_model(self._name, api_key=key, config=config, memoize=False, **arguments)
        except Exception as error:
            # Providers raise different errors for an unknown name or a missing key. The message has
            # markup.
            said = Text.from_markup(str(error)).plain.removeprefix("ERROR: ")
            raise ConfigError(
                f"model '{self._name}' cannot be asked: {self._censor.quote(said)} "
                "Expected provider/model (openai/gpt-4o, anthropic/…, google/…) with the key in "
                "the provider's variable, or any name with endpoint.base_url=… (an "
                "OpenAI-compatible server, such as http://127.0.0.1:8000/v1)."
            ) from None
        _try_once(model.api, options)
        return model

    def _read(self, output: ModelOutput) -> Completion:
        if not output.choices or (output.usage is None and output.completion == NO_CONTENT):
            raise ValueError("an answer without content")
        choice = output.choices[0]
        text = "" if output.completion == NO_CONTENT else output.completion
        # inspect_ai reports some refused requests in this form.
        if output.usage is None and choice.stop_reason == "model_length":
            return Completion.rejected(self._censor.quote(text))
        # If the content is plain text, the parts are characters.
        is_refused = any(getattr(part, "refusal", None) for part in choice.message.content)
        refusal = None
        if choice.stop_reason == "content_filter" or is_refused:
            explained = choice.stop_details.explanation if choice.stop_details else None
            refusal = self._censor.quote(text or explained or FILTERED)
        is_cut = choice.stop_reason in ("max_tokens", "model_length")
        finish_reason = "length" if is_cut else choice.stop_reason
        redact = self._censor.redact
        calls = tuple(
            ToolCall(id=call.id, name=call.function, arguments=redact(json.dumps(call.arguments)))
            for call in choice.message.tool_calls or ()
        )
        usage, is_counted = _usage(output, text)
        model = read_name(output.model)
        model = model and redact(model)
        parts = (getattr(part, "reasoning", None) for part in choice.message.content)
        thoughts = redact("\n".join(part for part in parts if isinstance(part, str)))
        return Completion(
            redact(text),
            usage,
            finish_reason,
            refusal,
            calls,
            model,
            is_counted,
            reasoning=thoughts or None,
        )


def _refuse_addresses_in_the_environment(name: str) -> None:
    """Refuse variables that would send questions and key to another address."""
    provider = name.partition("/")[0]
    usual = f"{provider.upper().replace('-', '_')}_BASE_URL"
    for variable in (usual, "INSPECT_EVAL_MODEL_BASE_URL", *OTHER_ADDRESSES.get(provider, ())):
        if os.environ.get(variable):
            raise ConfigError(
                f"the environment variable {variable} names another address for model '{name}', "
                "expected only the config to choose it. Unset it, or give endpoint.base_url=…."
            )


def _try_once(api: Any, google_options: dict[str, Any]) -> None:
    """Turn off the retries of inspect_ai and of the SDK, because `Retries` does them."""
    from tenacity import wait_none

    api.retry_wait = wait_none
    if isinstance(getattr(getattr(api, "client", None), "max_retries", None), int):
        api.client.max_retries = 0
    # Google's SDK creates a client for each question.
    if (usual := getattr(api, "_http_options", None)) is not None:
        from google.genai.types import HttpRetryOptions

        update = {"retry_options": HttpRetryOptions(attempts=1), **google_options}
        api._http_options = lambda *arguments: usual(*arguments).model_copy(update=update)


def _usage(output: ModelOutput, text: str) -> tuple[Usage, bool]:
    """The tokens that the provider reports, cached ones included, and whether they are known."""
    used = output.usage
    if used is None:
        return read_usage(None, None, text)
    cached = (used.input_tokens_cache_read or 0) + (used.input_tokens_cache_write or 0)
    return read_usage(used.input_tokens + cached, used.output_tokens, text)
