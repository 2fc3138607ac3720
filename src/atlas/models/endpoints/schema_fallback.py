"""JSON schemas for the servers that support them, and plain requests for the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from atlas.models.base import Completion, ModelClient, Sampling
from atlas.records import Message

logger = logging.getLogger(__name__)


class SchemaFallback:
    """Asks `client` without a schema as soon as its model turns out to refuse schemas."""

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
            # The plain request shows whether the schema or something else was refused.
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
