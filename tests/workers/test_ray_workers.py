"""Jobs over a Ray cluster of two nodes: the same results, and a lost node loses nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from atlas.errors import ConfigError, RunError
from atlas.workers.ray_workers import RayConfig
from atlas.workers.spread import spread

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes on this machine, each with one worker."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@contextmanager
def open_squarer(folder: Path) -> Iterator[Callable[[int], int]]:
    (folder / f"{os.getpid()}.open").touch()
    yield partial(square, folder)
    (folder / f"{os.getpid()}.closed").touch()


def square(folder: Path, number: int) -> int:
    if number == -1:
        raise ConfigError("no negative numbers")
    if number == 7 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number * number


def test_two_workers_do_every_job_once_and_close_what_they_opened(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "killed").touch()
    results = spread(partial(open_squarer, tmp_path), range(40), RayConfig(address=address))
    assert sorted(results) == [number * number for number in range(40)]
    opened = {path.stem for path in tmp_path.glob("*.open")}
    assert len(opened) == 2
    assert opened == {path.stem for path in tmp_path.glob("*.closed")}


def test_a_worker_that_was_killed_is_started_again_and_its_job_done_again(
    address: str, tmp_path: Path
) -> None:
    results = spread(partial(open_squarer, tmp_path), range(20), RayConfig(address=address))
    assert sorted(results) == [number * number for number in range(20)]
    assert (tmp_path / "killed").exists()


def test_an_error_of_a_job_is_raised_as_it_is(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no negative numbers$"):
        list(spread(partial(open_squarer, tmp_path), [1, -1], RayConfig(address=address)))


def test_too_many_workers_and_an_absent_cluster_are_errors(address: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has room for 2 workers"):
        list(
            spread(partial(open_squarer, tmp_path), [1], RayConfig(address=address, num_workers=9))
        )
    with pytest.raises(RunError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        list(spread(partial(open_squarer, tmp_path), [1], RayConfig(address="127.0.0.1:1")))


def test_questions_over_a_cluster_are_answered_many_at_a_time(address: str, tmp_path: Path) -> None:
    import asyncio

    from test_askers import ask_all

    numbers = list(range(20))
    results = asyncio.run(ask_all(tmp_path, numbers, RayConfig(address=address)))
    assert results == [number * number for number in numbers]
    assert min(int(path.read_text()) for path in tmp_path.glob("*.closed")) > 1
