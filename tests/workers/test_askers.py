"""Questions over several processes: many at a time in each, errors as they are, nothing left."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from atlas.errors import ConfigError, RunError
from atlas.workers.askers import open_askers
from atlas.workers.ray_workers import RayConfig


@asynccontextmanager
async def open_squarer(folder: Path) -> AsyncIterator[Callable[[int], Awaitable[int]]]:
    (folder / f"{os.getpid()}.open").touch()
    together = [0, 0]

    async def square(number: int) -> int:
        if number == -1:
            raise ConfigError("no negative numbers")
        if number == -2:
            os.kill(os.getpid(), signal.SIGKILL)
        together[0] += 1
        together[1] = max(together)
        await asyncio.sleep(0.05)
        together[0] -= 1
        return number * number

    yield square
    (folder / f"{os.getpid()}.closed").write_text(str(together[1]))


async def ask_all(folder: Path, numbers: list[int], workers: int | RayConfig) -> list[int]:
    async with open_askers(partial(open_squarer, folder), workers) as (ask, num_workers):
        assert num_workers == 2
        return await asyncio.gather(*map(ask, numbers))


def test_each_process_answers_many_at_a_time_and_closes_what_it_opened(tmp_path: Path) -> None:
    results = asyncio.run(ask_all(tmp_path, list(range(20)), 2))
    assert results == [number * number for number in range(20)]
    closed = {path.stem: int(path.read_text()) for path in tmp_path.glob("*.closed")}
    assert {path.stem for path in tmp_path.glob("*.open")} == closed.keys()
    assert len(closed) == 2
    assert min(closed.values()) > 1
    assert not multiprocessing.active_children()


def test_an_error_is_raised_as_it_is_and_a_killed_process_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no negative numbers$"):
        asyncio.run(ask_all(tmp_path, [1, -1], 2))
    with pytest.raises(RunError, match="a worker process was killed"):
        asyncio.run(ask_all(tmp_path, [1, -2], 2))
    assert not multiprocessing.active_children()
