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
    """One that was sent: `missing` are the questions that this process waits for, `unclaimed` those whose answer nobody has taken."""

    id: str
    unclaimed: set[str]
    missing: set[str] = field(default_factory=set)
    is_earlier: bool = False  # sent by another process


@dataclass(slots=True)
class _Question:
    """One that somebody waits for: the line of the file that asks it, and what to tell who waits."""

    endpoint: str
    line: bytes
    waiting: list[asyncio.Future[Answer]] = field(default_factory=list)


@dataclass(slots=True)
class _Queue:
    """Keys of questions of one endpoint that wait to be sent."""

    keys: dict[str, None] = field(default_factory=dict)
    grew_at: float = 0.0


class BatchTransport(httpx2.AsyncBaseTransport):
    """Answers chat requests through batches of at most `size` questions; `connect` must have said who is asked."""

    def __init__(self, ledger: BatchLedger, size: int, poll_seconds: float) -> None:
        self._ledger = ledger
        self._size = size
        self._poll_seconds = poll_seconds
        self._questions: dict[str, _Question] = {}
        self._queues: dict[str, _Queue] = defaultdict(_Queue)
        self._open: dict[str, _Batch] = {}
        self._ended: list[_Batch] = []
        self._found: dict[str, tuple[_Batch, Answer]] = {}  # in batches of an earlier process, not asked for yet
        self._earlier: dict[str, _Batch] | None = None  # the batch of an earlier process that holds a question
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
        for batch in self._ended:
            self._ledger.keep(batch.id, batch.unclaimed)
        await self._client.close()

    async def _answer(self, endpoint: str, body: Any) -> Answer:
        key = hashlib.sha256(json.dumps([endpoint, body], sort_keys=True).encode()).hexdigest()
        if self._earlier is None:
            batches = [_Batch(sent.id, set(sent.keys), is_earlier=True) for sent in self._ledger.read()]
            self._earlier = {key: batch for batch in batches for key in batch.unclaimed}
        if key in self._found:
            batch, answer = self._found.pop(key)
            batch.unclaimed.discard(key)
            return answer
        question = self._questions.get(key)
        if question is None:
            line = json.dumps({"custom_id": key, "method": "POST", "url": endpoint, "body": body}).encode() + b"\n"
            question = self._questions[key] = _Question(endpoint, line)
            earlier = self._earlier.pop(key, None)
            if earlier is None:
                self._put_in_queue(key)
            else:
                self._open[earlier.id] = earlier
                earlier.missing.add(key)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        question.waiting.append(future)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def _put_in_queue(self, key: str) -> None:
        queue = self._queues[self._questions[key].endpoint]
        queue.keys[key] = None
        queue.grew_at = time.monotonic()

    async def _work(self) -> None:
        """Send and look until nothing is left. Whatever goes wrong is an answer to those who wait, never an end of the waiting."""
        looked_at = -self._poll_seconds
        pause = min(self._poll_seconds, GATHER_SECONDS)
        try:
            while self._open or any(queue.keys for queue in self._queues.values()):
                for endpoint, queue in list(self._queues.items()):
                    while len(queue.keys) >= self._size or (queue.keys and time.monotonic() - queue.grew_at >= pause):
                        await self._send(endpoint, queue)
                if time.monotonic() - looked_at >= self._poll_seconds:
                    for batch in list(self._open.values()):
                        await self._look(batch)
                    looked_at = time.monotonic()
                await asyncio.sleep(pause / 2)
        except Exception as error:
            self._queues.clear()
            for key in list(self._questions):
                self._tell(key, _failure("the batches cannot go on", error))

    async def _send(self, endpoint: str, queue: _Queue) -> None:
        keys: list[str] = []
        content = bytearray()
        for key in queue.keys:
            line = self._questions[key].line
            if len(keys) >= self._size or (keys and len(content) + len(line) > LARGEST_FILE):
                break
            keys.append(key)
            content += line
        for key in keys:
            del queue.keys[key]
        try:
            file = await self._client.files.create(file=("questions.jsonl", bytes(content)), purpose="batch")
            made = await self._make(file.id, endpoint)
            self._ledger.add(made.id, keys)
            self._open[made.id] = _Batch(made.id, set(keys), set(keys))
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
            elif state.status in ENDED:
                files = [name for name in (state.output_file_id, state.error_file_id) if name]
                texts = [(await self._client.files.content(name)).content for name in files]
                answers, num_unreadable = read_answers(texts)
                num_promised = state.request_counts.completed if state.request_counts else 0
                is_torn = num_unreadable > 0 or len(answers) < num_promised
                what = "holds lines that cannot be read, so this answer may be lost" if is_torn else f"{state.status} without this answer"
                self._end(batch, answers, (UNANSWERED, _error(f"batch {batch.id} {what}")), is_torn)
        except NotFoundError:  # it was deleted, or is of another account
            self._end(batch, {}, (UNANSWERED, _error(f"batch {batch.id} is not there")))
        except Exception as error:  # it stays in the ledger: another run may find it
            self._open.pop(batch.id, None)
            for key in sorted(batch.missing):
                self._tell(key, _failure(f"batch {batch.id} cannot be looked at", error))

    def _end(self, batch: _Batch, answers: dict[str, Answer], otherwise: Answer, is_torn: bool = False) -> None:
        """Tell who waits; what a batch of an earlier process does not hold is asked anew, once.

        What came `is_torn` (a proxy's page, half a file) is paid for and may come whole another time: the next run looks again.
        """
        keeps_lost = is_torn and not batch.is_earlier
        del self._open[batch.id]
        self._ended.append(batch)
        for key in sorted(batch.missing):
            answer = answers.get(key, otherwise)
            if answer[0] == UNANSWERED and batch.is_earlier:
                batch.unclaimed.discard(key)
                self._put_in_queue(key)
            elif self._tell(key, answer) and (key in answers or not keeps_lost):
                batch.unclaimed.discard(key)
        batch.missing.clear()
        if not keeps_lost:
            batch.unclaimed &= answers.keys()
        for key in batch.unclaimed:
            if self._earlier is not None and self._earlier.get(key) is batch:
                del self._earlier[key]
                self._found[key] = (batch, answers[key])

    def _tell(self, key: str, answer: Answer) -> bool:
        """Whether anybody still waited for it: who asked may have been cancelled."""
        waiting = [future for future in self._questions.pop(key).waiting if not future.done()]
        for future in waiting:
            future.set_result(answer)
        return bool(waiting)


def read_answers(files: Iterable[bytes]) -> tuple[dict[str, Answer], int]:
    """The answers in a batch's files by key, and the number of lines that cannot be read."""
    found: dict[str, Answer] = {}
    num_unreadable = 0
    for line in (line for file in files for line in file.split(b"\n") if line.strip()):
        try:
            row = json.loads(line)
            key, response = str(row["custom_id"]), row.get("response")
            if isinstance(response, dict):
                found[key] = (int(response["status_code"]), response["body"])
            else:
                found[key] = (UNANSWERED, _error(str((row.get("error") or {}).get("message"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            num_unreadable += 1
    return found, num_unreadable


def _failure(what: str, error: Exception) -> Answer:
    """What those hear whose batch met `error`: that nobody can be asked here, or that there is no answer this time."""
    is_final = isinstance(error, APIStatusError) and (
        error.status_code in REFUSED_ACCESS + REFUSED_REQUEST or error.code == "insufficient_quota"
    )
    return (UNUSABLE if is_final else UNANSWERED), _error(f"{what}: {error}")


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "batch", "param": None, "code": None}}
