"""OpenAI's batches, its own, Azure's and those of many servers: a file of lines, a batch of the file, files of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx2

from atlas.models.endpoints.batches.acts import Acts
from atlas.models.endpoints.batches.protocol import (
    UNANSWERED,
    Answer,
    Ended,
    Refused,
    Route,
    no_answer,
    read_answers,
)

ENDPOINTS = ("/chat/completions", "/responses")
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
ENDED = ("completed", "expired", "cancelled")


class OpenAIBatches:
    """`POST /files`, `POST /batches`, `GET /batches/ID`, `GET /files/ID/content`.

    Azure differs in names. Under its v1 API the lines say `/v1/chat/completions`, the batch `/chat/completions` whatever the lines say;
    under a dated API version both say `/chat/completions`, and the address of a question holds the name of its deployment.
    """

    headers = ("authorization", "api-key", "openai-organization", "openai-project")
    largest_batch = 190_000_000  # OpenAI and Azure take 200 MB

    def route(self, request: httpx2.Request) -> Route:
        path = request.url.path
        endpoint = next((endpoint for endpoint in ENDPOINTS if path.endswith(endpoint)), None)
        if endpoint is None:
            raise ValueError(
                f"{path} takes no batches, expected an address that ends with {' or '.join(ENDPOINTS)}"
            )
        base = path.removesuffix(endpoint).partition("/deployments/")[0]
        group = endpoint if "api-version" in request.url.params else "/v1" + endpoint
        return Route(
            str(request.url.copy_with(path=base, query=None)).rstrip("/"),
            group,
            request.url.query.decode(),
        )

    def line(self, key: str, route: Route, body: Any) -> bytes:
        return json.dumps(
            {"custom_id": key, "method": "POST", "url": route.group, "body": body}
        ).encode()

    async def prepare(self, acts: Acts, route: Route, lines: Sequence[bytes]) -> str:
        url, file = (
            _url(route, "/files"),
            ("questions.jsonl", b"".join(line + b"\n" for line in lines)),
        )
        made = await acts.again(
            lambda: acts.ask("POST", url, data={"purpose": "batch"}, files={"file": file})
        )
        return str(made["id"])

    async def make(self, acts: Acts, route: Route, lines: Sequence[bytes], handle: str) -> str:
        is_azure = bool(route.query) or httpx2.URL(route.base).host.endswith(AZURE_HOSTS)
        asked = {
            "input_file_id": handle,
            "endpoint": "/chat/completions" if is_azure else route.group,
            "completion_window": "24h",
        }
        return str((await acts.ask("POST", _url(route, "/batches"), json=asked))["id"])

    async def find(self, acts: Acts, route: Route, num_questions: int, handle: str) -> list[str]:
        page = await acts.again(lambda: acts.ask("GET", _url(route, "/batches", limit=100)))
        return [str(batch["id"]) for batch in page["data"] if batch.get("input_file_id") == handle]

    async def look(self, acts: Acts, route: Route, id_: str) -> Ended | Refused | None:
        state = await acts.again(lambda: acts.ask("GET", _url(route, f"/batches/{id_}")))
        how = str(state["status"]).lower()
        if how == "failed":
            reasons = [
                str(error.get("message")) for error in (state.get("errors") or {}).get("data") or []
            ]
            return Refused("; ".join(reasons) or "no reason is given")
        if how not in ENDED:
            return None
        names = [name for name in (state.get("output_file_id"), state.get("error_file_id")) if name]
        texts = [await acts.fetch(_url(route, f"/files/{name}/content")) for name in names]
        answers, num_unreadable = read_answers(texts, _read)
        num_promised = (state.get("request_counts") or {}).get("completed") or 0
        return Ended(answers, how, is_torn=num_unreadable > 0 or len(answers) < num_promised)


def _read(row: Any) -> tuple[str, Answer]:
    key, response = str(row["custom_id"]), row.get("response")
    if isinstance(response, dict):
        return key, (int(response["status_code"]), response["body"])
    return key, (UNANSWERED, no_answer(str((row.get("error") or {}).get("message"))))


def _url(route: Route, path: str, **query: str | int) -> str:
    url = (
        httpx2.URL(route.base + path, params=route.query)
        if route.query
        else httpx2.URL(route.base + path)
    )
    return str(url.copy_merge_params(query))
