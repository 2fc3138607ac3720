"""The providers' batch protocols, as published: what a loopback server answers in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.models.endpoints import provider_answers
from tests.models.endpoints.chat_server import Reply, failure

if TYPE_CHECKING:
    from tests.models.endpoints.batch_server import BatchServer

GRPC = {400: 3, 401: 16, 429: 8, 500: 13}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    # Without the dialect's prefix, with the query.
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Dialect:
    """One protocol.

    Attributes:
        acts: the requests of a batch of one question: method, and end of the path without a query.
        results: the path of the request for the answers.
        url_path: the path of the address that a client is given.
        prefix: the beginning of every path.
        address_variable: None: the client is given the address.
        made: the path of the request that makes a batch.
    """

    name: str
    model: str
    respond: Callable[[BatchServer, Request], Reply]
    acts: tuple[tuple[str, str], ...]
    results: str
    url_path: str = ""
    prefix: str = ""
    address_variable: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    key_header: str = "authorization"
    made: str = ""


def _openai(server: BatchServer, request: Request) -> Reply:
    return _files_and_batches(server, request, "/v1/chat/completions", "/v1/chat/completions")


def _azure(server: BatchServer, request: Request) -> Reply:
    assert parse_qs(urlsplit(request.path).query)["api-version"], "Azure answers nothing without"
    return _files_and_batches(server, request, "/chat/completions", "/chat/completions")


def _azure_v1(server: BatchServer, request: Request) -> Reply:
    return _files_and_batches(server, request, "/v1/chat/completions", "/chat/completions")


def _files_and_batches(server: BatchServer, request: Request, url: str, endpoint: str) -> Reply:
    is_azure = endpoint == "/chat/completions"
    path = urlsplit(request.path).path
    last = path.rsplit("/", 1)[-1]
    act = (request.method, path)
    if act == ("POST", "/files"):
        content_type = request.headers["content-type"].encode()
        message = BytesParser().parsebytes(
            b"Content-Type: " + content_type + b"\n\n" + request.body
        )
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in message.get_payload()
        }
        assert parts["purpose"] == b"batch"
        name = f"file_{len(server.files)}"
        server.files[name] = parts["file"]
        return _json(
            {
                "id": name,
                "object": "file",
                "bytes": 1,
                "created_at": 0,
                "filename": "f",
                "purpose": "batch",
            }
        )
    if act == ("POST", "/batches"):
        asked = json.loads(request.body)
        lines = [json.loads(line) for line in server.files[asked["input_file_id"]].splitlines()]
        assert asked["completion_window"] == "24h"
        if lines[0]["url"] != "/v1/responses":
            assert ({line["url"] for line in lines}, asked["endpoint"]) == ({url}, endpoint), (
                "url_mismatch"
            )
        id_ = server.make(lines, "custom_id", "body")
        server.files[f"{id_}-in"] = asked["input_file_id"].encode()
        return _json(_openai_state(server, id_, is_azure))
    if act == ("GET", "/batches"):
        return _json(
            {
                "object": "list",
                "data": [_openai_state(server, id_, is_azure) for id_ in server.batches],
                "has_more": False,
            }
        )
    if request.method == "GET" and last in server.batches:
        server.looks[last] += 1
        return _json(_openai_state(server, last, is_azure))
    if request.method == "GET" and path.endswith("/content"):
        id_, kind = path.split("/")[2].split("-")
        rows = [
            {
                "id": "r",
                "custom_id": key,
                "response": {"status_code": reply.status, "body": _value(reply)},
                "error": None,
            }
            for key, reply in server.results[id_]
            if (reply.status == 200) == (kind == "out")
        ]
        return Reply("".join(json.dumps(row) + "\n" for row in rows))
    return failure(404, f"no such path {path}")


def _openai_state(server: BatchServer, id_: str, is_azure: bool) -> dict[str, Any]:
    is_done = server.is_done(id_)
    file = server.files[f"{id_}-in"].decode()
    row = {
        "id": id_,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": file,
        "completion_window": "24h",
    }
    row |= {"created_at": 0, "status": server.final_status if is_done else "in_progress"}
    # As Azure's reference shows.
    if is_azure and not is_done:
        counts = {"total": None, "completed": None, "failed": None}
        return row | {
            "created_at": "2024-07-19T17:13:57.2491382+00:00",
            "status": "Validating",
            "errors": None,
            "request_counts": counts,
        }
    if is_done and server.final_status == "failed":
        return row | {
            "errors": {
                "object": "list",
                "data": [
                    {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
                ],
            }
        }
    if not is_done:
        return row
    num_completed = sum(reply.status == 200 for _, reply in server.results[id_])
    row |= {
        "request_counts": {
            "total": len(server.batches[id_]),
            "completed": num_completed,
            "failed": 0,
        }
    }
    return row | {"output_file_id": f"{id_}-out", "error_file_id": f"{id_}-err"}


def _anthropic(server: BatchServer, request: Request) -> Reply:
    parts = urlsplit(request.path)
    path = parts.path.removeprefix("/v1/messages/batches")
    assert request.headers["anthropic-version"]
    if request.method == "POST" and path == "":
        return _json(
            _anthropic_state(
                server, server.make(json.loads(request.body)["requests"], "custom_id", "params")
            )
        )
    if request.method == "GET" and path == "":
        limit = int(parse_qs(parts.query)["limit"][0])
        newest = list(reversed(server.batches))
        page = [_anthropic_state(server, id_) for id_ in newest[:limit]]
        return _json(
            {"data": page, "has_more": len(newest) > limit, "first_id": None, "last_id": None}
        )
    id_ = path.split("/")[1]
    if request.method == "GET" and id_ in server.batches:
        if path.endswith("/results"):
            rows = [
                _anthropic_result(key, provider_answers.anthropic(reply))
                for key, reply in server.results[id_]
            ]
            if server.final_status == "expired":
                answered = {key for key, _ in server.results[id_]}
                missing = [
                    question["custom_id"]
                    for question in server.batches[id_]
                    if question["custom_id"] not in answered
                ]
                rows += [{"custom_id": key, "result": {"type": "expired"}} for key in missing]
            return Reply("".join(json.dumps(row) + "\n" for row in reversed(rows)))
        server.looks[id_] += 1
        return _json(_anthropic_state(server, id_))
    return failure(404, f"no such path {path}")


def _anthropic_state(server: BatchServer, id_: str) -> dict[str, Any]:
    is_done = server.is_done(id_)
    num = len(server.batches[id_])
    counts = {
        "processing": 0 if is_done else num,
        "succeeded": 0,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    if is_done:
        counts["succeeded"] = sum(reply.status == 200 for _, reply in server.results[id_])
        counts["errored"] = len(server.results[id_]) - counts["succeeded"]
        counts["expired"] = (
            num - len(server.results[id_]) if server.final_status == "expired" else 0
        )
    results_url = f"{server.url}/v1/messages/batches/{id_}/results" if is_done else None
    row = {
        "id": id_,
        "type": "message_batch",
        "processing_status": "ended" if is_done else "in_progress",
    }
    return row | {
        "request_counts": counts,
        "results_url": results_url,
        "created_at": "2024-09-24T18:37:24.100435Z",
    }


def _anthropic_result(key: str, reply: Reply) -> dict[str, Any]:
    body = _value(reply)
    result = (
        {"type": "succeeded", "message": body}
        if reply.status == 200
        else {"type": "errored", "error": body}
    )
    return {"custom_id": key, "result": result}


def _google(server: BatchServer, request: Request) -> Reply:
    parts = urlsplit(request.path)
    path = parts.path
    if path == "/upload/v1/files":
        assert (
            request.headers["x-goog-upload-protocol"],
            request.headers["x-goog-upload-command"],
        ) == ("resumable", "start")
        return Reply(
            "{}",
            headers={
                "x-goog-upload-url": f"{server.url}/resumable?upload_id=1",
                "x-goog-upload-status": "active",
            },
        )
    if path == "/resumable":
        assert request.headers["x-goog-upload-command"] == "upload, finalize"
        assert "x-goog-api-key" not in request.headers, "the address was given by an answer"
        name = f"files/{len(server.files)}"
        server.files[name] = request.body
        return _json({"file": {"name": name, "mimeType": "application/jsonl", "state": "ACTIVE"}})
    if request.method == "POST" and path == "/v1/models/gemini-2.5-pro:batchGenerateContent":
        batch = json.loads(request.body)["batch"]
        id_ = server.make(
            [
                json.loads(line)
                for line in server.files[batch["inputConfig"]["fileName"]].splitlines()
            ],
            "key",
            "request",
        )
        server.files[f"{id_}-title"] = batch["displayName"].encode()
        return _json(_google_state(server, id_))
    # Two a page.
    if request.method == "GET" and path == "/v1/batches":
        begin = int(parse_qs(parts.query).get("pageToken", ["0"])[0])
        ids = list(server.batches)
        page = {"operations": [_google_state(server, id_) for id_ in ids[begin : begin + 2]]}
        return _json(page | ({"nextPageToken": str(begin + 2)} if begin + 2 < len(ids) else {}))
    last = path.rsplit("/", 1)[-1]
    if request.method == "GET" and last in server.batches:
        server.looks[last] += 1
        return _json(_google_state(server, last))
    if request.method == "GET" and path.endswith(":download"):
        rows = [
            _google_result(key, provider_answers.google(reply))
            for key, reply in server.results[last.removesuffix(":download")]
        ]
        return Reply("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    return failure(404, f"no such path {path}")


def _google_state(server: BatchServer, id_: str) -> dict[str, Any]:
    how = {"completed": "SUCCEEDED", "failed": "FAILED", "expired": "EXPIRED"}[server.final_status]
    is_done = server.is_done(id_)
    state = f"BATCH_STATE_{how if is_done else 'RUNNING'}"
    described: dict[str, Any] = {
        "displayName": server.files[f"{id_}-title"].decode(),
        "state": state,
    }
    row: dict[str, Any] = {"name": f"batches/{id_}", "metadata": described}
    if not is_done:
        return row
    num_answered = len(server.results[id_])
    described["batchStats"] = {
        "requestCount": str(len(server.batches[id_])),
        "successfulRequestCount": str(num_answered),
    }
    if how == "FAILED":
        return row | {"done": True, "error": {"code": 8, "message": "Enqueued token limit reached"}}
    return row | {"done": True, "response": {"responsesFile": f"files/{id_}"}}


def _google_result(key: str, reply: Reply) -> dict[str, Any]:
    body = _value(reply)
    if reply.status == 200:
        return {"key": key, "response": body}
    return {"key": key, "error": {"code": GRPC[reply.status], "message": body["error"]["message"]}}


def _json(row: dict[str, Any]) -> Reply:
    return Reply(json.dumps(row))


def _value(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except ValueError:
        return reply.body


FILES_AND_BATCHES = (
    ("POST", "/files"),
    ("POST", "/batches"),
    ("GET", "/batches/batch_0"),
    ("GET", "/files/batch_0-out/content"),
)
OPENAI = Dialect(
    "openai",
    "test-model",
    _openai,
    FILES_AND_BATCHES,
    "-out/content",
    "/v1",
    "/v1",
    made="/batches",
)
AZURE = Dialect(
    "azure",
    "openai/azure/gpt-4o",
    _azure,
    FILES_AND_BATCHES,
    "-out/content",
    prefix="/openai",
    address_variable="AZUREAI_OPENAI_BASE_URL",
    key_variable="AZUREAI_OPENAI_API_KEY",
    key_header="api-key",
    made="/batches",
)
AZURE_V1 = Dialect(
    "azure v1",
    "gpt-4o",
    _azure_v1,
    FILES_AND_BATCHES,
    "-out/content",
    "/openai/v1",
    "/openai/v1",
    made="/batches",
)
ANTHROPIC = Dialect(
    "anthropic",
    "anthropic/claude-test",
    _anthropic,
    (
        ("GET", "/v1/messages/batches"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/batch_0"),
        ("GET", "/v1/messages/batches/batch_0/results"),
    ),
    "/results",
    address_variable="ANTHROPIC_BASE_URL",
    key_variable="ANTHROPIC_API_KEY",
    made="/v1/messages/batches",
)
GOOGLE = Dialect(
    "google",
    "google/gemini-2.5-pro",
    _google,
    (
        ("POST", "/upload/v1/files"),
        ("POST", "/resumable"),
        ("POST", "/v1/models/gemini-2.5-pro:batchGenerateContent"),
        ("GET", "/v1/batches/batch_0"),
        ("GET", "/v1/files/batch_0:download"),
    ),
    ":download",
    address_variable="GOOGLE_BASE_URL",
    key_variable="GOOGLE_API_KEY",
    key_header="x-goog-api-key",
    made="/v1/models/gemini-2.5-pro:batchGenerateContent",
)
DIALECTS = (OPENAI, AZURE, ANTHROPIC, GOOGLE)
