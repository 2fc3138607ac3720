"""Trajectories that are asked about side by side: `trajectories -> one answer each in the log`, within limits, giving up in time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from atlas.errors import CostLimitError, EndpointError
from atlas.record_files import RecordLog
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.costs import CostMeter
from atlas.selection.scores import StepScores
from atlas.selection.selectors.base import SpentError

AnswerT = TypeVar("AnswerT", Selection, StepScores)
Ask = Callable[[Trajectory], AnswerT | Awaitable[AnswerT]]


async def answer_each(
    ask: Ask[AnswerT],
    max_in_flight: int,
    missing: Iterator[Trajectory],
    log: RecordLog[AnswerT],
    advance: Callable[[], None],
    meter: CostMeter | None,
    *,
    keeps_answers: bool,
) -> list[Problem]:
    """What went wrong for trajectories without an answer. Gives up when nothing comes back any more, or when enough is spent.

    After what ends the run (a key that is refused, say), nothing is asked any more, but with `keeps_answers` those under way are
    waited for and kept: they are paid.
    """
    unanswered: list[Problem] = []
    in_a_row = 0
    is_spent = is_over = False

    async def work() -> None:
        nonlocal in_a_row, is_spent
        for trajectory in missing:  # shared: each worker takes the next one
            if is_over:
                return
            if meter is not None and meter.is_reached:
                is_spent = True
                return  # the others finish what they have asked, for it is paid
            try:
                result = ask(trajectory)
                answer = await result if inspect.isawaitable(result) else result
            except EndpointError as error:
                unanswered.append(Problem(where=f"trajectory {trajectory.id}", reason=str(error), item=trajectory.id))
                if meter is not None and isinstance(error, SpentError):
                    meter.add(error.usage, is_answer=False)
                in_a_row += 1
                if in_a_row >= max(5, 2 * max_in_flight):
                    raise EndpointError(
                        f"{in_a_row} requests in a row got no answer. The last: {error} Run the same command again later."
                    ) from None
                continue
            in_a_row = 0
            log.append(answer)
            if meter is not None:
                count_cost(meter, answer)
            advance()

    workers = [asyncio.create_task(work()) for _ in range(max_in_flight)]
    try:
        done, others = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        failures = [error for worker in done if (error := worker.exception()) is not None]
        if failures and others and keeps_answers and not isinstance(failures[0], EndpointError):
            is_over = True
            await asyncio.wait(others)
        if failures:
            raise failures[0]
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if meter is not None and is_spent:
        raise CostLimitError(
            f"the answers of this run have cost {meter.cost_usd:.4f} USD, and max_cost_usd is {meter.limit_usd:g}. They are kept: run the "
            "same command again with a higher limit (--max-cost) to go on."
        )
    return unanswered


def count_cost(meter: CostMeter, answer: Selection | StepScores) -> None:
    if isinstance(answer, Selection):
        meter.add(answer.usage, is_answer=answer.problem is None)
