"""Batches of OpenAI, Azure and many servers: one file of questions, one file of answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.protocol import (
    BatchAnswer,
    BatchRoute,
    EndedBatch,
    json_lines,
    no_answer,
    not_batched,
    read_answers,
    read_status,
)

AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
ENDED = ("completed", "expired", "cancelled")


class OpenAIBatches:
    """`POST /files`, `POST /batches`, `GET /batches/ID`, `GET /files/ID/content`.

    Azure uses other URLs. In its v1 API, lines name `/v1/chat/completions`, but a batch names
    `/chat/completions`. In a dated API version both name `/chat/completions`, and the address of a
    question holds the name of its deployment.
    """

    headers = ("authorization", "api-key", "openai-organization", "openai-project")
    # The limit of OpenAI and Azure is 200 MB.
    largest_batch = 190_000_000

    def __init__(self, requests: BatchRequests) -> None:
        self._requests = requests

    def route(self, url: str, headers: Mapping[str, str]) -> BatchRoute:
        parts = urlsplit(url)
        match = re.fullmatch(r"(.*?)(?:/deployments/.*)?(/chat/completions|/responses)", parts.path)
        if match is None:
            raise not_batched(parts.path, "/chat/completions or /responses")
        path, endpoint = match.groups()
        group = endpoint if "api-version=" in parts.query else "/v1" + endpoint
        return BatchRoute(f"{parts.scheme}://{parts.netloc}{path}", group, parts.query)

    def line(self, key: str, route: BatchRoute, body: Any) -> bytes:
        line = {"custom_id": key, "method": "POST", "url": route.group, "body": body}
        return json.dumps(line).encode()

    async def prepare(self, route: BatchRoute, lines: Sequence[bytes]) -> str:
        async def upload() -> dict[str, Any]:
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", json_lines(lines), filename="questions.jsonl")
            return await self._requests.ask("POST", _url(route, "/files"), form)

        return str((await self._requests.repeat(upload))["id"])

    async def make(self, route: BatchRoute, lines: Sequence[bytes], handle: str) -> str:
        host = urlsplit(route.base).hostname or ""
        is_azure = bool(route.query) or host.endswith(AZURE_HOSTS)
        batch = {
            "input_file_id": handle,
            "endpoint": "/chat/completions" if is_azure else route.group,
            "completion_window": "24h",
        }
        made = await self._requests.ask("POST", _url(route, "/batches"), row=batch)
        return str(made["id"])

    async def find(self, route: BatchRoute, num_questions: int, handle: str) -> list[str]:
        page = await self._requests.get(_url(route, "/batches", limit=100))
        return [str(batch["id"]) for batch in page["data"] if batch.get("input_file_id") == handle]

    async def look(self, route: BatchRoute, id_: str) -> EndedBatch | None:
        state = await self._requests.get(_url(route, f"/batches/{id_}"))
        how = read_status(state, "status")
        if how == "failed":
            errors = (state.get("errors") or {}).get("data") or []
            reasons = "; ".join(str(error.get("message")) for error in errors)
            return EndedBatch({}, reasons or "no reason is given", is_refused=True)
        if how not in ENDED:
            return None
        files = filter(None, (state.get("output_file_id"), state.get("error_file_id")))
        urls = [_url(route, f"/files/{file}/content") for file in files]
        texts = [await self._requests.fetch(url) for url in urls]
        counts = state.get("request_counts")
        promised = [counts.get("completed")] if isinstance(counts, dict) else []
        return await asyncio.to_thread(read_answers, texts, _read, how, promised)


def _read(row: Any) -> tuple[str, BatchAnswer]:
    key, response = str(row["custom_id"]), row.get("response")
    if isinstance(response, dict):
        return key, (int(response["status_code"]), response["body"])
    return key, no_answer(str((row.get("error") or {}).get("message")))


def _url(route: BatchRoute, path: str, **query: int) -> str:
    queries = "&".join(filter(None, (route.query, urlencode(query))))
    return route.base + path + (f"?{queries}" if queries else "")
