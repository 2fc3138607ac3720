"""Asking again: which pause comes before the next try, and how many tries are under way at a time.

A server that is asked for more than it gives says so (429, 503, 529). Then fewer are asked at a time, half of those that were,
and one more for each round of answers: additive increase, multiplicative decrease, as TCP does it (RFC 5681). When it says how
long it wants to be left alone, nobody is asked before.
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
from atlas.models.endpoints.endpoint import FIRST_PAUSE, LONGEST_PAUSE

AnswerT = TypeVar("AnswerT")

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """A try got no answer, and another may get one. Only `Retries` hears of it.

    Args:
        wait_seconds: how long the server wants to be left alone, where it says.
        is_too_much: whether it was asked for more than it gives, rather than broken.
    """

    def __init__(
        self, message: str, wait_seconds: float | None = None, is_too_much: bool = False
    ) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.is_too_much = is_too_much


class Retries:
    """Tries of many questions to one server, each at most `max_retries` times after the first."""

    def __init__(self, max_retries: int, server: str) -> None:
        self._max_retries = max_retries
        self._server = server
        self._limit = math.inf  # tries under way at a time; a fraction is on its way to one more
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed_until = -math.inf
        self._lowered_at = -math.inf

    async def run(self, attempt: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """The answer of the first try that gets one.

        Raises:
            EndpointError: the last try got none either. Other errors of a try pass through.
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
        raise AssertionError("a last try that got nothing has raised")

    async def _enter(self) -> None:
        """Take a place among those under way, in the order of coming, and wait there until the server wants to be asked."""
        if self._waiting or self._under_way + 1 > self._limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # the place that was given to this one is another's
                    self._leave()
                raise
        else:
            self._under_way += 1
        try:
            while (left := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(left)
        except asyncio.CancelledError:
            self._leave()
            raise

    def _leave(self) -> None:
        """Give a place up, and the free ones to those who wait longest."""
        self._under_way -= 1
        while self._waiting and self._under_way + 1 <= self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._under_way += 1

    def _lower(self, started: float, wait_seconds: float | None) -> None:
        now = time.monotonic()
        if wait_seconds is not None:
            self._closed_until = max(self._closed_until, now + wait_seconds)
        if (
            started < self._lowered_at
        ):  # it was under way when the others were too many, and says nothing new
            return
        if math.isinf(self._lowered_at):
            logger.warning(
                "%s is asked for more than it gives; it is asked for less at a time from now on",
                self._server,
            )
        self._limit = max(1.0, self._under_way // 2)
        self._lowered_at = now
