"""Sends JSON schemas to servers that support them, and plain requests to others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from atlas.models.base import Completion, ModelClient, Sampling
from atlas.records import Message

logger = logging.getLogger(__name__)


class SchemaFallback:
    """Stops sending schemas to `client` once its model has refused one."""

    def __init__(self, client: ModelClient, model: str) -> None:
        self._client = client
        self._model = model
        # None: not known before the first answer.
        self._takes_schema: bool | None = None

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        plain = replace(sampling, response_schema=None)
        if sampling.response_schema is None or self._takes_schema is False:
            return await self._client.complete(messages, plain)
        answer = await self._client.complete(messages, sampling)
        if answer.finish_reason != "rejected":
            self._takes_schema = True
        elif self._takes_schema is None:
            # A request without the schema shows whether the schema was the reason.
            refused, answer = answer, await self._client.complete(messages, plain)
            if answer.finish_reason != "rejected" and self._takes_schema is None:
                self._takes_schema = False
                message = (
                    "model '%s' refuses JSON schemas (%s); asking without a schema from now on"
                )
                logger.warning(message, self._model, refused.refusal)
        return answer

    async def close(self) -> None:
        await self._client.close()
