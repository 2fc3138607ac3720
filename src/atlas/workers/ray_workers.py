"""Distributes work over a Ray cluster: the same jobs as on one machine, through Ray's own API.

Each worker is a Ray actor that opens its resources once. A worker whose node is lost is started
again elsewhere, and its job is done again. The package and the files that paths name must be on
every machine.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.errors import DependencyError, RunError, first_line

# Jobs that are sent to each worker at a time, so that it never waits for the next one.
IN_FLIGHT = 2
# How often a worker is started again, and a job is repeated, after the loss of a node.
RETRIES = 3
CONNECT_SECONDS = 10.0
# The setting `workers`: a number of processes, or a Ray cluster.
Workers = Annotated[int, Field(ge=1)] | Literal["ray"]


class RayConfig(Config):
    """The Ray cluster for `workers=ray`."""

    address: str | None = Field(
        default=None,
        description="address of the cluster (host:port, ray://host:port, or auto); if none, the "
        "variable RAY_ADDRESS, else a cluster is started on this machine",
    )
    num_workers: int | None = Field(
        default=None,
        ge=1,
        description="number of workers; if none, as many as the cluster has room for",
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPU cores of each worker")
    gpus_per_worker: float = Field(default=0.0, ge=0, description="GPUs of each worker")


class WorkersConfig(Config):
    """Settings of a stage that runs in one process, in several, or over a Ray cluster."""

    workers: Annotated[Workers | None, SPEED_ONLY] = Field(
        default=1,
        description="number of processes, or `ray` for a Ray cluster; if none, one per CPU",
    )
    ray: Annotated[RayConfig, SPEED_ONLY] = Field(
        default=RayConfig(), description="the Ray cluster for workers=ray"
    )

    @property
    def chosen_workers(self) -> int | RayConfig:
        """What `spread` and `open_askers` take."""
        return self.ray if self.workers == "ray" else self.workers or os.cpu_count() or 1

    def needed_extras(self) -> tuple[str, ...]:
        return ("ray",) if self.workers == "ray" else ()


def spread_over_ray(open_worker: Any, jobs: Iterable[Any], config: RayConfig) -> Iterator[Any]:
    """Yield the results of all jobs in the order of completion, as `atlas.workers.spread.spread`.

    Raises:
        RunError: the cluster cannot be reached, has no room, or lost a worker too often.
        DependencyError: ray is not installed.
    """
    with cluster(config) as ray:
        workers = _start_workers(ray, open_worker, config)
        try:
            yield from _do_all(ray, workers, iter(jobs))
        finally:
            for worker in workers:
                with suppress(Exception):
                    # Lets the worker close what it opened.
                    ray.get(worker.close.remote(), timeout=10)
                ray.kill(worker)


@contextmanager
def cluster(config: RayConfig) -> Iterator[Any]:
    """The module `ray`, connected to the cluster."""
    try:
        import ray
    except ImportError:
        raise DependencyError("ray", "ray") from None
    is_joined_here = not ray.is_initialized()
    if is_joined_here:
        _join(ray, config)
    try:
        yield ray
    finally:
        if is_joined_here:
            ray.shutdown()


class _Worker:
    """Runs in a process of the cluster."""

    def __init__(self, open_worker: bytes, folder: str, paths: Sequence[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]
        with suppress(OSError):
            os.chdir(folder)
        self._open_worker = open_worker
        self._stack = ExitStack()
        self._work: Any = None

    def do(self, job: bytes) -> Any:
        if self._work is None:
            # Modules of the driver can be imported only now.
            self._work = self._stack.enter_context(pickle.loads(self._open_worker)())
        return self._work(pickle.loads(job))

    def close(self) -> None:
        self._stack.close()


def _join(ray: Any, config: RayConfig) -> None:
    try:
        _check_place(config.address or os.environ.get("RAY_ADDRESS", "local"))
        ray.init(
            address=config.address,
            log_to_driver=False,
            include_dashboard=False if config.address is None else None,
            logging_level="ERROR",
        )
    except Exception as error:
        where = config.address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise RunError(
            f"no Ray cluster at {where}: {error}. Start one with 'ray start --head', or leave "
            "ray.address out to start one on this machine."
        ) from None


def _check_place(address: str) -> None:
    """Connect once: Ray itself would try for minutes where nobody answers."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def num_ray_workers(ray: Any, config: RayConfig) -> int:
    """How many workers the settings ask for, or the cluster has room for."""
    total = ray.cluster_resources()
    room = int(total.get("CPU", 0) // config.cpus_per_worker)
    if config.gpus_per_worker:
        room = min(room, int(total.get("GPU", 0) // config.gpus_per_worker))
    number = config.num_workers or room
    if number > room or not room:
        raise RunError(
            f"the Ray cluster has room for {room} workers of {config.cpus_per_worker:g} CPU cores "
            f"and {config.gpus_per_worker:g} GPUs, expected room for {number}. Change "
            "ray.num_workers, ray.cpus_per_worker or ray.gpus_per_worker."
        )
    return number


def _start_workers(ray: Any, open_worker: Any, config: RayConfig) -> list[Any]:
    number = num_ray_workers(ray, config)
    kind = ray.remote(
        num_cpus=config.cpus_per_worker,
        num_gpus=config.gpus_per_worker,
        max_restarts=RETRIES,
        max_task_retries=RETRIES,
    )(_Worker)
    return [
        kind.remote(pickle.dumps(open_worker), str(Path.cwd()), sys.path) for _ in range(number)
    ]


def _do_all(ray: Any, workers: Sequence[Any], jobs: Iterator[Any]) -> Iterator[Any]:
    waiting: dict[Any, Any] = {}
    for worker in workers:
        for job in islice(jobs, IN_FLIGHT):
            waiting[worker.do.remote(pickle.dumps(job))] = worker
    while waiting:
        done, _ = ray.wait(list(waiting))
        for reference in done:
            worker = waiting.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError as error:
                raise lost_worker(error) from None
            for job in islice(jobs, 1):
                waiting[worker.do.remote(pickle.dumps(job))] = worker
            yield result


def lost_worker(error: Exception) -> RunError:
    """The error for a worker that was lost too often."""
    cause = getattr(error, "cause", None) or first_line(error)
    return RunError(
        f"a worker of the Ray cluster was lost: {cause}. Run the command again; finished work is "
        "kept."
    )
