"""A transport that collects questions and sends them in batches; answers take up to a day.

The caller notices only the delay. Each answer has the status and body that the provider gave for
this question, so the usual rules for refusals and retries apply. Batches use the address and the
key of the questions in them.

The batches of inspect_ai are not used. In version 0.3.285, a refused question fails its whole
batch, a batch that cannot be created leaves later questions waiting forever, and a killed process
loses answers that were paid for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atlas.models.endpoints.batches.batch_maker import BatchMaker
from atlas.models.endpoints.batches.batch_requests import UNUSABLE, BatchRequests
from atlas.models.endpoints.batches.ledger import BatchLedger, NotedBatch, ledger_folder
from atlas.models.endpoints.batches.protocol import (
    REFUSED_ANSWER,
    UNANSWERED,
    BatchAnswer,
    BatchProtocol,
    BatchRoute,
    EndedBatch,
    no_answer,
)
from atlas.models.endpoints.connections import HttpReply
from atlas.models.endpoints.endpoint import Batching, Endpoint
from atlas.models.endpoints.http_error import HttpError

# A batch that is not full is sent if no question arrives for this long.
GATHER_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch that was created. `unclaimed` holds its questions whose answers were not taken yet.

    `is_earlier` means that another process created it. The task `end` is done when the batch has
    ended. From then on, `answers` holds the answers that were not taken yet, and `missing` is used
    for questions without an answer.
    """

    noted: NotedBatch
    unclaimed: set[str]
    is_earlier: bool
    end: asyncio.Task[None] | None = None
    answers: dict[str, BatchAnswer] = field(default_factory=dict)
    missing: BatchAnswer | None = None
    keeps_missing: bool = False


@dataclass(slots=True)
class _Queued:
    """A question that is not in a batch yet."""

    route: BatchRoute
    line: bytes
    batch: asyncio.Future[_Batch]


@dataclass(slots=True)
class _Asked:
    """A question that at least one caller waits for."""

    answer: asyncio.Task[BatchAnswer]
    num_callers: int = 0


class _Failure(Exception):
    """The batch of a question failed with `error`, for good or only for now."""

    def __init__(self, what: str, error: Exception) -> None:
        is_final = isinstance(error, HttpError) and (error.is_final or error.is_rejected)
        self.answer = no_answer(f"{what}: {error}", UNUSABLE if is_final else UNANSWERED)


class BatchTransport:
    """Answers questions to one address, in batches of at most `batching.size`."""

    is_batched = True

    def __init__(
        self,
        protocol: Callable[[BatchRequests], BatchProtocol],
        batching: Batching,
        endpoint: Endpoint,
    ) -> None:
        self._requests = BatchRequests(endpoint)
        self._protocol = protocol(self._requests)
        self._batching = batching
        # Created with the first question, because the address is not known before.
        self._maker: BatchMaker | None = None
        self._asked: dict[str, _Asked] = {}
        self._queue: dict[str, _Queued] = {}
        self._queue_grew_at = 0.0
        self._batches: list[_Batch] = []
        # The batch of each question, until the question's answer is taken or known to be missing.
        self._holder: dict[str, _Batch] = {}
        self._sender: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> HttpReply:
        headers = {name.lower(): value for name, value in headers.items()}
        route = self._protocol.route(url, headers)
        names = [name for name in self._protocol.headers if name in headers]
        self._requests.headers = {name: headers[name] for name in names}
        if self._maker is None:
            self._maker = self._open_maker(route.base)
        body = json.loads(data)
        text = json.dumps([route.group, body], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        asked = self._asked.get(key)
        if asked is None:
            line = self._protocol.line(key, route, body)
            asked = _Asked(asyncio.create_task(self._answer(key, route, line)))
            self._asked[key] = asked
        asked.num_callers += 1
        try:
            status, answer = await asyncio.shield(asked.answer)
        finally:
            asked.num_callers -= 1
            # All callers gave up. The answer stays in its batch for later callers.
            if not asked.num_callers:
                asked.answer.cancel()
                del self._asked[key]
        try:
            content = json.dumps(answer).encode()
        except RecursionError:
            status, deep = no_answer("the answer is nested too deeply", REFUSED_ANSWER)
            content = json.dumps(deep).encode()
        return HttpReply(status, {"Content-Type": "application/json"}, content)

    async def close(self) -> None:
        tasks = [self._sender, *(batch.end for batch in self._batches)]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # A batch that is being sent must be recorded before the process ends.
        if self._sending is not None:
            await self._sending
        for batch in self._batches:
            if batch.missing is not None and self._maker is not None:
                self._maker.ledger.keep(batch.noted, batch.unclaimed)
        self._batches.clear()
        await self._requests.close()

    def _open_maker(self, address: str) -> BatchMaker:
        """The batch maker for one address; also holds the batches of earlier processes."""
        ledger = BatchLedger(self._batching.folder or ledger_folder(), address)
        for noted in ledger.read():
            if noted.id is not None:
                self._hold(noted, is_earlier=True)
        return BatchMaker(self._protocol, self._requests, ledger)

    def _hold(self, noted: NotedBatch, is_earlier: bool) -> None:
        """Keep a batch and all its questions; those that are still in the queue leave it."""
        batch = _Batch(noted, set(noted.keys), is_earlier)
        self._batches.append(batch)
        self._holder |= dict.fromkeys(noted.keys, batch)
        for key in self._queue.keys() & noted.keys:
            queued = self._queue.pop(key).batch
            if not queued.done():
                queued.set_result(batch)

    async def _answer(self, key: str, route: BatchRoute, line: bytes) -> BatchAnswer:
        """The answer; a question that an earlier process's batch left open is sent again."""
        while True:
            try:
                batch = self._holder.get(key) or await self._put_in_queue(key, route, line)
                if batch.end is None:
                    batch.end = asyncio.create_task(self._watch(batch, route))
                await asyncio.shield(batch.end)
            except _Failure as failure:
                return failure.answer
            assert batch.missing is not None
            self._release(batch, key)
            if key in batch.answers or not batch.keeps_missing:
                batch.unclaimed.discard(key)
            answer = batch.answers.pop(key, batch.missing)
            if answer[0] != UNANSWERED or not batch.is_earlier:
                return answer

    def _release(self, batch: _Batch, key: str) -> None:
        if self._holder.get(key) is batch:
            del self._holder[key]

    async def _put_in_queue(self, key: str, route: BatchRoute, line: bytes) -> _Batch:
        """Queue a question and return the batch in which it was sent."""
        queued = _Queued(route, line, asyncio.get_running_loop().create_future())
        self._queue[key], self._queue_grew_at = queued, time.monotonic()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all())
        return await queued.batch

    async def _send_all(self) -> None:
        pause = min(self._batching.poll_seconds, GATHER_SECONDS)
        while self._queue:
            is_quiet = time.monotonic() - self._queue_grew_at >= pause
            if is_quiet or len(self._queue) >= self._batching.size:
                self._sending = asyncio.create_task(self._send())
                await asyncio.shield(self._sending)
            else:
                await asyncio.sleep(pause / 2)

    async def _send(self) -> None:
        """Send one batch of queued questions that have the same route as the first one."""
        assert self._maker is not None
        route = next(iter(self._queue.values())).route
        sent = {key: queued for key, queued in self._queue.items() if queued.route == route}
        lines: dict[str, bytes] = {}
        what = "a killed run was making a batch, and nothing shows whether it was made"
        # A missing id or a full disk must not leave callers waiting.
        try:
            async for adopted in self._maker.adopt(route, sent.keys()):
                self._hold(adopted, is_earlier=True)
            num_bytes = 0
            for key in [key for key in sent if key in self._queue]:
                line = sent[key].line
                num_bytes += len(line)
                is_large = num_bytes > self._protocol.largest_batch
                if lines and (is_large or len(lines) >= self._batching.size):
                    break
                lines[key] = line
            if lines:
                what = "the batch could not be sent"
                self._hold(await self._maker.make(route, lines), is_earlier=False)
        except Exception as error:
            for key in (lines or sent).keys() & self._queue.keys():
                queued = self._queue.pop(key).batch
                if not queued.done():
                    queued.set_exception(_Failure(what, error))

    async def _watch(self, batch: _Batch, route: BatchRoute) -> None:
        """Wait for the end of a batch.

        Answers that are missing in a torn batch are not requested again here; the next run looks
        for them.
        """
        name = f"batch {batch.noted.id}"
        try:
            while (ended := await self._protocol.look(route, str(batch.noted.id))) is None:
                await asyncio.sleep(self._batching.poll_seconds)
        except Exception as error:
            # Status 404 means that the batch was deleted or belongs to another account.
            if not isinstance(error, HttpError) or error.status != 404:
                # The batch stays in the ledger, where another try or another run finds it.
                batch.end = None
                raise _Failure(f"{name} cannot be looked at", error) from None
            ended = EndedBatch({}, "gone")
        what = f"{name} {ended.how} without this answer"
        if ended.is_refused:
            what = f"{name} was refused: {ended.how}"
        elif ended.is_torn:
            what = f"{name} holds lines that cannot be read, so this answer may be lost"
        batch.missing = no_answer(what, UNUSABLE if ended.is_refused else UNANSWERED)
        batch.keeps_missing = ended.is_torn and not batch.is_earlier
        found = batch.unclaimed & ended.answers.keys()
        batch.answers = {key: ended.answers[key] for key in found}
        for key in batch.unclaimed - found:
            self._release(batch, key)
        if not batch.keeps_missing:
            batch.unclaimed = found
