"""Makes the SDKs of inspect_ai's providers send their requests through a batch transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2

from atlas.models.endpoints.batches.anthropic import AnthropicBatches
from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.google import GoogleBatches
from atlas.models.endpoints.batches.openai import OpenAIBatches
from atlas.models.endpoints.batches.protocol import BatchProtocol
from atlas.models.endpoints.batches.transport import BatchTransport
from atlas.models.endpoints.endpoint import Batching, Endpoint

# All other providers use OpenAI's protocol.
PROTOCOLS: dict[str, Callable[[BatchRequests], BatchProtocol]] = {
    "anthropic": AnthropicBatches,
    "google": GoogleBatches,
}


def open_batches(
    provider: str, batching: Batching, endpoint: Endpoint
) -> tuple[BatchTransport, dict[str, Any], dict[str, Any]]:
    """The transport, the arguments of inspect_ai's `get_model` and options of Google's SDK."""
    transport = BatchTransport(PROTOCOLS.get(provider, OpenAIBatches), batching, endpoint)
    under_sdk = _UnderSdk(transport)
    if provider == "google":
        return transport, {}, {"async_client_args": {"transport": under_sdk}}
    client = httpx2.AsyncClient(transport=under_sdk, timeout=None)
    # Batches do not stream, and without a stream Anthropic's SDK refuses to wait for a long answer.
    patient = {"streaming": False, "timeout": None} if provider == "anthropic" else {}
    return transport, {"http_client": client, **patient}, {}


class _UnderSdk(httpx2.AsyncBaseTransport):
    """A batch transport for an SDK. It stays open when the SDK's client closes."""

    def __init__(self, transport: BatchTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = await self._transport.post(str(request.url), request.headers, await request.aread())
        return httpx2.Response(reply.status, headers=reply.headers, content=reply.body)
