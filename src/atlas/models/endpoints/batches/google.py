"""Google's batches of the Gemini API: an uploaded file of questions, a file of answers.

Questions could also be sent inside the batch request. But then answers sometimes come without keys
or in another order (googleapis/python-genai 1909, 2008), and answers could be mixed up unnoticed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from atlas.models.endpoints.batches.batch_requests import BatchRequests, read_object
from atlas.models.endpoints.batches.protocol import (
    BatchAnswer,
    BatchRoute,
    EndedBatch,
    json_lines,
    not_batched,
    read_answers,
)
from atlas.models.endpoints.http_error import HttpError

METHOD = ":generateContent"
ENDED = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "CANCELLED", "EXPIRED")
# Errors in a batch have a gRPC code: code -> the HTTP status of the same error without a batch.
STATUSES = {
    **{1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409},
    **{11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401},
}


class GoogleBatches:
    """`POST /upload/…/files` twice, `POST /models/M:batchGenerateContent`, `GET /batches/ID`."""

    headers = ("x-goog-api-key",)
    # The limit is 2 GB.
    largest_batch = 190_000_000

    def __init__(self, requests: BatchRequests) -> None:
        self._requests = requests

    def route(self, url: str, headers: Mapping[str, str]) -> BatchRoute:
        parts = urlsplit(url)
        match = re.fullmatch(rf"(.*)/(models/[^/]+){METHOD}", parts.path)
        if match is None:
            raise not_batched(parts.path, f"/models/NAME{METHOD}")
        return BatchRoute(f"{parts.scheme}://{parts.netloc}{match[1]}", match[2])

    def line(self, key: str, route: BatchRoute, body: Any) -> bytes:
        return json.dumps({"key": key, "request": body}).encode()

    async def prepare(self, route: BatchRoute, lines: Sequence[bytes]) -> str:
        """Upload the file of questions, and return its name."""
        content = json_lines(lines)
        parts = urlsplit(route.base)
        url = f"{parts.scheme}://{parts.netloc}/upload{parts.path}/files"
        begin = {
            "Content-Type": "application/json",
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(len(content)),
            "X-Goog-Upload-Header-Content-Type": "application/jsonl",
        }
        end = {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"}
        named = b'{"file": {"displayName": "questions"}}'

        async def upload() -> str:
            begun = await self._requests.send("POST", url, named, begin)
            target = begun.headers.get("x-goog-upload-url")
            if target is None:
                raise HttpError("the answer names no address for the file of questions")
            ended = await self._requests.send("POST", target, content, end, has_key=False)
            return str(read_object(ended)["file"]["name"])

        return await self._requests.repeat(upload)

    async def make(self, route: BatchRoute, lines: Sequence[bytes], handle: str) -> str:
        batch = {"displayName": _title(handle), "inputConfig": {"fileName": handle}}
        url = f"{route.base}/{route.group}:batchGenerateContent"
        return str((await self._requests.ask("POST", url, row={"batch": batch}))["name"])

    async def find(self, route: BatchRoute, num_questions: int, handle: str) -> list[str]:
        found: list[str] = []
        query: dict[str, Any] = {"pageSize": 100}
        while True:
            page = await self._requests.get(f"{route.base}/batches?{urlencode(query)}")
            for batch in page.get("operations") or []:
                if (batch.get("metadata") or {}).get("displayName") == _title(handle):
                    found.append(str(batch["name"]))
            query["pageToken"] = page.get("nextPageToken")
            if found or not query["pageToken"]:
                return found

    async def look(self, route: BatchRoute, id_: str) -> EndedBatch | None:
        state = await self._requests.get(f"{route.base}/{id_}")
        metadata = state.get("metadata") or {}
        how = re.sub("^(BATCH|JOB)_STATE_", "", str(metadata.get("state")))
        if how == "FAILED":
            reason = (state.get("error") or {}).get("message") or "no reason is given"
            return EndedBatch({}, str(reason), is_refused=True)
        if how not in ENDED:
            return None
        output = state.get("response") or metadata.get("output") or {}
        inlined = (output.get("inlinedResponses") or {}).get("inlinedResponses") or []
        texts = [json.dumps(row).encode() for row in inlined]
        if output.get("responsesFile"):
            url = f"{route.base}/{output['responsesFile']}:download?alt=media"
            texts.append(await self._requests.fetch(url))
        promised: list[Any] = []
        # Questions that were not answered in time have no file.
        if texts or "SUCCEEDED" in how:
            counts = metadata.get("batchStats")
            counts = counts if isinstance(counts, dict) else {}
            # Google writes these counts as text.
            found = (counts.get(name) for name in ("successfulRequestCount", "failedRequestCount"))
            promised = [
                int(str(one)) if str(one).isdecimal() and len(str(one)) < 12 else 0 for one in found
            ]
        return await asyncio.to_thread(read_answers, texts, _read, how.lower(), promised)


def _title(file: str) -> str:
    return f"questions in {file}"


def _read(row: Any) -> tuple[str, BatchAnswer]:
    key = str(row["key"] if "key" in row else row["metadata"]["key"])
    if "response" in row:
        return key, (200, row["response"])
    error = row["error"]
    code = int(error.get("code") or 2)
    status = code if code >= 100 else STATUSES.get(code, 500)
    return key, (status, {"error": error | {"code": status}})
