"""How a batch transport gets under the SDK of each of inspect_ai's providers. `model name -> protocol, arguments`"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx2

from atlas.models.endpoints.batches.anthropic import AnthropicBatches
from atlas.models.endpoints.batches.google import GoogleBatches
from atlas.models.endpoints.batches.openai import OpenAIBatches
from atlas.models.endpoints.batches.protocol import BatchProtocol

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from atlas.models.endpoints.batches.transport import BatchTransport

PROTOCOLS: dict[str, Callable[[], BatchProtocol]] = {
    "anthropic": AnthropicBatches,
    "google": GoogleBatches,
}  # of all others: OpenAI's


def protocol_of(provider: str) -> BatchProtocol:
    return PROTOCOLS.get(provider, OpenAIBatches)()


def model_arguments(provider: str, transport: BatchTransport) -> dict[str, Any]:
    """What inspect_ai's `get_model` is told beside the name, for `put_under` to follow."""
    if provider == "google":
        return {}  # its SDK makes an HTTP client for each question
    arguments: dict[str, Any] = {"http_client": transport.client()}
    if (
        provider == "anthropic"
    ):  # a batch answers in one piece, and its SDK would refuse to wait for long answers in one piece
        arguments |= {"streaming": False, "timeout": None}
    return arguments


def put_under(provider: str, model: Model, transport: BatchTransport) -> None:
    """What cannot be said by `model_arguments`."""
    if provider != "google":
        return
    api: Any = model.api
    usual = api._http_options

    def http_options(*arguments: Any) -> Any:
        options = usual(*arguments)
        options.async_client_args = {"transport": _Lent(transport)}
        return options

    api._http_options = http_options


class _Lent(httpx2.AsyncBaseTransport):
    """A transport that a client does not close with itself."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._transport.handle_async_request(request)
