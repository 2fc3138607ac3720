"""Gets an answer for each trajectory, resumably: `trajectories + selector -> answers`.

The trajectories are read once, in order. Those that already have an answer are skipped; the
selector processes the others concurrently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from atlas.errors import DataError, EndpointError
from atlas.records import Problem, Trajectory
from atlas.selection.answer_each import AnswerT, Ask, answer_each
from atlas.selection.cost_meter import CostMeter
from atlas.selection.outlines import Outline
from atlas.selection.selectors.base import (
    Concurrency,
    HasClose,
    HasConcurrency,
    HasForecast,
    Scorer,
    Selector,
    TellsProgress,
)
from atlas.selection.trajectory_counts import count_steps, count_trajectories, read_sizes
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Run
from atlas.terminal.progress import say, show_progress
from atlas.workers.askers import OpenAsker, open_askers
from atlas.workers.ray_workers import RayConfig

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class AnswerJob(Generic[AnswerT]):
    """What to ask about each trajectory, and where to store the answers.

    Attributes:
        file: the name of the JSONL file, which is in the order of the trajectories.
        record: the class of its records.
        fail: makes the record of a trajectory without an answer from its id, number of steps and
            reason.
        open_asker: opens the selector in another process, for several workers.
    """

    selector: Selector | Scorer
    file: str
    record: type[AnswerT]
    ask: Ask[AnswerT]
    fail: Callable[[str, int, str], AnswerT]
    open_asker: OpenAsker | None = None
    workers: int | RayConfig = 1


def answer_all(
    run: Run,
    job: AnswerJob[AnswerT],
    trajectories: Path,
    kept: Mapping[str, AnswerT],
    meter: CostMeter | None,
    accept_unanswered: bool,
    limit: int | None = None,
    only: frozenset[str] | None = None,
) -> dict[str, Outline]:
    """Write the file of `job`, without asking about trajectories in it or in `kept`.

    Returns the outline of each trajectory, by id.

    Args:
        limit: the number of trajectories to look at, from the first one on; None: all.
        only: ask only about these trajectories; then the file stays unfinished.

    Raises:
        EndpointError: some trajectories got no answer, and `accept_unanswered` is false.
        DataError: two trajectories have the same id.
    """
    name = job.file.removesuffix(".jsonl")
    log = run.log(name, job.record, key=lambda answer: answer.trajectory_id)
    with closing(log):
        again: frozenset[str] = frozenset()
        if meter is not None:
            # The kept answers were paid for by another run.
            earlier = read_records(log.path, job.record) if log.sealed else log.records()
            paid = (answer for answer in earlier if answer.trajectory_id not in kept)
            again = meter.take_over(paid, count_trajectories(trajectories, limit) - len(kept))
        if log.sealed:
            asked_about = islice(read_trajectories(trajectories), limit)
            return {one.id: Outline.of(one) for one in asked_about}
        for id_ in kept.keys() - log.done:
            log.append(kept[id_])
        num_steps: dict[str, int] = {}
        outlines: dict[str, Outline] = {}
        done = log.done - again
        if only is not None:
            ids = frozenset(id_ for id_, _ in read_sizes(trajectories))
            done |= ids - only
        asked = _answer_missing(job, trajectories, log, done, num_steps, outlines, meter, limit)
        unanswered = _run(asked)
        if only is not None:
            run.write_problems(unanswered)
            return outlines
        if unanswered and not accept_unanswered:
            run.write_problems(unanswered)
            raise EndpointError(
                f"{len(unanswered)} of {len(num_steps)} trajectories got no answer, see "
                f"{run.path / 'problems.jsonl'}. The first: {unanswered[0].reason} The others are "
                "safe: run the same command again, which asks only for the missing ones. To finish "
                "without them, set accept_unanswered=true."
            )
        for problem in unanswered:
            id_ = str(problem.item)
            log.append(job.fail(id_, num_steps[id_], problem.reason))
        if meter is not None:
            meter.check_all(len(num_steps))
        log.seal(num_steps)
    return outlines


async def _answer_missing(
    job: AnswerJob[AnswerT],
    trajectories: Path,
    log: RecordLog[AnswerT],
    done: frozenset[str],
    num_steps: dict[str, int],
    outlines: dict[str, Outline],
    meter: CostMeter | None,
    limit: int | None,
) -> list[Problem]:
    """Ask about each trajectory not in `done`. Returns a problem for each that got no answer.

    `num_steps` and `outlines` are filled with those of every trajectory, by id.
    """
    selector = job.selector
    concurrency = selector.concurrency() if isinstance(selector, HasConcurrency) else Concurrency()
    if isinstance(selector, HasForecast):
        left = count_steps(trajectories, done, limit)
        say(selector.forecast(len(left), sum(left)))
    missing = _missing(trajectories, done, num_steps, outlines, limit)
    total = count_trajectories(trajectories, limit)
    with show_progress("selecting", total, len(done)) as bar:

        def keep(answer: AnswerT) -> None:
            log.append(answer)
            bar.advance()
            if meter is not None:
                meter.count(answer)

        if isinstance(selector, TellsProgress):
            selector.report_progress(bar.tell)
        try:
            if job.open_asker is None or job.workers == 1:
                return await answer_each(job.ask, concurrency, missing, keep, meter)
            if meter is not None:
                meter.pay_by_answer()
            async with open_askers(job.open_asker, job.workers) as (remote, num_workers):
                ask: Ask[AnswerT] = remote
                of_all = replace(concurrency, trajectories=concurrency.trajectories * num_workers)
                return await answer_each(ask, of_all, missing, keep, meter)
        finally:
            if isinstance(selector, HasClose):
                await selector.close()


def _missing(
    trajectories: Path,
    done: frozenset[str],
    num_steps: dict[str, int],
    outlines: dict[str, Outline],
    limit: int | None,
) -> Iterator[Trajectory]:
    for trajectory in islice(read_trajectories(trajectories), limit):
        if trajectory.id in num_steps:
            raise DataError(
                f"{trajectories} has the trajectory id '{trajectory.id}' more than once; "
                "selections refer to trajectories by id."
            )
        num_steps[trajectory.id] = len(trajectory.steps)
        outlines[trajectory.id] = Outline.of(trajectory)
        if trajectory.id not in done:
            yield trajectory


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run `work` to its end, even if an event loop is already running, as in a notebook.

    Ctrl-C stops it in both cases.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def note_and_work() -> ResultT:
        task = asyncio.current_task()
        assert task is not None
        running.set_result((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(max_workers=1) as thread:
        result = thread.submit(asyncio.run, note_and_work())
        try:
            return result.result()
        except BaseException:
            if not result.done():
                # Without this the thread would continue to send paid requests. If the loop has
                # ended in the meantime, the call fails.
                loop, task = running.result()
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(task.cancel)
            raise
