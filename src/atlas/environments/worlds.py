"""Worlds that are made as needed, driven side by side, timed out and replaced.

Each world has its own thread, so that 64 worlds that wait for a server wait together. A world
of a class with `in_process = True` is driven by the caller, which is faster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Annotated, Any

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.environments.base import ENVIRONMENT, Environment
from atlas.errors import EpisodeError
from atlas.kinds import Choice

CLOSING_SECONDS = 10.0

Job = Callable[[Environment], Any]


class Limits(Config):
    """How long a world may take. The time of the player does not count."""

    step_seconds: Annotated[float | None, SPEED_ONLY] = Field(
        120.0, gt=0, description="for one step, or for starting an episode; none: no limit"
    )
    episode_seconds: Annotated[float | None, SPEED_ONLY] = Field(
        None, gt=0, description="for all steps of one episode together; none: no limit"
    )


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job in a world returned, or the error that it raised."""

    world: World
    value: Any
    error: Exception | None


class World:
    """One environment, made at its first job. `report` receives the result of each job."""

    def __init__(
        self,
        make: Callable[[], Environment],
        in_process: bool,
        report: Callable[[JobResult], None],
    ) -> None:
        self.deadline: float | None = None
        self.is_hung = False
        self._make = make
        self._report = report
        self._environment: Environment | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if not in_process:
            # A daemon thread: a world that hangs does not keep the process from ending.
            self._thread = threading.Thread(target=self._drive, daemon=True)
            self._thread.start()

    def run(self, job: Job) -> None:
        """Start `job`; without a thread it is done on return."""
        if self._thread is None:
            self._do(job)
        else:
            self._jobs.put(job)

    def close(self) -> None:
        """Close the environment, after the job under way if there is one."""
        if self._thread is None:
            self._close()
        else:
            self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Wait until it is closed, at most `seconds`."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))

    def _drive(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._do(job)
            except BaseException as error:
                self._report(JobResult(self, None, EpisodeError(f"the world ended: {error!r}")))
        self._close()

    def _do(self, job: Job) -> None:
        value, failure = None, None
        try:
            if self._environment is None:
                self._environment = self._make()
            value = job(self._environment)
        except Exception as error:
            failure = error
        self._report(JobResult(self, value, failure))

    def _close(self) -> None:
        if self._environment is not None:
            with suppress(Exception):
                self._environment.close()


class Worlds:
    """At most `size` worlds at a time, made by `make` as needed and used again.

    Args:
        in_process: the worlds never wait, and are driven in the caller's thread.
    """

    def __init__(
        self,
        make: Callable[[], Environment],
        *,
        size: int,
        in_process: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.on_result: Callable[[], None] | None = None
        self._make = make
        self._size = size
        self.in_process = in_process
        self._limits = limits or Limits()
        self._idle: list[World] = []
        self._used: set[World] = set()
        self._busy: set[World] = set()
        self._broken: list[World] = []
        self._results: SimpleQueue[JobResult] = SimpleQueue()

    @classmethod
    def of(cls, environment: Choice, size: int, limits: Limits | None = None) -> Worlds:
        """Worlds of one environment with its settings."""
        in_process = bool(getattr(ENVIRONMENT.find(environment.name), "in_process", False))
        return cls(
            lambda: ENVIRONMENT.make(environment), size=size, in_process=in_process, limits=limits
        )

    def __enter__(self) -> Worlds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def has_room(self) -> bool:
        """Whether one more world may be taken."""
        return len(self._used) < self._size

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way, or its result was not fetched yet."""
        return bool(self._busy)

    @property
    def seconds_left(self) -> float | None:
        """The time until the next job is timed out; None where no limit applies."""
        deadlines = [world.deadline for world in self._busy if world.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def take(self) -> World:
        """A world for one episode, to be given back or discarded."""
        world = (
            self._idle.pop() if self._idle else World(self._make, self.in_process, self._receive)
        )
        self._used.add(world)
        return world

    def give_back(self, world: World) -> None:
        """The world is free for the next episode."""
        self._used.discard(world)
        self._idle.append(world)

    def discard(self, world: World) -> None:
        """The world is broken: it is closed and not used again."""
        self._used.discard(world)
        self._busy.discard(world)
        if not world.is_hung:
            self._broken.append(world)
        world.close()

    def run(self, world: World, job: Job, seconds_used: float = 0.0) -> None:
        """Start `job` in `world`; `seconds_used` is what the episode has taken so far."""
        limits = self._limits
        seconds = [limits.step_seconds] if limits.step_seconds is not None else []
        if limits.episode_seconds is not None:
            seconds.append(max(0.0, limits.episode_seconds - seconds_used))
        world.deadline = time.monotonic() + min(seconds) if seconds else None
        self._busy.add(world)
        world.run(job)

    def results(self, timeout: float | None) -> list[JobResult]:
        """The results that are there, those of timed-out jobs included.

        Args:
            timeout: how long to wait for the first one, in seconds; None: as long as it takes.
        """
        end = None if timeout is None else time.monotonic() + timeout
        found: list[JobResult] = []
        while self._busy and not found:
            left = None if end is None else max(0.0, end - time.monotonic())
            waits = [seconds for seconds in (left, self.seconds_left) if seconds is not None]
            result = self._fetch(min(waits, default=None))
            while result is not None:
                if result.world in self._busy:
                    self._busy.discard(result.world)
                    found.append(result)
                result = self._fetch(0.0)
            found += self._timed_out()
            if left == 0.0:
                break
        return found

    def close(self) -> None:
        """Close all worlds; one that hangs is left behind after some seconds."""
        worlds = [*self._idle, *self._used]
        for world in worlds:
            world.close()
        deadline = time.monotonic() + CLOSING_SECONDS
        for world in [*worlds, *self._broken]:
            world.join(deadline - time.monotonic())
        self._idle, self._used, self._busy, self._broken = [], set(), set(), []

    def _receive(self, result: JobResult) -> None:
        self._results.put(result)
        if self.on_result is not None:
            self.on_result()

    def _fetch(self, seconds: float | None) -> JobResult | None:
        with suppress(Empty):
            return self._results.get(timeout=seconds) if seconds != 0 else self._results.get(False)
        return None

    def _timed_out(self) -> list[JobResult]:
        now = time.monotonic()
        late = [
            world for world in self._busy if world.deadline is not None and world.deadline <= now
        ]
        self._busy.difference_update(late)
        limits = self._limits.model_dump(exclude_none=True).items()
        stated = ", ".join(f"limits.{name}={seconds:g}" for name, seconds in limits)
        error = EpisodeError(f"the world did not answer in time ({stated})")
        for world in late:
            world.is_hung = True
        return [JobResult(world, None, error) for world in late]
