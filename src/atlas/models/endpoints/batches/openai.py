"""OpenAI's batches, also Azure's and those of many servers: files of questions and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.protocol import (
    UNANSWERED,
    BatchAnswer,
    BatchRoute,
    EndedBatch,
    RefusedBatch,
    json_lines,
    no_answer,
    read_answers,
)

ENDPOINTS = ("/chat/completions", "/responses")
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
ENDED = ("completed", "expired", "cancelled")


class OpenAIBatches:
    """`POST /files`, `POST /batches`, `GET /batches/ID`, `GET /files/ID/content`.

    Azure differs in names. In its v1 API, lines name `/v1/chat/completions`, but a batch names
    `/chat/completions`. In a dated API version both name `/chat/completions`, and the address of a
    question holds the name of its deployment.
    """

    headers = ("authorization", "api-key", "openai-organization", "openai-project")
    # OpenAI and Azure take 200 MB.
    largest_batch = 190_000_000

    def __init__(self, requests: BatchRequests) -> None:
        self._requests = requests

    def route(self, url: str, headers: Mapping[str, str]) -> BatchRoute:
        parts = urlsplit(url)
        endpoint = next((each for each in ENDPOINTS if parts.path.endswith(each)), None)
        if endpoint is None:
            raise ValueError(
                f"{parts.path} does not take batches, expected an address that ends with "
                f"{' or '.join(ENDPOINTS)}"
            )
        path = parts.path.removesuffix(endpoint).partition("/deployments/")[0].rstrip("/")
        group = endpoint if "api-version=" in parts.query else "/v1" + endpoint
        return BatchRoute(f"{parts.scheme}://{parts.netloc}{path}", group, parts.query)

    def line(self, key: str, route: BatchRoute, body: Any) -> bytes:
        return json.dumps(
            {"custom_id": key, "method": "POST", "url": route.group, "body": body}
        ).encode()

    async def prepare(self, route: BatchRoute, lines: Sequence[bytes]) -> str:
        content = json_lines(lines)

        async def upload() -> dict[str, Any]:
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", content, filename="questions.jsonl")
            return await self._requests.ask("POST", _url(route, "/files"), data=form)

        return str((await self._requests.repeat(upload))["id"])

    async def make(self, route: BatchRoute, lines: Sequence[bytes], handle: str) -> str:
        host = urlsplit(route.base).hostname or ""
        is_azure = bool(route.query) or host.endswith(AZURE_HOSTS)
        batch = {
            "input_file_id": handle,
            "endpoint": "/chat/completions" if is_azure else route.group,
            "completion_window": "24h",
        }
        return str((await self._requests.ask("POST", _url(route, "/batches"), batch))["id"])

    async def find(self, route: BatchRoute, num_questions: int, handle: str) -> list[str]:
        url = _url(route, "/batches", limit=100)
        page = await self._requests.get(url)
        return [str(batch["id"]) for batch in page["data"] if batch.get("input_file_id") == handle]

    async def look(self, route: BatchRoute, id_: str) -> EndedBatch | RefusedBatch | None:
        url = _url(route, f"/batches/{id_}")
        state = await self._requests.get(url)
        how = str(state["status"]).lower()
        if how == "failed":
            errors = (state.get("errors") or {}).get("data") or []
            reasons = "; ".join(str(error.get("message")) for error in errors)
            return RefusedBatch(reasons or "no reason is given")
        if how not in ENDED:
            return None
        files = [file for file in (state.get("output_file_id"), state.get("error_file_id")) if file]
        texts = [
            await self._requests.fetch(_url(route, f"/files/{file}/content")) for file in files
        ]
        answers, num_unreadable = read_answers(texts, _read)
        num_promised = (state.get("request_counts") or {}).get("completed") or 0
        is_torn = num_unreadable > 0 or len(answers) < num_promised
        return EndedBatch(answers, how, is_torn)


def _read(row: Any) -> tuple[str, BatchAnswer]:
    key, response = str(row["custom_id"]), row.get("response")
    if isinstance(response, dict):
        return key, (int(response["status_code"]), response["body"])
    return key, (UNANSWERED, no_answer(str((row.get("error") or {}).get("message"))))


def _url(route: BatchRoute, path: str, **query: int) -> str:
    parts = [part for part in (route.query, urlencode(query)) if part]
    return "?".join([route.base + path, *(["&".join(parts)] if parts else [])])
