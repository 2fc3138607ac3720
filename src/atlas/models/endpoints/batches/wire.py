"""Batches as a way to a server that we speak to ourselves: the questions of `JsonEndpoint`, gathered."""

from __future__ import annotations

from collections.abc import Mapping

from atlas.models.endpoints.batches.openai import OpenAIBatches
from atlas.models.endpoints.batches.transport import BatchTransport
from atlas.models.endpoints.endpoint import Batching
from atlas.models.endpoints.json_endpoint import Reply


class BatchWire:
    """Sends requests in OpenAI's batches."""

    gathers = True

    def __init__(self, batching: Batching, max_retries: int, timeout_seconds: float) -> None:
        self._transport = BatchTransport(
            OpenAIBatches(), batching, max_retries=max_retries, timeout_seconds=timeout_seconds
        )
        self._client = self._transport.client()

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> Reply:
        response = await self._client.post(url, content=data, headers=headers)
        return Reply(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        await self._client.aclose()
        await self._transport.aclose()
