"""Questions that travel in batches: an HTTP transport that turns each request into a line of a file, and answers it a day later at most.

OpenAI's protocol: a JSONL file is uploaded (`/files`), a batch is made of it (`/batches`), looked at until it has ended, and its
answers are downloaded. Whoever sends a request through this transport notices nothing but the delay: the answer that comes back
has the status and the body that the provider gave to this one question, so that every rule about refusals and retries holds as it is.

inspect_ai has batches of its own. They are not used: a question that the provider refuses sinks its whole batch, a batch that
cannot be made leaves later questions waiting forever, and a killed process loses what it has paid for (as of 0.3.285).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)

from atlas.models.batch_ledger import BatchLedger
from atlas.models.endpoints import FIRST_PAUSE, LONGEST_PAUSE, REFUSED_ACCESS, REFUSED_REQUEST, retry_after_seconds

GATHER_SECONDS = 2.0  # a batch that is not full is sent when no question has come for so long
LARGEST_FILE = 190_000_000  # bytes; OpenAI takes 200 MB
ENDED = ("completed", "expired", "cancelled")
UNUSABLE, UNANSWERED = 404, 410  # the statuses under which we answer: nobody can be asked here; no answer to this question

Answer = tuple[int, Any]  # status and body


@dataclass(slots=True)
class _Batch:
    """One that was sent. `missing` are its questions that this process waits for."""

    id: str
    missing: set[str]


@dataclass(slots=True)
class _Queue:
    """Questions of one endpoint that wait to be sent: key -> line of the file."""

    lines: dict[str, bytes] = field(default_factory=dict)
    grew_at: float = 0.0


class BatchTransport(httpx2.AsyncBaseTransport):
    """Answers chat requests through batches of at most `size` questions; `connect` must have said who is asked."""

    def __init__(self, ledger: BatchLedger, size: int, poll_seconds: float) -> None:
        self._ledger = ledger
        self._size = size
        self._poll_seconds = poll_seconds
        self._queues: dict[str, _Queue] = defaultdict(_Queue)
        self._waiting: dict[str, list[asyncio.Future[Answer]]] = {}
        self._open: dict[str, _Batch] = {}
        self._delivered: list[str] = []  # batches whose answers have all arrived where they were wanted
        self._found: dict[str, Answer] = {}  # in batches of an earlier process, not asked for yet
        self._sent_earlier: dict[str, str] | None = None  # key -> batch of an earlier process
        self._worker: asyncio.Task[None] | None = None

    def connect(self, client: AsyncOpenAI, max_retries: int, timeout_seconds: float) -> None:
        """Send batches as `client` would send requests: same address, same key."""
        self._max_retries = max_retries
        self._client = client.copy(http_client=DefaultAsyncHttpxClient(), max_retries=max_retries, timeout=timeout_seconds)

    def client(self) -> httpx2.AsyncClient:
        """What an SDK takes as its HTTP client."""
        return DefaultAsyncHttpxClient(transport=self)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(await request.aread())
        endpoint = "/v1" + request.url.path[len(self._client.base_url.path.rstrip("/")) :]
        status, answer = await self._answer(endpoint, body)
        return httpx2.Response(status, json=answer)

    async def aclose(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for id_ in self._delivered:
            self._ledger.remove(id_)
        await self._client.close()

    async def _answer(self, endpoint: str, body: Any) -> Answer:
        key = hashlib.sha256(json.dumps([endpoint, body], sort_keys=True).encode()).hexdigest()
        if self._sent_earlier is None:
            self._sent_earlier = {key: batch.id for batch in self._ledger.read() for key in batch.keys}
        if key in self._found:
            return self._found.pop(key)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if len(self._waiting[key]) == 1:
            earlier = self._sent_earlier.pop(key, None)
            if earlier is not None:
                self._open.setdefault(earlier, _Batch(earlier, set())).missing.add(key)
            else:
                queue = self._queues[endpoint]
                queue.lines[key] = json.dumps({"custom_id": key, "method": "POST", "url": endpoint, "body": body}).encode() + b"\n"
                queue.grew_at = time.monotonic()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        """Send and look until nothing is left. Whatever goes wrong is an answer to those who wait, never an end of the waiting."""
        looked_at = -self._poll_seconds
        pause = min(self._poll_seconds, GATHER_SECONDS)
        while self._open or any(queue.lines for queue in self._queues.values()):
            for endpoint, queue in self._queues.items():
                while len(queue.lines) >= self._size or (queue.lines and time.monotonic() - queue.grew_at >= pause):
                    await self._send(endpoint, queue)
            if time.monotonic() - looked_at >= self._poll_seconds:
                for batch in list(self._open.values()):
                    await self._look(batch)
                looked_at = time.monotonic()
            await asyncio.sleep(pause / 2)

    async def _send(self, endpoint: str, queue: _Queue) -> None:
        keys: list[str] = []
        size = 0
        for key, line in queue.lines.items():
            if len(keys) >= self._size or (keys and size + len(line) > LARGEST_FILE):
                break
            keys.append(key)
            size += len(line)
        content = b"".join(queue.lines.pop(key) for key in keys)
        try:
            file = await self._client.files.create(file=("questions.jsonl", content), purpose="batch")
            made = await self._make(file.id, endpoint)
            self._ledger.add(made.id, keys)
            self._open[made.id] = _Batch(made.id, set(keys))
        except Exception as error:  # an answer without an id, a full disk: nobody may wait in vain
            for key in keys:
                self._tell(key, _failure("the batch could not be sent", error))

    async def _make(self, file_id: str, endpoint: str) -> Any:
        """The batch of a file. One that was made though the word of it was lost is found again: to ask blindly would pay twice."""
        once = self._client.with_options(max_retries=0)
        for attempt in range(self._max_retries + 1):
            try:
                return await once.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h")
            except (APIConnectionError, InternalServerError, RateLimitError, ValueError) as error:  # ValueError: half an answer
                if attempt == self._max_retries or getattr(error, "code", None) == "insufficient_quota":
                    raise
                usual = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
                asked = retry_after_seconds(error)
                await asyncio.sleep(usual if asked is None else asked)
            page = await self._client.batches.list(limit=100)
            for batch in page.data:
                if batch.input_file_id == file_id:
                    return batch

    async def _look(self, batch: _Batch) -> None:
        try:
            state = await self._client.batches.retrieve(batch.id)
            if state.status == "failed":
                reasons = "; ".join(str(error.message) for error in (state.errors and state.errors.data) or [])
                self._end(batch, {}, (UNUSABLE, _error(f"batch {batch.id} was refused: {reasons or 'no reason is given'}")))
                self._ledger.remove(batch.id)
            elif state.status in ENDED:
                files = [name for name in (state.output_file_id, state.error_file_id) if name]
                texts = [(await self._client.files.content(name)).content for name in files]
                self._end(batch, read_answers(texts), (UNANSWERED, _error(f"batch {batch.id} {state.status} without this answer")))
        except NotFoundError:  # of an earlier run, and deleted since, or of another account
            self._ledger.remove(batch.id)
            self._end(batch, {}, (UNANSWERED, _error(f"batch {batch.id} is no longer there; run again to ask anew")))
        except Exception as error:
            del self._open[batch.id]  # it stays in the ledger: another run may find it
            for key in sorted(batch.missing):
                self._tell(key, _failure(f"batch {batch.id} cannot be looked at", error))

    def _end(self, batch: _Batch, answers: dict[str, Answer], otherwise: Answer) -> None:
        del self._open[batch.id]
        was_heard = [self._tell(key, answers.get(key, otherwise)) for key in sorted(batch.missing)]
        earlier = {key for key, id_ in (self._sent_earlier or {}).items() if id_ == batch.id}
        self._found |= {key: answers[key] for key in earlier & answers.keys()}
        if all(was_heard) and not earlier:
            self._delivered.append(batch.id)

    def _tell(self, key: str, answer: Answer) -> bool:
        """Whether anybody still waited for it: who asked may have been cancelled."""
        heard = [future for future in self._waiting.pop(key, []) if not future.done()]
        for future in heard:
            future.set_result(answer)
        return bool(heard)


def read_answers(files: Iterable[bytes]) -> dict[str, Answer]:
    """The answers in a batch's files by key; a line that cannot be read is no answer."""
    found: dict[str, Answer] = {}
    for line in (line for file in files for line in file.split(b"\n") if line.strip()):
        try:
            row = json.loads(line)
            key, response = str(row["custom_id"]), row.get("response")
            if isinstance(response, dict):
                found[key] = (int(response["status_code"]), response["body"])
            else:
                found[key] = (UNANSWERED, _error(str((row.get("error") or {}).get("message"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _failure(what: str, error: Exception) -> Answer:
    """What those hear whose batch met `error`: that nobody can be asked here, or that there is no answer this time."""
    is_final = isinstance(error, APIStatusError) and (
        error.status_code in REFUSED_ACCESS + REFUSED_REQUEST or error.code == "insufficient_quota"
    )
    return (UNUSABLE if is_final else UNANSWERED), _error(f"{what}: {error}")


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "batch", "param": None, "code": None}}
