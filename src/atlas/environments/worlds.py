"""Runs worlds (instances of an environment) concurrently, with time limits and replacements.

Each world has its own thread, so that 64 worlds can wait for a server at the same time. If its
class has `in_process = True`, it runs in the caller's thread, which is faster.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import chdir, suppress
from queue import Empty, SimpleQueue
from typing import Annotated, Any

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.environments.base import ENVIRONMENT, Environment
from atlas.errors import AtlasError, ConfigError, EpisodeError
from atlas.kinds import Choice

CLOSING_SECONDS = 10.0

Job = Callable[[Environment], Any]


class Limits(Config):
    """Time limits for a world. The time that the player needs does not count."""

    step_seconds: Annotated[float | None, SPEED_ONLY] = Field(
        default=120.0,
        gt=0,
        description="time limit for one step, and for the start of an episode; none: no limit",
    )
    episode_seconds: Annotated[float | None, SPEED_ONLY] = Field(
        default=None,
        gt=0,
        description="time limit for all steps of one episode together; none: no limit",
    )


class _Question:
    """A job whose result is waited for, such as an expert's turn."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.results: SimpleQueue[Any] = SimpleQueue()

    def answer(self, environment: Any) -> None:
        try:
            self.results.put(self.job(environment))
        except BaseException as error:
            self.results.put(error)


class World:
    """One environment, created at its first job, and the episode in it.

    `report` is called with the world and with the result of each job, or the exception it raised.
    """

    def __init__(
        self,
        make: Callable[[], Environment],
        in_process: bool,
        report: Callable[[World, Any], None],
    ) -> None:
        self.episode = ""
        self.seconds_used = self.started = 0.0
        self.deadline = math.inf
        self.is_busy = self.is_hung = False
        self._make = make
        self._report = report
        self._environment: Environment | None = None
        self._jobs: SimpleQueue[Job | _Question | None] = SimpleQueue()
        self.thread: threading.Thread | None = None
        if not in_process:
            # A daemon thread, so that a world that hangs does not keep the process alive.
            self.thread = threading.Thread(target=self._drive, daemon=True)
            self.thread.start()

    def run(self, job: Job) -> None:
        """Start `job`. Without a thread, the job is done when this returns."""
        if self.thread is None:
            self._do(job)
        else:
            self._jobs.put(job)

    def ask(self, job: Job, seconds: float | None) -> Any:
        """The result of a job; `queue.Empty` if it takes longer. It may run no other job."""
        if self.thread is None:
            return job(self._environment)  # type: ignore[arg-type]
        question = _Question(job)
        self._jobs.put(question)
        result = question.results.get(timeout=seconds)
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        """Close the environment after the current job, if there is one."""
        if self.thread is None:
            self._close()
        else:
            self._jobs.put(None)

    def _drive(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, _Question):
                job.answer(self._environment)
                continue
            try:
                self._do(job)
            except BaseException as error:
                self._report(self, EpisodeError(f"the world ended: {error!r}"))
        self._close()

    def _do(self, job: Job) -> None:
        try:
            if self._environment is None:
                self._environment = self._make()
            result = job(self._environment)
        except Exception as error:
            result = error
        self._report(self, result)

    def _close(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            with suppress(Exception):
                environment.close()


class Worlds:
    """Up to `size` worlds, which are created by `make` when needed, and reused.

    Args:
        in_process: the worlds never wait, and run in the caller's thread.
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
        self.in_process = in_process
        self._make = make
        self._size = size
        self._limits = limits or Limits()
        self._playing: dict[str, World] = {}
        self._idle: list[World] = []
        self._made: list[World] = []
        self._results: SimpleQueue[tuple[World, Any]] = SimpleQueue()

    @classmethod
    def of(cls, environment: Choice, size: int, limits: Limits | None = None) -> Worlds:
        """Worlds of one environment."""
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
        """Whether another episode may begin."""
        return len(self._playing) < self._size

    @property
    def is_busy(self) -> bool:
        """Whether a job is running, or its result was not fetched yet."""
        return any(world.is_busy for world in self._playing.values())

    @property
    def seconds_left(self) -> float | None:
        """The time until the next job reaches its limit; None without a limit."""
        return _seconds_until(self._next_deadline())

    def begin(self, name: str, job: Job) -> None:
        """Begin the episode `name` with `job` in a free world."""
        if not self._idle:
            self._idle.append(World(self._make, self.in_process, self._receive))
            self._made += self._idle
        world = self._playing[name] = self._idle.pop()
        world.episode, world.seconds_used = name, 0.0
        self.run(name, job)

    def run(self, name: str, job: Job) -> None:
        """Start `job` in the world of an episode, which must not have another job running."""
        world, limits = self._playing[name], self._limits
        for_episode = (limits.episode_seconds or math.inf) - world.seconds_used
        seconds = min(limits.step_seconds or math.inf, max(0.0, for_episode))
        world.started = time.monotonic()
        world.deadline = world.started + seconds
        world.is_busy = True
        world.run(job)

    def end(self, name: str, *, is_broken: bool) -> None:
        """End an episode. Its world is reused, or closed if it is broken."""
        world = self._playing.pop(name)
        if is_broken or world.is_hung:
            world.close()
        else:
            self._idle.append(world)

    def ask(self, name: str, job: Job) -> Any:
        """The result of a short job in the world of an episode, within the limit of a step.

        Raises:
            EpisodeError: the time is over; the world is replaced at the end of its episode.
        """
        world, limits = self._playing[name], self._limits
        for_episode = (limits.episode_seconds or math.inf) - world.seconds_used
        seconds = min(limits.step_seconds or math.inf, max(0.0, for_episode))
        started = time.monotonic()
        try:
            return world.ask(job, None if seconds == math.inf else seconds)
        except Empty:
            world.is_hung = True
            raise self._lateness("the expert") from None
        finally:
            world.seconds_used += time.monotonic() - started

    def results(self, timeout: float | None) -> list[tuple[str, Any]]:
        """Pairs of episode and result (or exception) for the jobs that are done or timed out.

        Args:
            timeout: how long to wait for the first one, in seconds; None: as long as it takes.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        found: list[tuple[str, Any]] = []
        while self.is_busy and not found:
            found = self._reported(_seconds_until(min(end, self._next_deadline())))
            found += self._timed_out()
            if time.monotonic() >= end:
                break
        return found

    def close(self) -> None:
        """Close all worlds. A world that hangs is abandoned after some seconds."""
        for world in self._made:
            world.close()
        deadline = time.monotonic() + CLOSING_SECONDS
        for world in self._made:
            if world.thread is not None and not world.is_hung:
                world.thread.join(max(0.0, deadline - time.monotonic()))
        self._playing, self._idle, self._made = {}, [], []

    def _next_deadline(self) -> float:
        busy = (world.deadline for world in self._playing.values() if world.is_busy)
        return min(busy, default=math.inf)

    def _receive(self, world: World, result: Any) -> None:
        self._results.put((world, result))
        if self.on_result is not None:
            self.on_result()

    def _reported(self, timeout: float | None) -> list[tuple[str, Any]]:
        found = []
        with suppress(Empty):
            while True:
                world, result = self._results.get(timeout=timeout)
                timeout = 0.0
                # Results that arrive after the time-out are ignored.
                if world.is_busy:
                    world.is_busy = False
                    world.seconds_used += time.monotonic() - world.started
                    found.append((world.episode, result))
        return found

    def _timed_out(self) -> list[tuple[str, Any]]:
        now = time.monotonic()
        late = [
            world for world in self._playing.values() if world.is_busy and world.deadline <= now
        ]
        for world in late:
            world.is_busy, world.is_hung = False, True
        return [(world.episode, self._lateness("the world")) for world in late]

    def _lateness(self, who: str) -> EpisodeError:
        limits = self._limits.model_dump(exclude_none=True).items()
        stated = ", ".join(f"limits.{name}={seconds:g}" for name, seconds in limits)
        return EpisodeError(f"{who} did not answer in time ({stated})")


def ask_world(environment: Choice, job: Job, limits: Limits | None = None) -> Any:
    """What `job` returns in a world that is made for it and closed again.

    Raises:
        ConfigError: the world cannot be made, or broke or hung in the job.
        AtlasError: what the world itself says about its settings.
    """
    # The world may change the directory; the paths of the caller stay valid.
    with chdir(os.curdir), Worlds.of(environment, 1, limits) as worlds:
        worlds.begin("", job)
        [(_, result)] = worlds.results(None)
    if not isinstance(result, Exception):
        return result
    is_of_run = isinstance(result, AtlasError) and not isinstance(result, EpisodeError)
    if is_of_run or isinstance(result, ImportError):
        raise result
    is_explained = isinstance(result, EpisodeError)
    said = str(result) if is_explained else f"{type(result).__name__}: {result}"
    where = f"environment '{environment.name}' broke before its first episode"
    raise ConfigError(f"{where}: {said.rstrip('.')}.") from result


def _seconds_until(moment: float) -> float | None:
    """Seconds until a time of the monotonic clock: 0 if it has passed, None for no time."""
    return None if moment == math.inf else max(0.0, moment - time.monotonic())
