"""Many questions at a time over several processes: `await ask(job)`.

Unlike `spread`, where a process does one job after the other, each process here answers many jobs
at a time in one event loop, as the clients of models need it. `open_worker` is a picklable
function that gives an async context manager, whose value is the coroutine function that answers.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from atlas.errors import RunError
from atlas.workers.processes import interrupts_held_back, leave_with_parent
from atlas.workers.ray_workers import RETRIES, RayConfig, cluster, lost_worker, num_ray_workers

AskJob = Callable[[Any], Awaitable[Any]]
OpenAsker = Callable[[], AbstractAsyncContextManager[AskJob]]
CLOSING_SECONDS = 30.0


@asynccontextmanager
async def open_askers(
    open_worker: OpenAsker, workers: int | RayConfig
) -> AsyncIterator[tuple[AskJob, int]]:
    """A function that answers a job in the worker that has the fewest, and how many there are.

    Raises:
        RunError: a worker was killed, or the cluster cannot be used.
    """
    if isinstance(workers, RayConfig):
        async with _ray_askers(open_worker, workers) as opened:
            yield opened
        return
    loop = asyncio.get_running_loop()
    processes = [_Process(open_worker, loop) for _ in range(workers)]

    async def ask(job: Any) -> Any:
        return await min(processes, key=lambda one: len(one.waiting)).ask(job)

    try:
        yield ask, workers
    finally:
        for process in processes:
            process.close()


class _Process:
    """A child process, and the futures of the jobs that it has."""

    def __init__(self, open_worker: OpenAsker, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop = loop
        self._number = 0
        # A forked child would copy locks of the parent's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        with interrupts_held_back():
            self._process = context.Process(
                target=_serve, args=(theirs, pickle.dumps(open_worker)), daemon=True
            )
            self._process.start()
        theirs.close()
        threading.Thread(target=self._receive, daemon=True).start()

    async def ask(self, job: Any) -> Any:
        self._number += 1
        number, future = self._number, self._loop.create_future()
        self.waiting[number] = future
        try:
            self._connection.send((number, job))
        except OSError:
            self.waiting.pop(number, None)
            raise _killed() from None
        try:
            return await future
        finally:
            self.waiting.pop(number, None)

    def close(self) -> None:
        """Let the process close what it opened, and end."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(CLOSING_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _receive(self) -> None:
        with suppress(OSError, EOFError, RuntimeError):
            while True:
                number, result, error = self._connection.recv()
                self._loop.call_soon_threadsafe(self._answer, number, result, error)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._fail_all)

    def _answer(self, number: int, result: Any, error: Exception | None) -> None:
        future = self.waiting.get(number)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _fail_all(self) -> None:
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(_killed())


def _killed() -> RunError:
    return RunError(
        "a worker process was killed, perhaps because of missing memory. "
        "Run the command again with fewer workers; finished work is kept."
    )


def _serve(connection: Connection, open_worker: bytes) -> None:
    """The main function of a child process."""
    leave_with_parent()
    with suppress(KeyboardInterrupt):
        asyncio.run(_answer_jobs(connection, open_worker))


async def _answer_jobs(connection: Connection, open_worker: bytes) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    async with _OpenOnce(open_worker) as worker:
        while (message := await loop.run_in_executor(None, connection.recv)) is not None:
            number, job = message

            async def answer(number: int = number, job: Any = job) -> None:
                result, error = None, None
                try:
                    result = await worker.do(job)
                except Exception as raised:
                    error = _picklable(raised)
                connection.send((number, result, error))

            task = asyncio.create_task(answer())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _OpenOnce:
    """Opens the worker at its first job, so that an error of opening is the error of the job."""

    def __init__(self, open_worker: bytes) -> None:
        self._open_worker = open_worker
        self._stack = AsyncExitStack()
        self._ask: AskJob | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> _OpenOnce:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def do(self, job: Any) -> Any:
        async with self._lock:
            ask = self._ask
            if ask is None:
                open_worker: OpenAsker = pickle.loads(self._open_worker)
                ask = await self._stack.enter_async_context(open_worker())
                self._ask = ask
        return await ask(job)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


class _RayAsker:
    """Runs in a process of the cluster; Ray runs its coroutines in one event loop."""

    def __init__(self, open_worker: bytes, folder: str, paths: Sequence[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]
        with suppress(OSError):
            os.chdir(folder)
        self._worker = _OpenOnce(open_worker)

    async def do(self, job: bytes) -> Any:
        return await self._worker.do(pickle.loads(job))

    async def close(self) -> None:
        await self._worker.__aexit__()


@asynccontextmanager
async def _ray_askers(
    open_worker: OpenAsker, config: RayConfig
) -> AsyncIterator[tuple[AskJob, int]]:
    with cluster(config) as ray:
        kind = ray.remote(
            num_cpus=config.cpus_per_worker,
            num_gpus=config.gpus_per_worker,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
            max_concurrency=1000,
        )(_RayAsker)
        given = pickle.dumps(open_worker), str(Path.cwd()), sys.path
        askers = [kind.remote(*given) for _ in range(num_ray_workers(ray, config))]
        num_waiting = [0] * len(askers)

        async def ask(job: Any) -> Any:
            place = num_waiting.index(min(num_waiting))
            num_waiting[place] += 1
            try:
                return await askers[place].do.remote(pickle.dumps(job))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError as error:
                raise lost_worker(error) from None
            finally:
                num_waiting[place] -= 1

        try:
            yield ask, len(askers)
        finally:
            for asker in askers:
                with suppress(Exception):
                    await asyncio.wait_for(asker.close.remote(), CLOSING_SECONDS)
                ray.kill(asker)
