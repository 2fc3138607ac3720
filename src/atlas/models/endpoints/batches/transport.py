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
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from atlas.errors import EndpointError
from atlas.models.endpoints.batches.batch_requests import (
    UNUSABLE,
    BatchRequestError,
    BatchRequests,
)
from atlas.models.endpoints.batches.ledger import BatchLedger, SentBatch, ledger_folder
from atlas.models.endpoints.batches.protocol import (
    UNANSWERED,
    BatchAnswer,
    BatchProtocol,
    BatchRoute,
    EndedBatch,
    RefusedBatch,
    no_answer,
)
from atlas.models.endpoints.connections import HttpReply
from atlas.models.endpoints.endpoint import Batching, Endpoint

# A batch that is not full is sent when no question has come for so long.
GATHER_SECONDS = 2.0


@dataclass(slots=True)
class _Batch:
    """A batch that was sent. `unclaimed` are its questions whose answer nobody has taken yet.

    `answers` is None while it runs. With `is_earlier` another process sent it.
    """

    id: str
    unclaimed: set[str]
    route: BatchRoute | None = None
    is_earlier: bool = False
    answers: Mapping[str, BatchAnswer] | None = None


@dataclass(slots=True)
class _Waiting:
    """A question that somebody waits for."""

    route: BatchRoute
    line: bytes
    futures: list[asyncio.Future[BatchAnswer]] = field(default_factory=list)


@dataclass(slots=True)
class _Queue:
    """The keys of questions with one route that are not in a batch yet."""

    keys: dict[str, None] = field(default_factory=dict)
    grew_at: float = 0.0


class BatchTransport:
    """Answers questions at one address, in batches of at most `batching.size`."""

    is_batched = True

    def __init__(self, protocol: BatchProtocol, batching: Batching, endpoint: Endpoint) -> None:
        self._protocol = protocol
        self._size = batching.size
        self._poll_seconds = batching.poll_seconds
        self._folder = batching.folder or ledger_folder()
        self._requests = BatchRequests(endpoint)
        self._ledger: BatchLedger | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._queues: dict[BatchRoute, _Queue] = defaultdict(_Queue)
        # The batch that holds a question, if one does; while it runs, or until its answer is taken.
        self._holder: dict[str, _Batch] = {}
        self._open: dict[str, _Batch] = {}
        self._ended: list[_Batch] = []
        # Batches that an earlier process may have made when it was killed.
        self._planned: list[SentBatch] = []
        self._worker: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> HttpReply:
        headers = {name.lower(): value for name, value in headers.items()}
        route = self._protocol.route(url, headers)
        self._requests.headers = {
            name: headers[name] for name in self._protocol.headers if name in headers
        }
        body = json.loads(data)
        text = json.dumps([route.group, body], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        line = self._protocol.line(key, route, body)
        status, answer = await self._answer(key, route, line)
        content = json.dumps(answer).encode()
        return HttpReply(status, {"Content-Type": "application/json"}, content)

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        # A batch that is being paid for is noted first.
        if self._sending is not None:
            await self._sending
        for batch in self._ended:
            self._opened_ledger().keep(batch.id, batch.unclaimed)
        self._ended.clear()
        await self._requests.close()

    def _opened_ledger(self, address: str = "") -> BatchLedger:
        """The ledger of the first question's address, with the batches of earlier processes."""
        if self._ledger is None:
            self._ledger = BatchLedger(self._folder, address)
            for sent in self._ledger.read():
                batch = _Batch(sent.id, set(sent.keys), is_earlier=True)
                self._holder |= dict.fromkeys(sent.keys, batch)
            self._planned = self._ledger.read_planned()
        return self._ledger

    async def _answer(self, key: str, route: BatchRoute, line: bytes) -> BatchAnswer:
        self._opened_ledger(route.base)
        batch = self._holder.get(key)
        if batch is not None and batch.answers is not None:
            self._claim(batch, key)
            return batch.answers[key]
        if key not in self._waiting:
            self._waiting[key] = _Waiting(route, line)
            if batch is None:
                self._put_in_queue(key)
            else:
                batch.route = route
                self._open[batch.id] = batch
        future: asyncio.Future[BatchAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[key].futures.append(future)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def _claim(self, batch: _Batch, key: str) -> None:
        batch.unclaimed.discard(key)
        self._release(batch, key)

    def _release(self, batch: _Batch, key: str) -> None:
        if self._holder.get(key) is batch:
            del self._holder[key]

    def _put_in_queue(self, key: str) -> None:
        queue = self._queues[self._waiting[key].route]
        queue.keys[key] = None
        queue.grew_at = time.monotonic()

    async def _work(self) -> None:
        """Send and look until nothing is left. Each failure becomes an answer."""
        looked_at = -self._poll_seconds
        pause = min(self._poll_seconds, GATHER_SECONDS)
        try:
            while self._open or any(queue.keys for queue in self._queues.values()):
                for route, queue in list(self._queues.items()):
                    while len(queue.keys) >= self._size or (
                        queue.keys and time.monotonic() - queue.grew_at >= pause
                    ):
                        self._sending = asyncio.create_task(self._send(route, queue))
                        await asyncio.shield(self._sending)
                if time.monotonic() - looked_at >= self._poll_seconds:
                    for batch in list(self._open.values()):
                        await self._look(batch)
                    looked_at = time.monotonic()
                await asyncio.sleep(pause / 2)
        except Exception as error:
            self._queues.clear()
            self._fail(list(self._waiting), "the batches cannot go on", error)

    async def _send(self, route: BatchRoute, queue: _Queue) -> None:
        try:
            await self._adopt_planned(route, queue)
        except Exception as error:
            what = "a killed run was making a batch, and nothing shows whether it was made"
            self._fail(list(queue.keys), what, error)
            queue.keys.clear()
        lines: dict[str, bytes] = {}
        num_bytes = 0
        for key in queue.keys:
            line = self._waiting[key].line
            num_bytes += len(line)
            if len(lines) >= self._size or (lines and num_bytes > self._protocol.largest_batch):
                break
            lines[key] = line
        for key in lines:
            del queue.keys[key]
        if not lines:
            return
        # Without an id, or with a full disk, nobody may wait in vain.
        try:
            id_ = await self._make(route, lines)
        except Exception as error:
            self._fail(list(lines), "the batch could not be sent", error)
        else:
            self._hold(_Batch(id_, set(lines), route))

    def _hold(self, batch: _Batch) -> None:
        self._open[batch.id] = batch
        self._holder |= dict.fromkeys(batch.unclaimed, batch)

    async def _adopt_planned(self, route: BatchRoute, queue: _Queue) -> None:
        """Wait for a batch that an earlier process planned with these questions, if it was made."""
        ledger = self._opened_ledger()
        for planned in list(self._planned):
            if queue.keys.keys().isdisjoint(planned.keys):
                continue
            found = await self._find(route, planned)
            self._planned.remove(planned)
            if len(found) == 1:
                ledger.add(found[0], planned.keys)
                self._hold(_Batch(found[0], set(planned.keys), route, is_earlier=True))
                for key in planned.keys:
                    queue.keys.pop(key, None)
            ledger.forget_planned(planned)
            if len(found) > 1:
                raise _any_of(found)

    async def _find(self, route: BatchRoute, planned: SentBatch) -> list[str]:
        """The ids of batches that may be the planned one; usually none or one."""
        noted = {sent.id for sent in self._opened_ledger().read()}
        num_questions = len(planned.keys)
        found = await self._protocol.find(self._requests, route, num_questions, planned.id)
        return [id_ for id_ in found if id_ not in noted]

    async def _make(self, route: BatchRoute, lines: Mapping[str, bytes]) -> str:
        """The id of a new batch, which is noted.

        A retry first looks for the batch: the request may have succeeded though its response was
        lost, and making the batch again would pay twice.
        """
        ledger = self._opened_ledger()
        contents = list(lines.values())
        handle = await self._protocol.prepare(self._requests, route, contents)
        planned = ledger.plan(handle, list(lines))
        was_tried = False

        async def find() -> str | None:
            found = await self._find(route, planned)
            if len(found) > 1:
                raise _any_of(found)
            return found[0] if found else None

        async def find_or_make() -> str:
            nonlocal was_tried
            found = await find() if was_tried else None
            was_tried = True
            return found or await self._protocol.make(self._requests, route, contents, handle)

        try:
            id_ = await self._requests.repeat(find_or_make)
        except EndpointError:
            # The last try may have succeeded, too.
            found = await find()
            if found is None:
                ledger.forget_planned(planned)
                raise
            id_ = found
        except BatchRequestError:
            ledger.forget_planned(planned)
            raise
        ledger.add(id_, list(lines))
        ledger.forget_planned(planned)
        return id_

    async def _look(self, batch: _Batch) -> None:
        assert batch.route is not None
        try:
            state = await self._protocol.look(self._requests, batch.route, batch.id)
        except Exception as error:
            # It was deleted, or belongs to another account.
            if isinstance(error, BatchRequestError) and error.status == 404:
                self._end(batch, EndedBatch({}, "gone"))
                return
            # It stays in the ledger: another run may find it.
            del self._open[batch.id]
            self._fail(self._wanted(batch), f"batch {batch.id} cannot be looked at", error)
        else:
            if state is not None:
                self._end(batch, state)

    def _wanted(self, batch: _Batch) -> list[str]:
        """The questions that somebody waits for, and that this batch has to answer."""
        held = [key for key in batch.unclaimed if self._holder.get(key) is batch]
        return sorted(key for key in held if key in self._waiting)

    def _end(self, batch: _Batch, state: EndedBatch | RefusedBatch) -> None:
        """Answer who waits. What a batch of an earlier process lacks is asked once more.

        What is missing in a torn batch is not asked again here: the next run looks for it first.
        """
        keeps_missing = False
        if isinstance(state, RefusedBatch):
            batch.answers = {}
            why = f"batch {batch.id} was refused: {state.reason}"
            missing = UNUSABLE, no_answer(why)
        else:
            batch.answers = state.answers
            keeps_missing = state.is_torn and not batch.is_earlier
            torn = "holds lines that cannot be read, so this answer may be lost"
            what = torn if state.is_torn else f"{state.how} without this answer"
            missing = UNANSWERED, no_answer(f"batch {batch.id} {what}")
        del self._open[batch.id]
        self._ended.append(batch)
        for key in self._wanted(batch):
            answer = batch.answers.get(key, missing)
            if answer[0] == UNANSWERED and batch.is_earlier:
                self._claim(batch, key)
                self._put_in_queue(key)
            elif self._tell(key, answer) and (key in batch.answers or not keeps_missing):
                self._claim(batch, key)
        for key in batch.unclaimed - batch.answers.keys():
            self._release(batch, key)
        if not keeps_missing:
            batch.unclaimed &= batch.answers.keys()

    def _tell(self, key: str, answer: BatchAnswer) -> bool:
        """Answer a question. False: nobody waits any more, because every caller was cancelled."""
        waiting = [future for future in self._waiting.pop(key).futures if not future.done()]
        for future in waiting:
            future.set_result(answer)
        return bool(waiting)

    def _fail(self, keys: list[str], what: str, error: Exception) -> None:
        """Answer questions whose batch met `error`: no question can be asked, or only not now."""
        is_final = isinstance(error, BatchRequestError) and error.is_final
        status = UNUSABLE if is_final else UNANSWERED
        for key in keys:
            self._tell(key, (status, no_answer(f"{what}: {error}")))


def _any_of(found: list[str]) -> EndpointError:
    return EndpointError(f"it may be any of {', '.join(found)}, and nothing shows which one")
