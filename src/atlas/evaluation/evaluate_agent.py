"""Evaluate: model + environment -> episodes and their metrics.

Many episodes are played at a time by one player. A finished episode is on disk before its place is
given to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.environments.base import ENVIRONMENT
from atlas.environments.checked import list_tasks
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds, ask_world
from atlas.evaluation.metrics import summarize_episodes
from atlas.kinds import Choice
from atlas.models.players import PLAYER, Player
from atlas.records import Problem, Source, Task, Trajectory
from atlas.store.record_files import read_records, write_text
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, start_run
from atlas.terminal.progress import show_progress

EPISODES_FILE = "episodes.jsonl"


class EvaluateConfig(Config):
    """Which model plays which tasks, and how it answers."""

    model: Annotated[str, BY_CONTENT] = Field(
        description="a hub id, a model folder or a run folder of train; "
        "for player endpoint the name of the model there"
    )
    environment: Annotated[Choice, ENVIRONMENT] = Field(
        Choice("babyai"), description="a row of ENVIRONMENTS, or your own 'package.module:Class'"
    )
    player: Annotated[Choice, PLAYER] = Field(
        Choice("local"), description="a row of PLAYERS: local, endpoint, or your own"
    )
    split: str = Field("held_in_test", description="the split of the environment's tasks")
    episodes: int = Field(200, ge=1, description="how many tasks, one episode each")
    seed: int = Field(
        0, ge=0, description="chooses the tasks, and the random streams when sampling"
    )
    worlds: Annotated[int, SPEED_ONLY] = Field(
        64, ge=1, description="worlds at a time; how many answers at a time is the player's"
    )
    limits: Limits = Field(Limits(), description="how long a world may take")


def evaluate_agent(config: EvaluateConfig, out: Path) -> Manifest:
    """Play `config.episodes` tasks of a split with one model.

    The run folder `out` then holds episodes.jsonl and metrics.json.

    Raises:
        ConfigError: unknown environment, player or split, or more episodes than it has tasks.
        ModelError: the model cannot be loaded or asked, or has no usable chat template.
    """
    model = PLAYER.find(config.player.name).describe_model(config.model, out)
    with start_run(out, "evaluate", config, {"model": model}) as run:
        if run.finished:
            return run.manifest
        tasks = ask_world(
            config.environment,
            lambda world: list_tasks(world, config.split, config.episodes, config.seed),
            config.limits,
        )
        log = run.log("episodes", Trajectory, key=lambda episode: episode.task.id)
        if not log.sealed:
            try:
                _play(config, [task for task in tasks if task.id not in log.done], len(tasks), log)
                log.seal([task.id for task in tasks])
            finally:
                log.close()
        episodes = list(read_records(out / EPISODES_FILE, Trajectory))
        metrics = summarize_episodes(episodes, config.seed)
        write_text(out / "metrics.json", metrics.model_dump_json(indent=2) + "\n")
        run.write_problems(
            # Why an episode counts in no rate or mean.
            Problem(
                where="evaluate",
                item=episode.id,
                reason=episode.outcome.reason or f"its end is {episode.outcome.status}",
            )
            for episode in episodes
            if not episode.outcome.is_valid
        )
        return run.finish(metrics.model_dump(mode="json", exclude={"groups"}))


def _play(
    config: EvaluateConfig, tasks: Sequence[Task], num_all: int, log: RecordLog[Trajectory]
) -> None:
    if not tasks:
        return
    temperature = getattr(config.player.settings, "temperature", None)
    source = Source(name="evaluate", details={"temperature": temperature, "seed": config.seed})
    openings = (Opening(task.id, task, source) for task in tasks)
    player: Player = PLAYER.make(config.player, config.model, config.seed)
    num_success = 0
    try:
        with (
            Worlds.of(config.environment, config.worlds, config.limits) as worlds,
            show_progress("playing", num_all, num_all - len(tasks)) as bar,
        ):
            for _, episode in play_episodes(openings, worlds, player):
                log.append(episode.trajectory)
                num_success += episode.trajectory.outcome.status == "success"
                bar.advance(f"{num_success} succeeded")
    finally:
        player.end()
