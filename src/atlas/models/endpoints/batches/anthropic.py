"""Anthropic's Message Batches: one request holds the questions, one file the results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.protocol import (
    BatchAnswer,
    BatchRoute,
    EndedBatch,
    no_answer,
    not_batched,
    read_answers,
    read_status,
)
from atlas.models.endpoints.http_error import HttpError

PATH = "/v1/messages"
# The number of batches in a list, newest first.
PAGE = 100
# The HTTP status of an error without a batch, by its type.
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicBatches:
    """`POST /v1/messages/batches`, `GET …/ID`, `GET …/ID/results`.

    A header turns on beta features for a whole batch. So questions with different `anthropic-beta`
    headers are sent in different batches.
    """

    headers = ("x-api-key", "authorization", "anthropic-version")
    # The limits are 256 MB and 100,000 questions.
    largest_batch = 240_000_000

    def __init__(self, requests: BatchRequests) -> None:
        self._requests = requests

    def route(self, url: str, headers: Mapping[str, str]) -> BatchRoute:
        parts = urlsplit(url)
        if not parts.path.endswith(PATH):
            raise not_batched(parts.path, PATH)
        base = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(PATH)}"
        return BatchRoute(base, f"{PATH} {headers.get('anthropic-beta', '')}".rstrip())

    def line(self, key: str, route: BatchRoute, body: Any) -> bytes:
        return json.dumps({"custom_id": key, "params": body}).encode()

    async def prepare(self, route: BatchRoute, lines: Sequence[bytes]) -> str:
        """The id of the newest batch: batches have no names; `find` compares age and size."""
        return next((str(batch["id"]) for batch in await self._list(route, 1)), "")

    async def make(self, route: BatchRoute, lines: Sequence[bytes], handle: str) -> str:
        headers = {"Content-Type": "application/json"}
        if betas := route.group.removeprefix(PATH).strip():
            headers["anthropic-beta"] = betas
        content = b'{"requests": [' + b", ".join(lines) + b"]}"
        url = f"{route.base}{PATH}/batches"
        return str((await self._requests.ask("POST", url, content, headers))["id"])

    async def find(self, route: BatchRoute, num_questions: int, handle: str) -> list[str]:
        batches = await self._list(route, PAGE)
        return [
            str(batch["id"])
            for batch in takewhile(lambda batch: batch["id"] != handle, batches)
            if sum(batch["request_counts"].values()) == num_questions
        ]

    async def look(self, route: BatchRoute, id_: str) -> EndedBatch | None:
        url = f"{route.base}{PATH}/batches/{id_}"
        state = await self._requests.get(url)
        if read_status(state, "processing_status") != "ended":
            return None
        if not state.get("results_url"):
            raise HttpError("its results are no longer kept", 404)
        counts = state.get("request_counts")
        promised = list(counts.values()) if isinstance(counts, dict) else []
        texts = [await self._requests.fetch(f"{url}/results")]
        return await asyncio.to_thread(read_answers, texts, _read, "ended", promised)

    async def _list(self, route: BatchRoute, limit: int) -> list[dict[str, Any]]:
        url = f"{route.base}{PATH}/batches?limit={limit}"
        return list((await self._requests.get(url))["data"])


def _read(row: Any) -> tuple[str, BatchAnswer]:
    key, result = str(row["custom_id"]), row["result"]
    if result["type"] == "succeeded":
        return key, (200, result["message"])
    if result["type"] == "errored":
        error = result["error"]
        return key, (STATUSES.get(error["error"]["type"], 500), error)
    # The question was canceled or has expired.
    return key, no_answer(f"it {result['type']} in its batch")
