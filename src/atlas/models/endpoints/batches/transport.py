"""Questions that travel in batches: an HTTP transport that gathers requests, sends them together, and answers each a day later at most.

Whoever sends a request through this transport notices nothing but the delay: the answer that comes back has the status and the
body that the provider gave to this one question, so that every rule about refusals and retries holds as it is. Where a request
goes, and with which key, is read off the request itself.

inspect_ai has batches of its own. They are not used: a question that the provider refuses sinks its whole batch, a batch that
cannot be made leaves later questions waiting forever, and a killed process loses what it has paid for (as of 0.3.285).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx2

from atlas.errors import EndpointError
from atlas.models.endpoints.batches.acts import ActError, Acts
from atlas.models.endpoints.batches.ledger import BatchLedger, SentBatch, ledger_folder
from atlas.models.endpoints.batches.protocol import (
    UNANSWERED,
    UNUSABLE,
    Answer,
    BatchProtocol,
    Ended,
    Refused,
    Route,
    no_answer,
)
from atlas.models.endpoints.endpoint import REFUSED_ACCESS, REFUSED_REQUEST, Batching

GATHER_SECONDS = 2.0  # a batch that is not full is sent when no question has come for so long


@dataclass(slots=True)
class _Batch:
    """One that was sent: `missing` are the questions that this process waits for, `unclaimed` those whose answer nobody has taken."""

    id: str
    unclaimed: set[str]
    missing: set[str] = field(default_factory=set)
    route: Route | None = None  # known as soon as anybody waits for it
    is_earlier: bool = False  # sent by another process


@dataclass(slots=True)
class _Question:
    """One that somebody waits for: the line that asks it, and what to tell who waits."""

    route: Route
    line: bytes
    waiting: list[asyncio.Future[Answer]] = field(default_factory=list)


@dataclass(slots=True)
class _Queue:
    """Keys of questions of one route that wait to be sent."""

    keys: dict[str, None] = field(default_factory=dict)
    grew_at: float = 0.0


class BatchTransport(httpx2.AsyncBaseTransport):
    """Answers a provider's chat requests through its batches, each of at most `batching.size` questions.

    Args:
        max_retries: tries after the first for each thing that is done about a batch.
        timeout_seconds: how long one of these may take.
    """

    def __init__(
        self,
        protocol: BatchProtocol,
        batching: Batching,
        *,
        max_retries: int,
        timeout_seconds: float,
    ) -> None:
        self._protocol = protocol
        self._size = batching.size
        self._poll_seconds = batching.poll_seconds
        self._folder = batching.folder or ledger_folder()
        self._acts = Acts(max_retries, timeout_seconds)
        self._ledger: BatchLedger | None = (
            None  # of the address of the first question; one client asks at one address
        )
        self._questions: dict[str, _Question] = {}
        self._queues: dict[Route, _Queue] = defaultdict(_Queue)
        self._open: dict[str, _Batch] = {}
        self._ended: list[_Batch] = []
        self._found: dict[
            str, tuple[_Batch, Answer]
        ] = {}  # in batches of an earlier process, not asked for yet
        self._earlier: dict[
            str, _Batch
        ] = {}  # the batch of an earlier process that holds a question
        self._planned: list[
            SentBatch
        ] = []  # that an earlier process was making: who asks such a question looks for them first
        self._worker: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    def client(self) -> httpx2.AsyncClient:
        """What an SDK takes as its HTTP client."""
        return httpx2.AsyncClient(transport=self, timeout=None)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(await request.aread())
        route = self._protocol.route(request)
        self._acts.headers = {
            name: request.headers[name]
            for name in self._protocol.headers
            if name in request.headers
        }
        status, answer = await self._answer(route, body)
        return httpx2.Response(
            status,
            headers={"Content-Type": "application/json"},
            content=json.dumps(answer).encode(),
        )

    async def aclose(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._sending is not None:  # what is being paid for is noted first
            await self._sending
        for batch in self._ended:
            assert self._ledger is not None
            self._ledger.keep(batch.id, batch.unclaimed)
        self._ended.clear()
        await self._acts.close()

    async def _answer(self, route: Route, body: Any) -> Answer:
        key = hashlib.sha256(json.dumps([route.group, body], sort_keys=True).encode()).hexdigest()
        if self._ledger is None:
            self._ledger = BatchLedger(self._folder, route.base)
            batches = [
                _Batch(sent.id, set(sent.keys), is_earlier=True) for sent in self._ledger.read()
            ]
            self._earlier = {key: batch for batch in batches for key in batch.unclaimed}
            self._planned = self._ledger.read_planned()
        if key in self._found:
            batch, answer = self._found.pop(key)
            batch.unclaimed.discard(key)
            return answer
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = _Question(
                route, self._protocol.line(key, route, body)
            )
            earlier = self._earlier.pop(key, None)
            if earlier is None:
                self._put_in_queue(key)
            else:
                earlier.route = route
                earlier.missing.add(key)
                self._open[earlier.id] = earlier
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        question.waiting.append(future)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def _put_in_queue(self, key: str) -> None:
        queue = self._queues[self._questions[key].route]
        queue.keys[key] = None
        queue.grew_at = time.monotonic()

    async def _work(self) -> None:
        """Send and look until nothing is left. Whatever goes wrong is an answer to those who wait, never an end of the waiting."""
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
            for key in list(self._questions):
                self._tell(key, _failure("the batches cannot go on", error))

    async def _send(self, route: Route, queue: _Queue) -> None:
        try:
            await self._find_planned(route, queue)
        except Exception as error:
            for key in list(queue.keys):
                del queue.keys[key]
                self._tell(
                    key,
                    _failure(
                        "a killed run was making a batch, and whether it was made cannot be found out",
                        error,
                    ),
                )
        keys: list[str] = []
        lines: list[bytes] = []
        num_bytes = 0
        for key in queue.keys:
            line = self._questions[key].line
            if len(keys) >= self._size or (
                keys and num_bytes + len(line) > self._protocol.largest_batch
            ):
                break
            keys.append(key)
            lines.append(line)
            num_bytes += len(line)
        for key in keys:
            del queue.keys[key]
        if not keys:
            return
        try:
            id_ = await self._make(route, keys, lines)
            self._open[id_] = _Batch(id_, set(keys), set(keys), route)
        except Exception as error:  # an answer without an id, a full disk: nobody may wait in vain
            for key in keys:
                self._tell(key, _failure("the batch could not be sent", error))

    async def _find_planned(self, route: Route, queue: _Queue) -> None:
        """Where a batch that an earlier process was making was made, its questions are not paid for again."""
        assert self._ledger is not None
        for planned in [
            planned for planned in self._planned if not queue.keys.keys().isdisjoint(planned.keys)
        ]:
            found = await self._find(route, planned)
            self._planned.remove(planned)
            if len(found) == 1:
                self._ledger.add(found[0], planned.keys)
                batch = self._open[found[0]] = _Batch(
                    found[0], set(planned.keys), route=route, is_earlier=True
                )
                self._earlier |= dict.fromkeys(set(planned.keys) - queue.keys.keys(), batch)
                batch.missing |= queue.keys.keys() & planned.keys
                for key in batch.missing:
                    del queue.keys[key]
            self._ledger.forget_planned(planned)
            if len(found) > 1:
                raise _any_of(found)

    async def _find(self, route: Route, planned: SentBatch) -> list[str]:
        """The ids of batches that may be the planned one, as a rule none or one."""
        assert self._ledger is not None
        noted = {sent.id for sent in self._ledger.read()}
        found = await self._protocol.find(self._acts, route, len(planned.keys), planned.id)
        return [id_ for id_ in found if id_ not in noted]

    async def _make(self, route: Route, keys: list[str], lines: list[bytes]) -> str:
        """The id of a batch, which is noted. One that was made though the word of it was lost is found again.

        To ask blindly would pay twice.
        """
        assert self._ledger is not None
        handle = await self._protocol.prepare(self._acts, route, lines)
        planned = self._ledger.plan(handle, keys)
        was_tried = False

        async def find() -> str | None:
            found = await self._find(route, planned)
            if len(found) > 1:
                raise _any_of(found)
            return found[0] if found else None

        async def act() -> str:
            nonlocal was_tried
            found = await find() if was_tried else None
            was_tried = True
            return found or await self._protocol.make(self._acts, route, lines, handle)

        try:
            id_ = await self._acts.again(act)
        except EndpointError:  # even the last try may have done its work
            found = await find()
            if found is None:
                self._ledger.forget_planned(planned)
                raise
            id_ = found
        except ActError:
            self._ledger.forget_planned(planned)
            raise
        self._ledger.add(id_, keys)
        self._ledger.forget_planned(planned)
        return id_

    async def _look(self, batch: _Batch) -> None:
        assert batch.route is not None
        try:
            state = await self._protocol.look(self._acts, batch.route, batch.id)
        except Exception as error:
            if (
                isinstance(error, ActError) and error.status == 404
            ):  # it was deleted, or is of another account
                self._end(batch, Ended({}, "gone"))
                return
            self._open.pop(batch.id, None)  # it stays in the ledger: another run may find it
            for key in sorted(batch.missing):
                self._tell(key, _failure(f"batch {batch.id} cannot be looked at", error))
        else:
            if state is not None:
                self._end(batch, state)

    def _end(self, batch: _Batch, state: Ended | Refused) -> None:
        """Tell who waits; what a batch of an earlier process does not hold is asked anew, once.

        Of a batch that came torn, the next run looks for what is missing before it pays again.
        """
        answers: dict[str, Answer] = {}
        keeps_lost = False
        if isinstance(state, Refused):
            otherwise = UNUSABLE, no_answer(f"batch {batch.id} was refused: {state.reason}")
        else:
            answers = state.answers
            keeps_lost = state.is_torn and not batch.is_earlier
            what = (
                "holds lines that cannot be read, so this answer may be lost"
                if state.is_torn
                else f"{state.how} without this answer"
            )
            otherwise = UNANSWERED, no_answer(f"batch {batch.id} {what}")
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
            if self._earlier.get(key) is batch:
                del self._earlier[key]
                self._found[key] = (batch, answers[key])

    def _tell(self, key: str, answer: Answer) -> bool:
        """Whether anybody still waited for it: who asked may have been cancelled."""
        waiting = [future for future in self._questions.pop(key).waiting if not future.done()]
        for future in waiting:
            future.set_result(answer)
        return bool(waiting)


def _any_of(found: list[str]) -> EndpointError:
    return EndpointError(f"it may be any of {', '.join(found)}, and nothing tells which")


def _failure(what: str, error: Exception) -> Answer:
    """What those hear whose batch met `error`: that nobody can be asked here, or that there is no answer this time."""
    is_final = isinstance(error, ActError) and (
        error.is_spent or error.status in REFUSED_ACCESS + REFUSED_REQUEST
    )
    return (UNUSABLE if is_final else UNANSWERED), no_answer(f"{what}: {error}")
