"""Google's batches of the Gemini API: an uploaded file of lines, a batch of the file, a file of answers.

Questions could be in the batch itself. They are not: answers to those come without their keys, or in another order, at times
(googleapis/python-genai 1909, 2008), and an answer that is taken for another's would be noticed by nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx2

from atlas.models.endpoints.batches.acts import ActError, Acts, read_object
from atlas.models.endpoints.batches.protocol import Answer, Ended, Refused, Route, read_answers

METHOD = ":generateContent"
ENDED = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "CANCELLED", "EXPIRED")
# An error's code is gRPC's; the status under which a question alone would have met it.
STATUSES = {
    1: 499,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}


class GoogleBatches:
    """`POST /upload/…/files` twice, `POST /models/M:batchGenerateContent`, `GET /batches/ID`, `GET /files/ID:download`."""

    headers = ("x-goog-api-key",)
    largest_batch = 190_000_000  # 2 GB are taken

    def route(self, request: httpx2.Request) -> Route:
        match = re.fullmatch(rf"(.*)/(models/[^/]+){METHOD}", request.url.path)
        if match is None:
            raise ValueError(
                f"{request.url.path} takes no batches, expected an address that ends with /models/NAME{METHOD}"
            )
        return Route(str(request.url.copy_with(path=match[1], query=None)).rstrip("/"), match[2])

    def line(self, key: str, route: Route, body: Any) -> bytes:
        return json.dumps({"key": key, "request": body}).encode()

    async def prepare(self, acts: Acts, route: Route, lines: Sequence[bytes]) -> str:
        """The name of the file."""
        content = b"".join(line + b"\n" for line in lines)
        base = httpx2.URL(route.base)
        url = str(base.copy_with(path=f"/upload{base.path}/files"))

        async def upload() -> str:
            begin = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
            begin |= {
                "X-Goog-Upload-Header-Content-Length": str(len(content)),
                "X-Goog-Upload-Header-Content-Type": "application/jsonl",
            }
            begun = await acts.send(
                "POST", url, headers=begin, json={"file": {"displayName": "questions"}}
            )
            if "x-goog-upload-url" not in begun.headers:
                raise ActError("no address is given for the file of questions")
            end = {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"}
            ended = await acts.send_elsewhere(
                "POST", begun.headers["x-goog-upload-url"], headers=end, content=content
            )
            return str(read_object(ended)["file"]["name"])

        return await acts.again(upload)

    async def make(self, acts: Acts, route: Route, lines: Sequence[bytes], handle: str) -> str:
        batch = {"displayName": _title(handle), "inputConfig": {"fileName": handle}}
        return str(
            (
                await acts.ask(
                    "POST",
                    f"{route.base}/{route.group}:batchGenerateContent",
                    json={"batch": batch},
                )
            )["name"]
        )

    async def find(self, acts: Acts, route: Route, num_questions: int, handle: str) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            url = httpx2.URL(
                f"{route.base}/batches",
                params={"pageSize": 100} | ({"pageToken": token} if token else {}),
            )
            page = await acts.again(partial(acts.ask, "GET", str(url)))
            found += [
                str(batch["name"])
                for batch in page.get("operations") or []
                if (batch.get("metadata") or {}).get("displayName") == _title(handle)
            ]
            token = str(page.get("nextPageToken") or "")
            if found or not token:
                return found

    async def look(self, acts: Acts, route: Route, id_: str) -> Ended | Refused | None:
        state = await acts.again(lambda: acts.ask("GET", f"{route.base}/{id_}"))
        described = state.get("metadata") or {}
        how = str(described.get("state")).removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
        if how == "FAILED":
            return Refused(str((state.get("error") or {}).get("message") or "no reason is given"))
        if how not in ENDED:
            return None
        output = state.get("response") or described.get("output") or {}
        texts = [
            json.dumps(row).encode()
            for row in (output.get("inlinedResponses") or {}).get("inlinedResponses") or []
        ]
        if output.get("responsesFile"):
            texts.append(
                await acts.fetch(f"{route.base}/{output['responsesFile']}:download?alt=media")
            )
        answers, num_unreadable = read_answers(texts, _read)
        counts = described.get("batchStats") or {}
        num_promised = sum(
            int(counts.get(name) or 0) for name in ("successfulRequestCount", "failedRequestCount")
        )
        is_short = len(answers) < num_promised and (
            bool(texts) or "SUCCEEDED" in how
        )  # what was not done in time has no file
        return Ended(answers, how.lower(), is_torn=num_unreadable > 0 or is_short)


def _title(file: str) -> str:
    return f"questions in {file}"


def _read(row: Any) -> tuple[str, Answer]:
    key = str(row["key"] if "key" in row else row["metadata"]["key"])
    if "response" in row:
        return key, (200, row["response"])
    error = row["error"]
    code = int(error.get("code") or 2)
    status = code if code >= 100 else STATUSES.get(code, 500)
    return key, (status, {"error": error | {"code": status}})
