"""Anthropic's Message Batches: the questions themselves make the batch, and a file of results ends it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import httpx2

from atlas.models.endpoints.batches.acts import ActError, Acts
from atlas.models.endpoints.batches.protocol import (
    UNANSWERED,
    Answer,
    Ended,
    Refused,
    Route,
    no_answer,
    read_answers,
)

PATH = "/v1/messages"
PAGE = 100  # batches in a list, newest first
# The status under which a question alone would have met an error of this type.
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

    What is in beta is asked for by a header, which is a whole batch's: questions that differ in it do not travel together.
    """

    headers = ("x-api-key", "authorization", "anthropic-version")
    largest_batch = 240_000_000  # 256 MB are taken, and 100,000 questions

    def route(self, request: httpx2.Request) -> Route:
        path = request.url.path
        if not path.endswith(PATH):
            raise ValueError(f"{path} takes no batches, expected an address that ends with {PATH}")
        base = str(request.url.copy_with(path=path.removesuffix(PATH), query=None)).rstrip("/")
        return Route(base, " ".join([PATH, *filter(None, [request.headers.get("anthropic-beta")])]))

    def line(self, key: str, route: Route, body: Any) -> bytes:
        return json.dumps({"custom_id": key, "params": body}).encode()

    async def prepare(self, acts: Acts, route: Route, lines: Sequence[bytes]) -> str:
        """The newest batch there is: a batch bears no name, so the one that was made is known by being newer, and as large."""
        return next((str(batch["id"]) for batch in await self._list(acts, route, 1)), "")

    async def make(self, acts: Acts, route: Route, lines: Sequence[bytes], handle: str) -> str:
        headers = {"content-type": "application/json"}
        if betas := route.group.removeprefix(PATH).strip():
            headers["anthropic-beta"] = betas
        content = b'{"requests": [' + b", ".join(lines) + b"]}"
        return str(
            (
                await acts.ask(
                    "POST", f"{route.base}{PATH}/batches", headers=headers, content=content
                )
            )["id"]
        )

    async def find(self, acts: Acts, route: Route, num_questions: int, handle: str) -> list[str]:
        newer = takewhile(lambda batch: batch["id"] != handle, await self._list(acts, route, PAGE))
        return [
            str(batch["id"])
            for batch in newer
            if sum(batch["request_counts"].values()) == num_questions
        ]

    async def look(self, acts: Acts, route: Route, id_: str) -> Ended | Refused | None:
        url = f"{route.base}{PATH}/batches/{id_}"
        state = await acts.again(lambda: acts.ask("GET", url))
        if state["processing_status"] != "ended":
            return None
        if not state.get("results_url"):
            raise ActError("its results are no longer kept", 404)
        answers, num_unreadable = read_answers([await acts.fetch(f"{url}/results")], _read)
        num_promised = sum(state["request_counts"].values())
        return Ended(answers, "ended", is_torn=num_unreadable > 0 or len(answers) < num_promised)

    async def _list(self, acts: Acts, route: Route, limit: int) -> list[dict[str, Any]]:
        page = await acts.again(
            lambda: acts.ask("GET", f"{route.base}{PATH}/batches?limit={limit}")
        )
        return list(page["data"])


def _read(row: Any) -> tuple[str, Answer]:
    key, result = str(row["custom_id"]), row["result"]
    if result["type"] == "succeeded":
        return key, (200, result["message"])
    if result["type"] == "errored":
        said = result["error"]
        return key, (STATUSES.get(said["error"]["type"], 500), said)
    return key, (UNANSWERED, no_answer(f"it {result['type']} in its batch"))  # canceled, expired
