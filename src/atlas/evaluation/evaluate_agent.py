"""checkpoint × environment -> episodes and their metrics.

Many episodes are played at a time: each round every open episode brings its newest observation, the model answers all of
them in one batch, and the environments move on. A finished episode is on disk before its place is given to the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.environments.base import Environment, make_environment
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_batch
from atlas.errors import ConfigError
from atlas.evaluation.metrics import EpisodeMetrics, summarise_episodes
from atlas.models.local.load import (
    Precision,
    load_model,
    load_renderer,
    locate_model,
    model_input,
    resolve_precision,
)
from atlas.records import Problem, Source, Task, Trajectory
from atlas.store.record_files import read_records, write_text
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, start_run
from atlas.terminal.progress import say, show_progress

EPISODES_FILE = "episodes.jsonl"


class EvaluateConfig(Config):
    """Which model plays which tasks, and how it answers."""

    model: Annotated[str, BY_CONTENT] = Field(
        description="a hub id, a model folder, or a run folder of train"
    )
    environment: str = Field(
        "babyai", description="a row of ENVIRONMENTS, or your own 'package.module:Class'"
    )
    split: str = Field("held_in_test", description="the split of the environment's tasks")
    episodes: int = Field(200, ge=1, description="how many tasks, one episode each")
    seed: int = Field(
        0, ge=0, description="chooses the tasks, and the random streams when sampling"
    )
    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    max_new_tokens: int = Field(128, ge=1, description="the longest answer of one turn")
    max_context: int = Field(
        4096,
        ge=16,
        description="tokens of history and answer; an episode that needs more is truncated",
    )
    max_steps: int = Field(20, ge=1, description="turns after which an episode is truncated")
    precision: Precision = Field(
        "auto", description="fp32, bf16, or auto: bf16 on a GPU that has it"
    )
    batch_size: Annotated[int, SPEED_ONLY] = Field(64, ge=1, description="episodes at a time")


def evaluate_agent(config: EvaluateConfig, out: Path) -> Manifest:
    """Play `config.episodes` tasks of a split with one model; the run folder `out` holds episodes.jsonl and metrics.json.

    Raises:
        ConfigError: unknown environment or split, or more episodes than it has tasks.
        ModelError: the model cannot be loaded or has no usable chat template.
    """
    with start_run(out, "evaluate", config, {"model": model_input(config.model, out)}) as run:
        if run.finished:
            return run.manifest
        tasks = _make(config).tasks(config.split, config.episodes, config.seed)
        log = run.log("episodes", Trajectory, key=lambda episode: episode.task.id)
        if not log.sealed:
            try:
                _play(config, [task for task in tasks if task.id not in log.done], len(tasks), log)
                log.seal([task.id for task in tasks])
            finally:
                log.close()
        episodes = list(read_records(out / EPISODES_FILE, Trajectory))
        metrics = summarise_episodes(episodes, config.seed)
        write_text(out / "metrics.json", metrics.model_dump_json(indent=2) + "\n")
        run.write_problems(
            _left_out(episode) for episode in episodes if not episode.outcome.is_valid
        )
        return run.finish(_describe(metrics))


def _left_out(episode: Trajectory) -> Problem:
    """Why an episode counts in no rate and no mean."""
    return Problem(
        where="evaluate",
        item=episode.id,
        reason=episode.outcome.reason or f"its end is {episode.outcome.status}",
    )


def _describe(metrics: EpisodeMetrics) -> dict[str, Any]:
    return json.loads(metrics.model_dump_json(exclude={"groups"}))  # type: ignore[no-any-return]


def _make(config: EvaluateConfig) -> Environment:
    try:
        return make_environment(config.environment, max_steps=config.max_steps)
    except TypeError as error:
        raise ConfigError(
            f"environment '{config.environment}' cannot be made: {error}. It has to take max_steps."
        ) from error


def _play(
    config: EvaluateConfig, tasks: Sequence[Task], num_all: int, log: RecordLog[Trajectory]
) -> None:
    if not tasks:
        return
    place = locate_model(config.model)
    renderer = load_renderer(place)
    model = load_model(
        place, "bfloat16" if resolve_precision(config.precision) == "bf16" else "float32"
    )
    from atlas.models.local.chat_batch import ChatBatch

    known = getattr(model.config, "max_position_embeddings", None)
    max_context = min(config.max_context, known or config.max_context)
    batch = ChatBatch(
        model,
        renderer,
        temperature=config.temperature,
        max_tokens=config.max_new_tokens,
        max_context=max_context,
        seed=config.seed,
    )
    source = Source(
        name="evaluate", details={"temperature": config.temperature, "seed": config.seed}
    )

    def opening(task: Task) -> Opening:
        def start(environment: Environment) -> Episode:
            episode = Episode(environment, source)
            episode.start(task)
            return episode

        return Opening(task.id, start)

    for note in renderer.notes:
        say(note)
    environments = [_make(config) for _ in range(min(config.batch_size, len(tasks)))]
    num_success = 0
    no_room = f"the history needs more than {max_context} tokens"
    with show_progress("playing", num_all, num_all - len(tasks)) as bar:
        for _, episode in play_batch(map(opening, tasks), environments, batch, no_room):
            log.append(episode.trajectory)
            num_success += episode.trajectory.outcome.status == "success"
            bar.advance(f"{num_success} succeeded")
    for environment in environments:
        environment.close()
