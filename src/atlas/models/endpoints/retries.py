"""Retries: pauses between tries, and a limit on concurrent tries that adapts to the server.

If a server reports overload (429, 503, 529), the limit is halved. It then grows by one for each
round of answers, as in TCP (RFC 5681). No try starts before the time in the server's Retry-After.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from atlas.errors import EndpointError
from atlas.models.endpoints.endpoint import FIRST_PAUSE, LONGEST_PAUSE, Endpoint

AnswerT = TypeVar("AnswerT")

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """A try failed, and another may succeed. `Retries` catches this error.

    `wait_seconds` is the pause that the server requests, if any. `is_too_much` means that the
    server is overloaded.
    """

    def __init__(
        self, message: str, wait_seconds: float | None = None, is_too_much: bool = False
    ) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.is_too_much = is_too_much


class Retries:
    """The tries of many questions to one server, called `server` in messages."""

    def __init__(self, endpoint: Endpoint, server: str) -> None:
        self._max_retries = endpoint.max_retries
        self._server = server
        # The limit on concurrent tries. It may have a fraction, which grows until the next whole
        # number.
        self._limit = math.inf
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed_until = -math.inf
        self._lowered_at = -math.inf

    async def run(self, attempt: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """The result of the first successful try.

        Raises:
            EndpointError: the last try failed. Other errors of a try are not caught.
        """
        for number in range(self._max_retries + 1):
            await self._enter()
            started = time.monotonic()
            try:
                answer = await attempt()
            except BusyError as error:
                if error.is_too_much:
                    self._lower(started, error.wait_seconds)
                if number == self._max_retries:
                    raise EndpointError(str(error)) from None
                usual = min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) + random.uniform(0, FIRST_PAUSE)
                pause = usual if error.wait_seconds is None else error.wait_seconds
            else:
                self._limit += 1 / self._limit
                return answer
            finally:
                self._leave()
            await asyncio.sleep(pause)
        raise AssertionError("the last try raises")

    async def _enter(self) -> None:
        """Wait in order for a place among the concurrent tries, then for the end of a pause."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._give_places()
        try:
            await turn
            while (left := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(left)
        except asyncio.CancelledError:
            # This try may already have been given a place.
            if not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        self._under_way -= 1
        self._give_places()

    def _give_places(self) -> None:
        """Give free places to the tries that have waited longest."""
        while self._waiting and self._under_way + 1 <= self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._under_way += 1

    def _lower(self, started: float, wait_seconds: float | None) -> None:
        now = time.monotonic()
        if wait_seconds is not None:
            self._closed_until = max(self._closed_until, now + wait_seconds)
        # This try was already running when the limit was lowered.
        if started < self._lowered_at:
            return
        if math.isinf(self._lowered_at):
            message = "%s is overloaded; fewer requests are sent to it at a time from now on"
            logger.warning(message, self._server)
        self._limit = max(1.0, self._under_way // 2)
        self._lowered_at = now
