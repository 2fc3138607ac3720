"""Evaluate: model + environment -> episodes and their metrics.

One player plays many episodes concurrently. A finished episode is written to disk before the next
one starts in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from atlas.config import StrPath
from atlas.environments.base import ENVIRONMENT
from atlas.environments.play import Opening, play_episodes
from atlas.environments.split_tasks import read_split
from atlas.environments.worlds import Worlds
from atlas.evaluation.metrics import summarize_episodes
from atlas.evaluation.open_player import OpenPlayer
from atlas.evaluation.play_config import PlayConfig
from atlas.evaluation.spent import Spent
from atlas.kinds import Choice
from atlas.models.endpoints.endpoint_player import EndpointPlayerConfig
from atlas.models.endpoints.prices import Price, find_price
from atlas.models.local.load import rendering_inputs
from atlas.models.local.local_player import LocalPlayerConfig
from atlas.models.payments import Payment
from atlas.models.players import Player, PlayerAnswer
from atlas.records import Problem, Source, Task, Trajectory, Usage
from atlas.store.record_files import read_records, write_text
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, start_run
from atlas.terminal.progress import say, show_progress
from atlas.workers.spread import spread


class EvaluateConfig(PlayConfig):
    """Which model plays which tasks, and how it answers."""

    environment: Annotated[Choice, ENVIRONMENT] = Field(
        default=Choice("babyai"),
        description="an environment listed below, or your own as package.module:Class",
    )
    split: str = Field(
        default="held_in_test", description="which split of the environment's tasks to play"
    )
    episodes: int = Field(default=200, ge=1, description="number of tasks; each is played once")
    limit: int | None = Field(
        default=None,
        ge=1,
        description="play the first of these tasks only, at most this many; arms with the same "
        "episodes and seed stay comparable task by task",
    )


def evaluate_agent(config: EvaluateConfig, out: StrPath) -> Manifest:
    """Play `config.episodes` tasks of a split with one model.

    The run folder `out` then holds episodes.jsonl and metrics.json.

    Raises:
        ConfigError: unknown environment, player or split, or more episodes than it has tasks.
        ModelError: the model cannot be loaded or asked, or has no usable chat template.
    """
    with OpenPlayer(config.player.name, config.model, config.player_seed) as player:
        return evaluate_with(player, config, out)


def evaluate_with(player: OpenPlayer, config: EvaluateConfig, out: StrPath) -> Manifest:
    """As `evaluate_agent`, with a model that other evaluations use, too."""
    out = Path(out)
    model = player.describe(out)
    price = _price_of(config)
    template = rendering_inputs(out, getattr(config.player.settings, "chat_template", None))
    with start_run(out, "evaluate", config, {"model": model, **template}) as run:
        if run.finished:
            return run.manifest
        split = read_split(
            config.environment, config.split, config.episodes, config.seed, config.limits
        )
        for note in split.notes:
            say(f"{config.environment.name}, split {config.split}: {note}")
        tasks = split.tasks[: config.limit]
        spent = Spent(run)
        log = run.log("episodes", Trajectory, key=lambda episode: episode.task.id)
        if not log.sealed:
            left = [task for task in tasks if task.id not in log.done]
            try:
                # A world may go to another directory; the caller's paths stay valid.
                with chdir(os.curdir):
                    _play(player, config, left, len(tasks), log, spent, run.manifest.day)
                log.seal([task.id for task in tasks])
            finally:
                log.close()
                spent.close()
        paid = spent.seal()
        episodes = list(read_records(log.path, Trajectory))
        metrics = summarize_episodes(episodes, config.seed)
        if paid is not None and price is not None:
            metrics = metrics.model_copy(update={"cost_usd": price.of_usage(paid)})
        write_text(run.path / "metrics.json", metrics.model_dump_json(indent=2) + "\n")
        run.write_problems(
            # Each problem says why an episode is left out of all rates and means.
            Problem(
                where="evaluate",
                item=episode.id,
                reason=episode.outcome.reason or f"its end is {episode.outcome.status}",
            )
            for episode in episodes
            if not episode.outcome.is_valid
        )
        summary = metrics.model_dump(mode="json", exclude={"groups"})
        if paid is not None:
            summary |= paid.summary()
            if price is not None:
                summary["price_source"] = price.source
        if split.notes:
            summary["notes"] = list(split.notes)
        if config.limit is not None:
            summary["limit"] = f"the first {len(tasks):,} of {config.episodes:,} tasks"
        return run.finish(summary)


def _price_of(config: EvaluateConfig) -> Price | None:
    """The price of a remote model, if it is known."""
    settings = config.player.settings
    if not isinstance(settings, EndpointPlayerConfig):
        return None
    table = None if settings.prices is None else Path(settings.prices)
    return find_price(config.model, settings.endpoint.base_url, table)


def _play(
    opened: OpenPlayer,
    config: EvaluateConfig,
    tasks: Sequence[Task],
    num_all: int,
    log: RecordLog[Trajectory],
    spent: Spent,
    day: date | None,
) -> None:
    if not tasks:
        return
    num_success = num_answers = 0

    def count_answer(usage: Usage) -> None:
        nonlocal num_answers
        num_answers += 1
        if isinstance(usage, Payment):
            spent.pay(usage)
        bar.tell(note())

    def note() -> str:
        return f"{num_success:,} succeeded, {num_answers:,} answers"

    with show_progress("playing", num_all, num_all - len(tasks)) as bar:
        if config.workers == 1:
            played = _play_here(opened, config, tasks, day, count_answer)
        else:
            played = _play_in_workers(config, tasks, day, count_answer)
        for trajectory in played:
            log.append(trajectory)
            num_success += trajectory.outcome.status == "success"
            bar.advance(note())


def _play_here(
    opened: OpenPlayer,
    config: EvaluateConfig,
    tasks: Sequence[Task],
    day: date | None,
    on_answer: Callable[[Usage], None],
) -> Iterator[Trajectory]:
    player = _with_day(opened, config, day)
    with Worlds.of(config.environment, config.worlds, config.limits) as worlds:
        yield from _play_tasks(config, player, worlds, tasks, on_answer)


def _play_in_workers(
    config: EvaluateConfig,
    tasks: Sequence[Task],
    day: date | None,
    on_answer: Callable[[Usage], None],
) -> Iterator[Trajectory]:
    """Play chunks of tasks in several processes. An interruption loses the chunks in flight."""
    size = config.worlds
    chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    workers = config.chosen_workers
    if isinstance(workers, int):
        workers = min(workers, len(chunks))
    for trajectories, usages in spread(partial(_open_worker, config, day), chunks, workers):
        for usage in usages:
            on_answer(usage)
        yield from trajectories


@contextmanager
def _open_worker(
    config: EvaluateConfig, day: date | None
) -> Iterator[Callable[[Sequence[Task]], tuple[list[Trajectory], list[Usage]]]]:
    """Open one worker, which keeps its model and its worlds for all chunks."""
    with (
        OpenPlayer(config.player.name, config.model, config.player_seed) as opened,
        Worlds.of(config.environment, config.worlds, config.limits) as worlds,
    ):
        player = _with_day(opened, config, day)

        def play(tasks: Sequence[Task]) -> tuple[list[Trajectory], list[Usage]]:
            usages: list[Usage] = []
            return list(_play_tasks(config, player, worlds, tasks, usages.append)), usages

        yield play


def _with_day(opened: OpenPlayer, config: EvaluateConfig, day: date | None) -> Player:
    """The player. An evaluation that is continued on another day must have the same prompts."""
    settings = config.player.settings
    if isinstance(settings, LocalPlayerConfig):
        settings = settings.on_day(day)
    return opened.with_settings(settings)


def _play_tasks(
    config: EvaluateConfig,
    player: Player,
    worlds: Worlds,
    tasks: Sequence[Task],
    on_answer: Callable[[Usage], None],
) -> Iterator[Trajectory]:
    temperature = getattr(config.player.settings, "temperature", None)
    source = Source(
        name="evaluate", details={"temperature": temperature, "seed": config.player_seed}
    )
    openings = (Opening(task.id, task, source) for task in tasks)

    def count(answer: PlayerAnswer) -> None:
        on_answer(answer.usage)

    for _, episode in play_episodes(openings, worlds, player, count, config.episode_limits):
        yield episode.trajectory
