"""Collect: environment + expert -> trajectories, in parallel and resumable.

Every episode is a function of (task, seed), so the worker that plays it and the order of completion do not show in the data.
Episodes that fail are kept and marked; what was left out of success is counted in the summary.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.environments.base import Environment, Expert, ExpertTurn, HasExpert, make_environment
from atlas.environments.episode import run_episode, trajectory_id
from atlas.errors import ConfigError, RunError
from atlas.records import Message, Problem, Source, Task, Trajectory
from atlas.store.record_files import read_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, start_run
from atlas.terminal.progress import show_progress
from atlas.workers.processes import interrupts_held_back, leave_with_parent

COMMAND = "collect"
CHUNK = 8  # episodes per message to a worker: few enough to lose little to an interruption


class CollectConfig(Config):
    """What to collect. The same settings give the same bytes, however many workers play."""

    environment: str = Field(
        "babyai", description="a row of ENVIRONMENTS, or your own 'package.module:Class'"
    )
    split: str = Field("train", description="the split of the environment's tasks")
    episodes: int = Field(1000, ge=1, description="how many tasks, one episode each")
    seed: int = Field(0, ge=0, description="chooses the tasks, the expert's words and its slips")
    detour_rate: float = Field(
        0.1, ge=0, le=1, description="chance per step that the expert makes a detour"
    )
    mistake_rate: float = Field(
        0.1, ge=0, le=1, description="chance per step that the expert makes a mistake"
    )
    max_steps: int = Field(20, ge=1, description="steps after which an episode is truncated")
    workers: Annotated[int | None, SPEED_ONLY] = Field(
        None, ge=1, description="processes; by default one per CPU"
    )


def collect_experts(config: CollectConfig, out: Path) -> Manifest:
    """Play the experts' episodes into the run folder `out`, going on where an interrupted run stopped.

    Raises:
        ConfigError: the environment is not known, has no such split or settings, or comes without an expert.
        RunError: the folder belongs to another run.
    """
    environment = _make(config)
    tasks = environment.tasks(config.split, config.episodes, config.seed)
    environment.close()
    with start_run(out, COMMAND, config) as run:
        if run.finished:
            return run.manifest
        log = run.log("trajectories", Trajectory, key=lambda trajectory: trajectory.id)
        order = [trajectory_id(task, _source(config)) for task in tasks]
        try:
            if not log.sealed:
                missing = [
                    task for task, key in zip(tasks, order, strict=True) if key not in log.done
                ]
                _play_into(log, config, missing, num_done=len(tasks) - len(missing))
                log.seal(order)
        finally:
            log.close()
        summary, problems = summarise(read_records(log.path, Trajectory))
        run.write_problems(problems)
        return run.finish(summary)


def play(task: Task, environment: Environment, config: CollectConfig) -> Trajectory:
    """One expert episode; a function of its arguments alone."""
    seed = episode_seed(task, config.seed)
    expert: Expert | None = None

    def respond(_: tuple[Message, ...]) -> ExpertTurn:
        nonlocal expert
        if expert is None:
            assert isinstance(environment, HasExpert)
            expert = environment.expert(seed)
        return expert.respond()

    return run_episode(environment, task, respond, _source(config))


def episode_seed(task: Task, seed: int) -> int:
    """A seed of its own for each episode, from the task and the seed of the run."""
    return int.from_bytes(hashlib.sha256(f"{task.id}/{seed}".encode()).digest()[:6], "big")


def summarise(trajectories: Iterable[Trajectory]) -> tuple[dict[str, Any], list[Problem]]:
    """Counts by status and by group with mean steps, and one problem for each episode that ended as an error."""
    problems: list[Problem] = []
    statuses: Counter[str] = Counter()
    groups: dict[str, dict[str, int]] = {}
    for trajectory in trajectories:
        outcome = trajectory.outcome
        statuses[outcome.status] += 1
        group = groups.setdefault(
            trajectory.task.group, {"episodes": 0, "successes": 0, "steps": 0}
        )
        group["episodes"] += 1
        group["successes"] += outcome.status == "success"
        group["steps"] += len(trajectory.steps)
        if outcome.status == "error":
            problems.append(
                Problem(
                    where="collect", item=trajectory.id, reason=outcome.reason or "no reason given"
                )
            )
    episodes, steps = statuses.total(), sum(group["steps"] for group in groups.values())
    per_group: dict[str, Mapping[str, Any]] = {
        name: {
            "episodes": group["episodes"],
            "success_rate": _rate(group["successes"], group["episodes"]),
            "mean_steps": _rate(group["steps"], group["episodes"]),
        }
        for name, group in groups.items()
    }
    summary = {
        "episodes": episodes,
        "by_status": dict(sorted(statuses.items())),
        "steps": steps,
        "mean_steps": _rate(steps, episodes),
        "groups": per_group,
    }
    return summary, problems


def _source(config: CollectConfig) -> Source:
    return Source(
        name="expert",
        details={
            "seed": config.seed,
            "detour_rate": config.detour_rate,
            "mistake_rate": config.mistake_rate,
        },
    )


def _rate(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _make(config: CollectConfig) -> Environment:
    try:
        environment = make_environment(
            config.environment,
            max_steps=config.max_steps,
            detour_rate=config.detour_rate,
            mistake_rate=config.mistake_rate,
        )
    except TypeError as error:
        raise ConfigError(
            f"environment '{config.environment}' cannot be made for collecting: {error}. "
            "It has to take max_steps, detour_rate and mistake_rate."
        ) from error
    if not isinstance(environment, HasExpert):
        raise ConfigError(
            f"environment '{config.environment}' comes without an expert, so nothing can be collected from it."
        )
    return environment


# ---- processes ----

_environment: Environment | None = None  # one per worker process


def _start_worker(config: CollectConfig) -> None:
    leave_with_parent()
    global _environment
    _environment = _make(config)


def _play_chunk(config: CollectConfig, tasks: Sequence[Task]) -> list[Trajectory]:
    assert _environment is not None
    return [play(task, _environment, config) for task in tasks]


def _play_into(
    log: RecordLog[Trajectory], config: CollectConfig, tasks: Sequence[Task], num_done: int
) -> None:
    if not tasks:
        return
    with show_progress("collecting episodes", num_done + len(tasks), num_done) as bar:
        for trajectory in _play_all(config, tasks):
            log.append(trajectory)
            bar.advance()


def _play_all(config: CollectConfig, tasks: Sequence[Task]) -> Iterator[Trajectory]:
    """The trajectories of all tasks, in the order of their completion."""
    chunks = [tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)]
    workers = min(config.workers or os.cpu_count() or 1, len(chunks))
    if workers == 1:
        environment = _make(config)
        yield from (play(task, environment, config) for task in tasks)
        return
    # spawn: a forked child would share the parent's threads' locks (a GPU, a progress bar) in an unknown state
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(config,)
    )
    try:
        waiting: set[Future[list[Trajectory]]] = set()
        remaining = iter(chunks)
        while True:
            while len(waiting) < 2 * workers and (chunk := next(remaining, None)) is not None:
                with interrupts_held_back():
                    waiting.add(pool.submit(_play_chunk, config, chunk))
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    except BrokenProcessPool:
        raise RunError(
            "a worker process was killed, for want of memory perhaps. Run the command again, with fewer workers: it goes on."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
