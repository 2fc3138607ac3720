"""Which client asks a model: `name + address -> ModelClient`.

A server at an address of its own is asked in OpenAI's protocol, everything else through inspect_ai.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.errors import DependencyError
from atlas.models.base import ModelClient
from atlas.models.endpoints.answer_cache import CachedClient
from atlas.models.endpoints.endpoint import Batching, Endpoint
from atlas.models.endpoints.schema_fallback import SchemaFallback

if TYPE_CHECKING:
    from atlas.models.endpoints.json_endpoint import Wire

PREFIXES = {
    "openai-api": 2,
    "sglang": 1,
    "vllm": 1,
}  # in inspect_ai's names for servers: parts that are not the model's own


def connect(
    model: str,
    endpoint: Endpoint,
    *,
    batching: Batching | None = None,
    cache: bool = False,
) -> ModelClient:
    """A client of `model`, which is asked in words where it refuses schemas.

    Without `endpoint.base_url` the name is one of inspect_ai's (openai/gpt-4o, anthropic/…, google/…). With it, an OpenAI-compatible
    server at that address is asked for the name as it stands, slashes and all, except behind one of PREFIXES.

    Args:
        cache: what was asked in the same words and settings before, by any run, is not asked again.

    Raises:
        ConfigError: no such provider, or its package or its key is missing.
        DependencyError: the extra `endpoint` or `providers` is not installed.
    """
    client: ModelClient
    if endpoint.base_url is not None:
        try:
            from atlas.models.endpoints.openai_api import ChatClient
        except ModuleNotFoundError:
            raise DependencyError("aiohttp", "endpoint") from None
        client = ChatClient(
            name_at_server(model),
            endpoint.base_url,
            api_key_variable=endpoint.api_key_variable,
            timeout_seconds=endpoint.timeout_seconds,
            max_retries=endpoint.max_retries,
            wire=None
            if batching is None
            else _open_batches(batching, endpoint.max_retries, endpoint.timeout_seconds),
        )
    else:
        from atlas.models.endpoints.inspect_api import InspectClient

        client = InspectClient(
            model,
            api_key_variable=endpoint.api_key_variable,
            timeout_seconds=endpoint.timeout_seconds,
            max_retries=endpoint.max_retries,
            batching=batching,
        )
    client = SchemaFallback(client, model)
    return CachedClient(client, [model, endpoint.base_url]) if cache else client


def name_at_server(model: str) -> str:
    """
    >>> [name_at_server(name) for name in ("meta-llama/Llama-3.1-8B", "vllm/meta-llama/Llama-3.1-8B", "openai-api/lab/m")]
    ['meta-llama/Llama-3.1-8B', 'meta-llama/Llama-3.1-8B', 'm']
    """
    parts = model.split("/")
    return "/".join(parts[PREFIXES.get(parts[0], 0) :]) or model


def _open_batches(batching: Batching, max_retries: int, timeout_seconds: float) -> Wire:
    try:
        from atlas.models.endpoints.batches.wire import BatchWire
    except ModuleNotFoundError:
        raise DependencyError("httpx2", "providers") from None
    return BatchWire(batching, max_retries, timeout_seconds)
