"""Asking again, and fewer at a time where the server says that it is too much."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from atlas.errors import EndpointError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints import retries
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.openai_api import ChatClient
from atlas.models.endpoints.retries import BusyError, Retries
from atlas.records import Message
from tests.models.endpoints.chat_server import Reply, completion, failure, serve


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.05)


class Server:
    """Answers after `seconds`, and refuses any request beyond `most` at a time."""

    def __init__(self, most: int, seconds: float = 0.02, wait_seconds: float | None = None) -> None:
        self.most = most
        self.seconds = seconds
        self.wait_seconds = wait_seconds
        self.under_way = self.peak = self.num_refused = self.num_asked = 0

    async def __call__(self) -> str:
        self.num_asked += 1
        if self.under_way >= self.most:
            self.num_refused += 1
            raise BusyError("too many", self.wait_seconds, is_too_much=True)
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
            return "hi"
        finally:
            self.under_way -= 1


def ask_many(
    attempt: Callable[[], Awaitable[str]], times: int, in_flight: int, max_retries: int
) -> list[str | BaseException]:
    async def run() -> list[str | BaseException]:
        several = Retries(Endpoint(max_retries=max_retries), "the server")
        left = iter(range(times))
        found: list[str | BaseException] = []

        async def work() -> None:
            for _ in left:
                try:
                    found.append(await several.run(attempt))
                except EndpointError as error:
                    found.append(error)

        await asyncio.gather(*[work() for _ in range(in_flight)])
        return found

    return asyncio.run(run())


def test_a_server_that_takes_few_requests_answers_all_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(most=4)
    assert ask_many(server, times=300, in_flight=64, max_retries=5) == ["hi"] * 300
    assert server.peak == 4
    assert server.num_refused < 150, "without a limit each round would be refused, 60 at a time"
    assert [record.message for record in caplog.records] == [
        "the server is overloaded; fewer requests are sent to it at a time from now on"
    ]


def test_a_server_that_takes_all_requests_gets_all_at_once() -> None:
    server = Server(most=64)
    assert ask_many(server, times=64, in_flight=64, max_retries=0) == ["hi"] * 64
    assert server.peak == 64


def test_a_server_that_recovers_gets_more_requests_again() -> None:
    server = Server(most=2)

    async def attempt() -> str:
        if server.num_asked > 60:
            server.most = 64
        if server.num_asked == 61:
            server.peak = 0
        return await server()

    assert ask_many(attempt, times=600, in_flight=32, max_retries=8) == ["hi"] * 600
    assert server.peak > 10


def test_no_request_is_sent_before_the_server_wants_it() -> None:
    server = Server(most=1, seconds=0.0, wait_seconds=0.3)
    times: list[float] = []

    async def attempt() -> str:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise BusyError("later", 0.3, is_too_much=True)
        return await server()

    assert ask_many(attempt, times=5, in_flight=1, max_retries=1) == ["hi"] * 5
    assert times[1] - times[0] >= 0.29


def test_a_broken_server_does_not_lower_the_limit() -> None:
    tries: list[int] = []

    async def attempt() -> str:
        tries.append(1)
        if len(tries) % 2:
            raise BusyError("broken")
        await asyncio.sleep(0.01)
        return "hi"

    assert ask_many(attempt, times=40, in_flight=40, max_retries=20) == ["hi"] * 40


def test_the_last_failure_is_reported_and_another_error_at_once() -> None:
    tries: list[int] = []

    async def busy() -> str:
        tries.append(1)
        raise BusyError(f"busy {len(tries)}")

    (said,) = ask_many(busy, times=1, in_flight=1, max_retries=3)
    assert str(said) == "busy 4"

    async def final() -> str:
        tries.append(1)
        raise EndpointError("no such path")

    tries.clear()
    (said,) = ask_many(final, times=1, in_flight=1, max_retries=3)
    assert (str(said), len(tries)) == ("no such path", 1)


def test_a_request_cancelled_while_waiting_takes_no_place() -> None:
    async def run() -> None:
        several = Retries(Endpoint(max_retries=0), "the server")
        server = Server(most=1, seconds=0.05)
        with pytest.raises(EndpointError):
            await asyncio.gather(*[several.run(server) for _ in range(3)])
        # Now there are few at a time.
        await asyncio.sleep(0.1)
        server.most = 64
        tasks = [asyncio.create_task(several.run(server)) for _ in range(6)]
        await asyncio.sleep(0.01)
        for task in tasks[1:4]:
            task.cancel()
        said = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), timeout=5)
        assert [answer for answer in said if answer == "hi"] == ["hi"] * 3

    asyncio.run(run())


def test_a_real_server_with_a_limit_answers_all_of_many() -> None:
    places = threading.Semaphore(4)

    def answer(body: dict[str, Any], number: int) -> Reply:
        if not places.acquire(blocking=False):
            return failure(429, "too many at a time")
        try:
            threading.Event().wait(0.02)
            return completion("hi")
        finally:
            places.release()

    async def run(url: str) -> list[Completion]:
        client = ChatClient("test-model", Endpoint(base_url=url, max_retries=5))
        try:
            return await asyncio.gather(
                *[
                    client.complete((Message(role="user", content="hi"),), Sampling())
                    for _ in range(150)
                ]
            )
        finally:
            await client.close()

    with serve(answer) as server:
        assert {answer.text for answer in asyncio.run(run(server.url))} == {"hi"}


def few_at_a_time() -> Retries:
    """One at a time, and it stays so."""
    several = Retries(Endpoint(max_retries=0), "the server")
    several._limit = 1.0
    return several


def test_places_are_given_first_come_first_served() -> None:
    async def run() -> None:
        several = few_at_a_time()
        order: list[str] = []

        async def work(name: str) -> None:
            for _ in range(4):
                await several.run(lambda: attempt(name))

        async def attempt(name: str) -> None:
            order.append(name)
            await asyncio.sleep(0)
            several._limit = 1.0

        await asyncio.gather(*[work(name) for name in "abc"])
        assert "".join(order) == "abc" * 4

    asyncio.run(run())


def test_a_place_cancelled_during_a_pause_goes_to_the_next() -> None:
    async def run() -> None:
        several = few_at_a_time()
        several._closed_until = time.monotonic() + 0.2
        server = Server(most=1)
        tasks = [asyncio.create_task(several.run(server)) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        said = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), timeout=5)
        assert said[1:] == ["hi", "hi"]

    asyncio.run(run())
