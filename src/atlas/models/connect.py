"""Makes the client for a model: `name + endpoint -> ModelClient`."""

from __future__ import annotations

from atlas.errors import DependencyError
from atlas.models.base import ModelClient
from atlas.models.endpoints.answer_cache import CachedClient
from atlas.models.endpoints.endpoint import Batching, Endpoint
from atlas.models.endpoints.schema_fallback import SchemaFallback

# inspect_ai's prefixes for servers, and how many parts of a name each of them takes up.
PREFIXES = {"openai-api": 2, "sglang": 1, "vllm": 1}


def connect(
    model: str,
    endpoint: Endpoint,
    *,
    batching: Batching | None = None,
    cache: bool = False,
    draw: str | None = None,
) -> ModelClient:
    """A client of `model`. It stops sending JSON schemas once the model refuses them.

    If `endpoint.base_url` is set, the server is asked in OpenAI's protocol, which needs only
    aiohttp. One of PREFIXES is removed from the name. Otherwise the name must be one of
    inspect_ai's (openai/gpt-4o, …).

    Args:
        batching: send questions in batches.
        cache: reuse answers of any earlier run to the same question with the same settings.
        draw: names the draw of sampled answers; those of another draw are not reused.

    Raises:
        ConfigError: the provider is unknown, or its key is missing.
        DependencyError: a package of the extra `endpoint`, or of the provider's, is not installed.
    """
    if endpoint.base_url is not None:
        asked = _connect_server(name_at_server(model), endpoint, batching)
    else:
        from atlas.models.endpoints.inspect_api import InspectClient

        asked = InspectClient(model, endpoint, batching)
    client = SchemaFallback(asked, model)
    asked_of = [model, endpoint.base_url, *([] if draw is None else [draw])]
    return CachedClient(client, asked_of) if cache else client


def extras_to_ask(model: str, endpoint: Endpoint) -> tuple[str, ...]:
    """The extras that `connect` needs for a model.

    >>> extras_to_ask("anthropic/claude", Endpoint())
    ('providers', 'anthropic')
    """
    if endpoint.base_url is not None:
        return ("endpoint",)
    provider = model.partition("/")[0]
    return ("providers", provider) if provider in ("anthropic", "google") else ("providers",)


def name_at_server(model: str) -> str:
    """The model's name at its server.

    >>> name_at_server("vllm/meta-llama/Llama-3.1-8B"), name_at_server("openai-api/lab/m")
    ('meta-llama/Llama-3.1-8B', 'm')
    >>> name_at_server("meta-llama/Llama-3.1-8B")
    'meta-llama/Llama-3.1-8B'
    """
    parts = model.split("/")
    return "/".join(parts[PREFIXES.get(parts[0], 0) :]) or model


def _connect_server(model: str, endpoint: Endpoint, batching: Batching | None) -> ModelClient:
    try:
        from atlas.models.endpoints.batches.openai import OpenAIBatches
        from atlas.models.endpoints.batches.transport import BatchTransport
        from atlas.models.endpoints.openai_api import ChatClient
    except ModuleNotFoundError:
        raise DependencyError("aiohttp", "endpoint") from None
    batches = BatchTransport(OpenAIBatches, batching, endpoint) if batching else None
    return ChatClient(model, endpoint, batches)
