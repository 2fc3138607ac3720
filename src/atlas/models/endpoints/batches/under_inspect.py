"""Puts a batch transport under the SDKs of inspect_ai's providers."""

from __future__ import annotations

from typing import Any

import httpx2

from atlas.models.endpoints.batches.anthropic import AnthropicBatches
from atlas.models.endpoints.batches.google import GoogleBatches
from atlas.models.endpoints.batches.openai import OpenAIBatches
from atlas.models.endpoints.batches.transport import BatchTransport
from atlas.models.endpoints.endpoint import Batching, Endpoint

# All others have OpenAI's.
PROTOCOLS = {"anthropic": AnthropicBatches, "google": GoogleBatches}


def open_batches(provider: str, batching: Batching, endpoint: Endpoint) -> BatchTransport:
    """The transport for a provider's questions."""
    return BatchTransport(PROTOCOLS.get(provider, OpenAIBatches)(), batching, endpoint)


def model_arguments(provider: str, transport: BatchTransport) -> dict[str, Any]:
    """The arguments of inspect_ai's `get_model`, to be followed by `put_under`."""
    # Google's SDK makes an HTTP client for each question.
    if provider == "google":
        return {}
    client = httpx2.AsyncClient(transport=_UnderSdk(transport), timeout=None)
    arguments: dict[str, Any] = {"http_client": client}
    # A batch answers in one piece; Anthropic's SDK would refuse to wait for a long answer.
    if provider == "anthropic":
        arguments |= {"streaming": False, "timeout": None}
    return arguments


def put_under(provider: str, api: Any, transport: BatchTransport) -> None:
    """Change what `model_arguments` cannot express, in a model's `api`."""
    if provider != "google":
        return
    usual = api._http_options

    def http_options(*arguments: Any) -> Any:
        options = usual(*arguments)
        options.async_client_args = {"transport": _UnderSdk(transport)}
        return options

    api._http_options = http_options


class _UnderSdk(httpx2.AsyncBaseTransport):
    """A batch transport as an SDK takes it. It does not close with the SDK's client."""

    def __init__(self, transport: BatchTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = await self._transport.post(str(request.url), request.headers, await request.aread())
        return httpx2.Response(reply.status, headers=reply.headers, content=reply.body)
