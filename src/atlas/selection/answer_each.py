"""Trajectories that are asked about side by side: `trajectories -> one answer each`, within limits, giving up in time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from atlas.errors import CostLimitError, EndpointError
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.cost_meter import CostMeter
from atlas.selection.scores import StepScores

AnswerT = TypeVar("AnswerT", Selection, StepScores)
Ask = Callable[[Trajectory], AnswerT | Awaitable[AnswerT]]


async def answer_each(
    ask: Ask[AnswerT],
    max_in_flight: int,
    missing: Iterator[Trajectory],
    keep: Callable[[AnswerT], None],
    meter: CostMeter | None,
    *,
    keeps_answers: bool,
) -> list[Problem]:
    """What went wrong for trajectories without an answer; each answer is given to `keep` as it comes.

    Gives up when nothing comes back any more, or when the next trajectory does not fit under the limit of `meter`. After what
    ends the run (a key that is refused, say), nothing is asked any more, but with `keeps_answers` those under way are waited
    for and kept: they are paid.
    """
    unanswered: list[Problem] = []
    in_a_row = 0
    is_over = False
    too_dear: CostLimitError | None = None
    gate = (
        asyncio.Lock()
    )  # one worker at a time waits for room, so that trajectories are asked about in their order
    room = asyncio.Event()

    async def next_trajectory() -> Trajectory | None:
        nonlocal too_dear
        async with gate:
            trajectory = None if is_over or too_dear else next(missing, None)
            if trajectory is None or meter is None:
                return trajectory
            estimated_usd = meter.estimate_usd(trajectory)
            while not meter.reserve(trajectory.id, estimated_usd):
                if meter.is_idle:
                    too_dear = _too_dear(meter, trajectory, estimated_usd)
                    return None
                room.clear()
                await room.wait()
            return trajectory

    async def answer(trajectory: Trajectory) -> AnswerT:
        given: AnswerT | None = None
        try:
            result = ask(trajectory)
            given = await result if inspect.isawaitable(result) else result
            return given
        finally:
            if meter is not None:
                meter.release(trajectory.id, given)
            room.set()

    def count_unanswered(trajectory: Trajectory, error: EndpointError) -> None:
        nonlocal in_a_row
        unanswered.append(
            Problem(where=f"trajectory {trajectory.id}", reason=str(error), item=trajectory.id)
        )
        in_a_row += 1
        if in_a_row >= max(5, 2 * max_in_flight):
            raise EndpointError(
                f"{in_a_row} requests in a row got no answer. The last: {error} Run the same command again later."
            )

    async def work() -> None:
        nonlocal in_a_row, is_over
        try:
            while (trajectory := await next_trajectory()) is not None and not is_over:
                try:
                    keep(await answer(trajectory))
                    in_a_row = 0
                except EndpointError as error:
                    count_unanswered(trajectory, error)
        except BaseException:
            is_over = True
            raise

    workers = [asyncio.create_task(work()) for _ in range(max_in_flight)]
    try:
        done, others = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        failures = [error for worker in done if (error := worker.exception()) is not None]
        if failures and others and keeps_answers and not isinstance(failures[0], EndpointError):
            await asyncio.wait(others)
        if failures:
            raise failures[0]
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if too_dear is not None:
        raise too_dear
    return unanswered


def _too_dear(meter: CostMeter, trajectory: Trajectory, estimated_usd: float) -> CostLimitError:
    return CostLimitError(
        f"this run has paid {meter.cost_usd:.4f} USD, and trajectory '{trajectory.id}' is expected to take about "
        f"{meter.expect_usd(estimated_usd):.4f} more: together over max_cost_usd={meter.limit_usd:g}. What was answered is kept: run the "
        "same command again with a higher limit (--max-cost) to go on."
    )
