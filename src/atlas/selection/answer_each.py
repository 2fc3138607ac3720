"""Asks about many trajectories concurrently: `trajectories -> one answer each`, within limits.

It gives up early if no answers arrive.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from atlas.errors import CostLimitError, EndpointError
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.cost_meter import CostMeter
from atlas.selection.scores import StepScores
from atlas.selection.selectors.base import Concurrency, problem_with

AnswerT = TypeVar("AnswerT", Selection, StepScores)
Ask = Callable[[Trajectory], AnswerT | Awaitable[AnswerT]]


async def answer_each(
    ask: Ask[AnswerT],
    concurrency: Concurrency,
    missing: Iterator[Trajectory],
    keep: Callable[[AnswerT], None],
    meter: CostMeter | None,
) -> list[Problem]:
    """Pass each answer to `keep` at once; return a problem for each trajectory without an answer.

    It gives up when answers stop arriving, or when the next trajectory could exceed the limit of
    `meter`. After an error that ends the run (for example, a refused key), nothing more is asked.
    With `concurrency.keeps_answers`, answers in flight are still waited for and kept, because they
    are paid for.
    """
    return await _Round(ask, concurrency, missing, keep, meter).run()


@dataclass
class _Round(Generic[AnswerT]):
    """Workers that take the next trajectory, ask about it and keep the answer."""

    ask: Ask[AnswerT]
    concurrency: Concurrency
    missing: Iterator[Trajectory]
    keep: Callable[[AnswerT], None]
    meter: CostMeter | None
    unanswered: list[Problem] = field(default_factory=list)
    num_unanswered_in_a_row: int = 0
    is_over: bool = False
    over_limit: CostLimitError | None = None
    # Only one worker at a time waits for budget, so that trajectories keep their order.
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    room: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> list[Problem]:
        workers = [asyncio.create_task(self._work()) for _ in range(self.concurrency.trajectories)]
        try:
            done, others = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for failure in [error for worker in done if (error := worker.exception())]:
                is_waited_for = self.concurrency.keeps_answers
                if others and is_waited_for and not isinstance(failure, EndpointError):
                    await asyncio.wait(others)
                raise failure
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self.over_limit is not None:
            raise self.over_limit
        return self.unanswered

    async def _work(self) -> None:
        try:
            while (trajectory := await self._next_trajectory()) is not None and not self.is_over:
                try:
                    self.keep(await self._answer(trajectory))
                    self.num_unanswered_in_a_row = 0
                except EndpointError as error:
                    self._count_unanswered(trajectory, error)
        except BaseException:
            self.is_over = True
            raise

    async def _next_trajectory(self) -> Trajectory | None:
        async with self.gate:
            stops = self.is_over or self.over_limit is not None
            trajectory = None if stops else next(self.missing, None)
            meter = self.meter
            if trajectory is None or meter is None:
                return trajectory
            estimated_usd = meter.estimate_usd(trajectory)
            while not meter.reserve(trajectory.id, estimated_usd):
                if meter.is_idle:
                    self.over_limit = meter.limit_error(trajectory.id, estimated_usd)
                    return None
                self.room.clear()
                await self.room.wait()
            return trajectory

    async def _answer(self, trajectory: Trajectory) -> AnswerT:
        given: AnswerT | None = None
        try:
            result = self.ask(trajectory)
            given = await result if inspect.isawaitable(result) else result
            return given
        finally:
            if self.meter is not None:
                self.meter.release(trajectory.id, given)
            self.room.set()

    def _count_unanswered(self, trajectory: Trajectory, error: EndpointError) -> None:
        self.unanswered.append(problem_with(trajectory.id, str(error)))
        self.num_unanswered_in_a_row += 1
        if self.num_unanswered_in_a_row >= max(5, 2 * self.concurrency.trajectories):
            raise EndpointError(
                f"{self.num_unanswered_in_a_row} requests in a row got no answer. The last: "
                f"{error} Run the same command again later."
            )
