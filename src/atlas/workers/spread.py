"""Distributes independent jobs over processes: `spread(open_worker, jobs, workers)`.

The arguments can be pickled, so workers on other machines need no others.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import islice
from typing import Any, TypeVar

from atlas.errors import RunError
from atlas.workers.processes import (
    interrupts_held_back,
    is_told_to_stop,
    leave_with_parent,
    stop_jobs_when_told,
    tell_to_stop,
    work_until_told,
)
from atlas.workers.ray_workers import RayConfig, spread_over_ray

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")
Work = Callable[[JobT], ResultT]
OpenWorker = Callable[[], AbstractContextManager[Work[JobT, ResultT]]]

_work: Work[Any, Any] | None = None
# Why this worker could not be opened.
_fault: Exception | None = None


def spread(
    open_worker: OpenWorker[JobT, ResultT], jobs: Iterable[JobT], workers: int | RayConfig
) -> Iterator[ResultT]:
    """Yield the results of all jobs in the order of completion.

    Args:
        open_worker: a context manager that opens the resources of a worker and gives the function
            that does a job; a module-level function or a `partial` of one.
        workers: number of processes; 1 runs the jobs in this process. Or a Ray cluster.

    Raises:
        RunError: a worker process was killed.
        Exception: what opening a worker, or a job, raised.
    """
    if isinstance(workers, RayConfig):
        yield from spread_over_ray(open_worker, jobs, workers)
        return
    if workers == 1:
        with open_worker() as work:
            yield from map(work, jobs)
        return
    # A forked child would copy locks of the parent's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _open_in_process, (open_worker,))
    is_whole = False
    try:
        waiting: set[Future[ResultT]] = set()
        remaining = iter(jobs)
        while True:
            for job in islice(remaining, 2 * workers - len(waiting)):
                with interrupts_held_back():
                    waiting.add(pool.submit(_do_in_process, job))
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
        is_whole = True
    except BrokenProcessPool:
        raise RunError(
            "a worker process was killed, perhaps because of missing memory. "
            "Run the command again with fewer workers; finished work is kept."
        ) from None
    finally:
        if not is_whole:
            # After Ctrl-C or an error, nobody waits for the jobs that are running.
            tell_to_stop(list((pool._processes or {}).values()))
        pool.shutdown(wait=True, cancel_futures=True)


def _open_in_process(open_worker: OpenWorker[Any, Any]) -> None:
    global _work, _fault
    leave_with_parent()
    stop_jobs_when_told()
    stack = ExitStack()
    # The context is left when the process ends: a child of multiprocessing skips atexit.
    multiprocessing.util.Finalize(None, stack.close, exitpriority=10)
    try:
        with suppress(KeyboardInterrupt), work_until_told():
            _work = stack.enter_context(open_worker())
    except Exception as error:
        # Its first job raises it, in the process that asked for the job. An initializer that raises
        # breaks the pool, and only its traceback says why.
        _fault = error


def _do_in_process(job: Any) -> Any:
    # Nobody reads the result of a job that was waiting when the work was stopped.
    if is_told_to_stop():
        return None
    if _fault is not None:
        raise _fault
    assert _work is not None
    with work_until_told():
        return _work(job)
