"""Collect: environment + expert -> trajectories, in parallel and resumable.

Every episode depends only on (task, seed), so workers and the order of completion do not affect the
data. Failed episodes are kept and marked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from atlas.config import SPEED_ONLY, Config, StrPath
from atlas.environments.base import ENVIRONMENT, Environment, HasExpert
from atlas.environments.checked import list_tasks
from atlas.environments.episode import trajectory_id
from atlas.environments.expert_player import ExpertPlayer
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds, ask_world
from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.records import Problem, Source, Task, Trajectory
from atlas.statistics.trajectory_summary import summarize
from atlas.store.record_files import read_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, Run, is_finished, start_run
from atlas.terminal.progress import show_progress
from atlas.workers.ray_workers import Workers, WorkersConfig
from atlas.workers.spread import spread

COMMAND = "collect"
# Episodes per message to a worker, for each world. With few, an interruption loses little.
CHUNK = 8


class ExpertPlayConfig(WorkersConfig):
    """How experts play, in one environment or in each one of a suite."""

    seed: int = Field(
        default=0,
        ge=0,
        description="seed for the choice of tasks, and for the experts' random choices",
    )
    workers: Annotated[Workers | None, SPEED_ONLY] = Field(
        default=None,
        description="number of processes, or `ray` for a Ray cluster; if none, one per CPU",
    )
    worlds: Annotated[int, SPEED_ONLY] = Field(
        default=1,
        ge=1,
        description="how many environments run at a time in each process; more than 1 helps"
        " if they wait for a server",
    )
    limits: Limits = Field(default=Limits(), description="time limits for an environment")


class CollectConfig(ExpertPlayConfig):
    """What to collect. The same settings give the same bytes for any number of workers."""

    environment: Annotated[Choice, ENVIRONMENT] = Field(
        default=Choice("babyai"),
        description="an environment listed below, or your own as package.module:Class",
    )
    split: str = Field(
        default="train", description="which split of the environment's tasks to play"
    )
    episodes: int = Field(default=1000, ge=1, description="number of tasks; each is played once")


def collect_experts(config: CollectConfig, out: StrPath) -> Manifest:
    """Play the experts' episodes into the run folder `out`; an interrupted run continues.

    Raises:
        ConfigError: the environment is unknown, has no such split or settings, or has no expert.
        RunError: the folder belongs to another run.
    """
    # A finished run needs no environment: its server may be gone.
    tasks = [] if is_finished(out, COMMAND) else expert_tasks(config)
    with start_run(Path(out), COMMAND, config) as run:
        return run.manifest if run.finished else play_experts(run, [(config, tasks)])


def play_experts(
    run: Run,
    parts: Sequence[tuple[CollectConfig, Sequence[Task]]],
    left_out: Iterable[Problem] = (),
) -> Manifest:
    """Play the tasks of each part into the one file of trajectories of a run."""
    order = [trajectory_id(task, _source(config)) for config, tasks in parts for task in tasks]
    with closing(run.log("trajectories", Trajectory, key=lambda played: played.id)) as log:
        if not log.sealed:
            for config, tasks in parts:
                ids = [trajectory_id(task, _source(config)) for task in tasks]
                keyed = zip(ids, tasks, strict=True)
                missing = [task for key, task in keyed if key not in log.done]
                if missing:
                    # A world may go to another directory; the caller's paths stay valid.
                    with chdir(os.curdir):
                        _play_into(log, config, missing, num_done=len(tasks) - len(missing))
            log.seal(order)
    summary, problems = summarize(read_records(log.path, Trajectory))
    run.write_problems([*left_out, *problems])
    return run.finish(summary)


def episode_seed(task: Task, seed: int) -> int:
    """A seed for each episode, computed from its task and the seed of the run."""
    return int.from_bytes(hashlib.sha256(f"{task.id}/{seed}".encode()).digest()[:6], "big")


def expert_tasks(config: CollectConfig) -> Sequence[Task]:
    """The tasks to play.

    Raises:
        ConfigError: the environment has no such split or settings, or has no expert.
    """

    def ask(environment: Environment) -> list[Task]:
        if not isinstance(environment, HasExpert):
            reason = "has no expert, so nothing can be collected from it"
            advice = "Add a method expert(seed), or evaluate a model in it."
            raise ConfigError(f"environment '{config.environment.name}' {reason}. {advice}")
        return list_tasks(environment, config.split, config.episodes, config.seed)

    tasks: list[Task] = ask_world(config.environment, ask, config.limits, lists_tasks=True)
    return tasks


def _source(config: CollectConfig) -> Source:
    """The source of the trajectories: the expert, the seed, and the expert's settings."""
    settings = getattr(config.environment.settings, "expert", None)
    details = settings.model_dump(mode="json") if isinstance(settings, Config) else {}
    return Source(name="expert", details={"seed": config.seed, **details})


def _play_into(
    log: RecordLog[Trajectory], config: CollectConfig, tasks: Sequence[Task], num_done: int
) -> None:
    size = CHUNK * config.worlds
    chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    workers = config.chosen_workers
    if isinstance(workers, int):
        workers = min(workers, len(chunks))
    with show_progress("collecting episodes", num_done + len(tasks), num_done) as bar:
        for trajectories in spread(partial(_open_worker, config), chunks, workers):
            for trajectory in trajectories:
                log.append(trajectory)
                bar.advance()


@contextmanager
def _open_worker(
    config: CollectConfig,
) -> Iterator[Callable[[Sequence[Task]], Iterable[Trajectory]]]:
    """Open one worker, which reuses its worlds for all chunks."""
    with Worlds.of(config.environment, config.worlds, config.limits) as worlds:
        yield partial(_play_chunk, config, worlds)


def _play_chunk(config: CollectConfig, worlds: Worlds, tasks: Sequence[Task]) -> list[Trajectory]:
    player, source = ExpertPlayer(worlds), _source(config)
    openings = []
    for task in tasks:
        take_seat = partial(player.seat, task.id, seed=episode_seed(task, config.seed))
        openings.append(Opening(task.id, task, source, on_start=take_seat))
    return [episode.trajectory for _, episode in play_episodes(openings, worlds, player)]
