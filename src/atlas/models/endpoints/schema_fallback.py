"""Answers by JSON schema from servers that have it, and in words from those that have not: found out by asking."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from atlas.models.base import Completion, ModelClient, Sampling
from atlas.records import Message

logger = logging.getLogger(__name__)


class SchemaFallback:
    """`client`, asked without a schema as soon as it is clear that its model refuses schemas rather than the question."""

    def __init__(self, client: ModelClient, model: str) -> None:
        self._client = client
        self._model = model
        self._takes_schema: bool | None = None  # not known before the first answer

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        plain = replace(sampling, response_schema=None)
        if sampling.response_schema is None or self._takes_schema is False:
            return await self._client.complete(messages, plain)
        answer = await self._client.complete(messages, sampling)
        if answer.finish_reason != "rejected":
            self._takes_schema = True
        elif (
            self._takes_schema is None
        ):  # perhaps for the schema, perhaps for something else: the plain request tells
            refused, answer = answer, await self._client.complete(messages, plain)
            if answer.finish_reason != "rejected" and self._takes_schema is None:
                self._takes_schema = False
                logger.warning(
                    "model '%s' refuses JSON schemas (%s); asking for JSON in words from now on",
                    self._model,
                    refused.refusal,
                )
        return answer

    async def close(self) -> None:
        await self._client.close()
