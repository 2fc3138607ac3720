"""Jobs spread over processes: all results come, and what a worker opened is closed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from atlas.errors import ModelError, ProgramError, RunError
from atlas.workers.spread import spread


@contextmanager
def open_squarer(folder: Path) -> Iterator[Callable[[int], int]]:
    (folder / f"{os.getpid()}.open").touch()
    yield square
    (folder / f"{os.getpid()}.closed").touch()


def square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_job_is_done_once_and_what_a_worker_opened_is_closed(
    tmp_path: Path, num_workers: int
) -> None:
    results = spread(partial(open_squarer, tmp_path), range(20), num_workers)
    assert sorted(results) == [number * number for number in range(20)]
    opened = {path.stem for path in tmp_path.glob("*.open")}
    assert 1 <= len(opened) <= num_workers
    assert opened == {path.stem for path in tmp_path.glob("*.closed")}
    assert (str(os.getpid()) in opened) == (num_workers == 1)


def test_a_worker_that_was_killed_ends_the_run_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Run the command again with fewer workers"):
        list(spread(partial(open_squarer, tmp_path), [1, -1, 2], 2))


@contextmanager
def open_nothing(error: Exception) -> Iterator[Callable[[int], int]]:
    raise error
    yield square


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(
    "error", [ProgramError("vllm", "Install it."), ModelError("no such model"), KeyError("name")]
)
def test_what_opening_a_worker_raised_is_raised_as_it_is(
    capfd: pytest.CaptureFixture[str], error: Exception, num_workers: int
) -> None:
    with pytest.raises(type(error)) as caught:
        list(spread(partial(open_nothing, error), [1, 2, 3], num_workers))
    assert str(caught.value) == str(error)
    assert "initializer" not in capfd.readouterr().err


@contextmanager
def open_sleeper(folder: Path) -> Iterator[Callable[[float], float]]:
    def sleep(seconds: float) -> float:
        (folder / f"{os.getpid()}.began").touch()
        time.sleep(seconds)
        return seconds

    yield sleep
    (folder / f"{os.getpid()}.closed").touch()


def test_nobody_waits_for_the_jobs_that_run_when_the_work_is_stopped(tmp_path: Path) -> None:
    results = spread(partial(open_sleeper, tmp_path), [0.0, *[60.0] * 8], 2)
    assert next(results) == 0.0
    while len(list(tmp_path.glob("*.began"))) < 2:
        time.sleep(0.05)
    began = time.monotonic()
    # As after Ctrl-C: the loop over the results ends early.
    cast("Generator[float, None, None]", results).close()
    assert time.monotonic() - began < 30
    assert len(list(tmp_path.glob("*.closed"))) == 2
