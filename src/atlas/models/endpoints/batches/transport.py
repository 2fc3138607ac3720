"""A transport that gathers questions, sends them in batches, and answers each up to a day later.

Its caller notices only the delay: an answer has the status and body that the provider gave to this
question, so the usual rules for refusals and retries apply. The address and the key are those of
the question itself.

inspect_ai has batches too. They are not used: there, a refused question fails its whole batch, a
batch that cannot be made leaves later questions waiting forever, and a killed process loses what it
paid for (as of 0.3.285).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from atlas.models.endpoints.batches.batch_maker import BatchMaker
from atlas.models.endpoints.batches.batch_requests import UNUSABLE, BatchRequests
from atlas.models.endpoints.batches.ledger import BatchLedger, NotedBatch, ledger_folder
from atlas.models.endpoints.batches.protocol import (
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

# A batch that is not full is sent when no question has come for so long.
GATHER_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch that was made. `unclaimed` are its questions whose answer was not taken yet.

    `answers` is None while it runs. With `is_earlier` another process made it.
    """

    noted: NotedBatch
    unclaimed: set[str]
    is_earlier: bool
    route: BatchRoute | None = None
    answers: Mapping[str, BatchAnswer] | None = None


@dataclass(slots=True)
class _Waiting:
    """A question that a caller waits for."""

    route: BatchRoute
    line: bytes
    futures: list[asyncio.Future[BatchAnswer]] = field(default_factory=list)


class BatchTransport:
    """Answers questions at one address, in batches of at most `batching.size`."""

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
        # Made by the first question, which brings the address.
        self._maker: BatchMaker | None = None
        self._waiting: dict[str, _Waiting] = {}
        # The keys of questions that are not in a batch yet.
        self._queue: dict[str, None] = {}
        self._queue_grew_at = 0.0
        # The batch that holds a question, if one does; while it runs, or until its answer is taken.
        self._holder: dict[str, _Batch] = {}
        self._open: list[_Batch] = []
        self._ended: list[_Batch] = []
        self._worker: asyncio.Task[None] | None = None
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
        status, answer = await self._answer(key, route, self._protocol.line(key, route, body))
        content = json.dumps(answer).encode()
        return HttpReply(status, {"Content-Type": "application/json"}, content)

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        # A batch that is being paid for is noted first.
        if self._sending is not None:
            await self._sending
        if self._maker is not None:
            for batch in self._ended:
                self._maker.ledger.keep(batch.noted, batch.unclaimed)
        self._ended.clear()
        await self._requests.close()

    def _open_maker(self, address: str) -> BatchMaker:
        """The maker for one address. The batches of earlier processes are held from now on."""
        ledger = BatchLedger(self._batching.folder or ledger_folder(), address)
        for noted in ledger.read():
            if noted.id is not None:
                self._hold(noted, is_earlier=True)
        return BatchMaker(self._protocol, self._requests, ledger)

    async def _answer(self, key: str, route: BatchRoute, line: bytes) -> BatchAnswer:
        batch = self._holder.get(key)
        if batch is not None and batch.answers is not None:
            self._claim(batch, key)
            return batch.answers[key]
        if key not in self._waiting:
            self._waiting[key] = _Waiting(route, line)
            if batch is None:
                self._put_in_queue(key)
            else:
                self._wait_for(batch, route)
        future: asyncio.Future[BatchAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[key].futures.append(future)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def _hold(self, noted: NotedBatch, is_earlier: bool) -> _Batch:
        batch = _Batch(noted, set(noted.keys), is_earlier)
        self._holder |= dict.fromkeys(noted.keys, batch)
        return batch

    def _wait_for(self, batch: _Batch, route: BatchRoute) -> None:
        batch.route = route
        if batch not in self._open:
            self._open.append(batch)

    def _claim(self, batch: _Batch, key: str) -> None:
        batch.unclaimed.discard(key)
        self._release(batch, key)

    def _release(self, batch: _Batch, key: str) -> None:
        if self._holder.get(key) is batch:
            del self._holder[key]

    def _put_in_queue(self, key: str) -> None:
        self._queue[key] = None
        self._queue_grew_at = time.monotonic()

    def _leave_queue(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._queue.pop(key, None)

    async def _work(self) -> None:
        """Send and look until nothing is left. Each failure becomes an answer."""
        poll_seconds = self._batching.poll_seconds
        looked_at = -poll_seconds
        pause = min(poll_seconds, GATHER_SECONDS)
        try:
            while self._open or self._queue:
                while len(self._queue) >= self._batching.size or (
                    self._queue and time.monotonic() - self._queue_grew_at >= pause
                ):
                    self._sending = asyncio.create_task(self._send())
                    await asyncio.shield(self._sending)
                if time.monotonic() - looked_at >= poll_seconds:
                    for batch in list(self._open):
                        await self._look(batch)
                    looked_at = time.monotonic()
                await asyncio.sleep(pause / 2)
        except Exception as error:
            self._queue.clear()
            self._fail(list(self._waiting), "the batches cannot go on", error)

    async def _send(self) -> None:
        """Send one batch, of questions with the route of the first one in the queue."""
        assert self._maker is not None
        route = self._waiting[next(iter(self._queue))].route
        keys = {key for key in self._queue if self._waiting[key].route == route}
        try:
            async for adopted in self._maker.adopt(route, keys):
                self._wait_for(self._hold(adopted, is_earlier=True), route)
                keys.difference_update(adopted.keys)
                self._leave_queue(adopted.keys)
        except Exception as error:
            self._leave_queue(keys)
            what = "a killed run was making a batch, and nothing shows whether it was made"
            self._fail(keys, what, error)
            return
        lines: dict[str, bytes] = {}
        num_bytes = 0
        for key in filter(keys.__contains__, self._queue):
            line = self._waiting[key].line
            num_bytes += len(line)
            is_full = num_bytes > self._protocol.largest_batch or len(lines) >= self._batching.size
            if lines and is_full:
                break
            lines[key] = line
        if not lines:
            return
        self._leave_queue(lines)
        # A missing id or a full disk must not leave callers waiting.
        try:
            made = await self._maker.make(route, lines)
        except Exception as error:
            self._fail(lines, "the batch could not be sent", error)
        else:
            self._wait_for(self._hold(made, is_earlier=False), route)

    async def _look(self, batch: _Batch) -> None:
        assert batch.route is not None
        try:
            ended = await self._protocol.look(batch.route, str(batch.noted.id))
        except Exception as error:
            # It was deleted, or belongs to another account.
            if isinstance(error, HttpError) and error.status == 404:
                self._end(batch, EndedBatch({}, "gone"))
                return
            # It stays in the ledger: another run may find it.
            self._open.remove(batch)
            what = f"batch {batch.noted.id} cannot be looked at"
            self._fail(self._wanted(batch), what, error)
        else:
            if ended is not None:
                self._end(batch, ended)

    def _wanted(self, batch: _Batch) -> list[str]:
        """The questions that callers wait for and that this batch has to answer."""
        held = {key for key in batch.unclaimed if self._holder.get(key) is batch}
        return sorted(held & self._waiting.keys())

    def _end(self, batch: _Batch, ended: EndedBatch) -> None:
        """Answer who waits. What a batch of an earlier process lacks is asked once more.

        What is missing in a torn batch is not asked again here: the next run looks for it first.
        """
        keeps_missing = ended.is_torn and not batch.is_earlier
        what = f"{ended.how} without this answer"
        if ended.is_refused:
            what = f"was refused: {ended.how}"
        elif ended.is_torn:
            what = "holds lines that cannot be read, so this answer may be lost"
        status = UNUSABLE if ended.is_refused else UNANSWERED
        missing = no_answer(f"batch {batch.noted.id} {what}", status)
        self._open.remove(batch)
        self._ended.append(batch)
        for key in self._wanted(batch):
            answer = ended.answers.get(key, missing)
            if answer[0] == UNANSWERED and batch.is_earlier:
                self._claim(batch, key)
                self._put_in_queue(key)
            elif self._resolve(key, answer) and (key in ended.answers or not keeps_missing):
                self._claim(batch, key)
        for key in batch.unclaimed - ended.answers.keys():
            self._release(batch, key)
        # The other answers are not needed any more; there may be many.
        kept = batch.unclaimed & ended.answers.keys()
        batch.answers = {key: ended.answers[key] for key in kept}
        if not keeps_missing:
            batch.unclaimed = kept

    def _resolve(self, key: str, answer: BatchAnswer) -> bool:
        """Answer a question. False: no caller waits any more, because all were cancelled."""
        waiting = [future for future in self._waiting.pop(key).futures if not future.done()]
        for future in waiting:
            future.set_result(answer)
        return bool(waiting)

    def _fail(self, keys: Iterable[str], what: str, error: Exception) -> None:
        """Answer questions whose batch met `error`: no question can be asked, or only not now."""
        is_final = isinstance(error, HttpError) and (error.is_final or error.is_rejected)
        status = UNUSABLE if is_final else UNANSWERED
        for key in keys:
            self._resolve(key, no_answer(f"{what}: {error}", status))
