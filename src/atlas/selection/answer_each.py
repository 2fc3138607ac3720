"""Trajectories that are asked about side by side: `trajectories -> one answer each`, within limits.

Gives up in time where nothing comes back.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

from atlas.errors import CostLimitError, EndpointError
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.cost_meter import CostMeter
from atlas.selection.scores import StepScores
from atlas.selection.selectors.base import Concurrency

AnswerT = TypeVar("AnswerT", Selection, StepScores)
Ask = Callable[[Trajectory], AnswerT | Awaitable[AnswerT]]


async def answer_each(
    ask: Ask[AnswerT],
    concurrency: Concurrency,
    missing: Iterator[Trajectory],
    keep: Callable[[AnswerT], None],
    meter: CostMeter | None,
) -> list[Problem]:
    """What went wrong for trajectories without an answer; `keep` is given each answer as it comes.

    Gives up when nothing comes back any more, or when the next trajectory does not fit under the
    limit of `meter`. After an error that ends the run (a key that is refused, say), nothing is
    asked any more, but with `concurrency.keeps_answers` those under way are waited for and kept:
    they are paid.
    """
    return await _Round(ask, concurrency, missing, keep, meter).run()


class _Round(Generic[AnswerT]):
    """Workers that take the next trajectory, ask about it and keep the answer."""

    def __init__(
        self,
        ask: Ask[AnswerT],
        concurrency: Concurrency,
        missing: Iterator[Trajectory],
        keep: Callable[[AnswerT], None],
        meter: CostMeter | None,
    ) -> None:
        self._ask: Ask[AnswerT] = ask
        self._concurrency = concurrency
        self._missing = missing
        self._keep: Callable[[AnswerT], None] = keep
        self._meter = meter
        self._unanswered: list[Problem] = []
        self._in_a_row = 0
        self._is_over = False
        self._over_limit: CostLimitError | None = None
        # One worker at a time waits for room, so that trajectories are asked about in their order.
        self._gate = asyncio.Lock()
        self._room = asyncio.Event()

    async def run(self) -> list[Problem]:
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency.trajectories)]
        try:
            done, others = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            failures = [error for worker in done if (error := worker.exception()) is not None]
            if failures and others and self._is_waited_for(failures[0]):
                await asyncio.wait(others)
            if failures:
                raise failures[0]
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self._over_limit is not None:
            raise self._over_limit
        return self._unanswered

    def _is_waited_for(self, failure: BaseException) -> bool:
        return self._concurrency.keeps_answers and not isinstance(failure, EndpointError)

    async def _work(self) -> None:
        try:
            while (trajectory := await self._next_trajectory()) is not None and not self._is_over:
                try:
                    self._keep(await self._answer(trajectory))
                    self._in_a_row = 0
                except EndpointError as error:
                    self._count_unanswered(trajectory, error)
        except BaseException:
            self._is_over = True
            raise

    async def _next_trajectory(self) -> Trajectory | None:
        async with self._gate:
            stops = self._is_over or self._over_limit is not None
            trajectory = None if stops else next(self._missing, None)
            meter = self._meter
            if trajectory is None or meter is None:
                return trajectory
            estimated_usd = meter.estimate_usd(trajectory)
            while not meter.reserve(trajectory.id, estimated_usd):
                if meter.is_idle:
                    self._over_limit = _limit_error(meter, trajectory, estimated_usd)
                    return None
                self._room.clear()
                await self._room.wait()
            return trajectory

    async def _answer(self, trajectory: Trajectory) -> AnswerT:
        given: AnswerT | None = None
        try:
            result = self._ask(trajectory)
            given = await result if inspect.isawaitable(result) else result
            return given
        finally:
            if self._meter is not None:
                self._meter.release(trajectory.id, given)
            self._room.set()

    def _count_unanswered(self, trajectory: Trajectory, error: EndpointError) -> None:
        where = f"trajectory {trajectory.id}"
        self._unanswered.append(Problem(where=where, reason=str(error), item=trajectory.id))
        self._in_a_row += 1
        if self._in_a_row >= max(5, 2 * self._concurrency.trajectories):
            raise EndpointError(
                f"{self._in_a_row} requests in a row got no answer. The last: {error} Run the same "
                "command again later."
            )


def _limit_error(meter: CostMeter, trajectory: Trajectory, estimated_usd: float) -> CostLimitError:
    return CostLimitError(
        f"this run has paid {meter.cost_usd:.4f} USD, and trajectory '{trajectory.id}' is expected "
        f"to take about {meter.expect_usd(estimated_usd):.4f} more: together over "
        f"max_cost_usd={meter.limit_usd:g}. What was answered is kept: run the same command again "
        "with a higher max_cost_usd to go on."
    )
