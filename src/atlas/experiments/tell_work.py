"""How much an experiment computes: `plan -> lines`. Nothing is trained, played or written.

Tokens of the trainings are counted, episodes and answers bounded. With the throughput that the
recipe states (`speed`), they are hours, also before any stage is finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from atlas.evaluation.evaluate_agent import EvaluateConfig
from atlas.evaluation.evaluate_suite import ANSWER_LENGTHS, EvaluateSuiteConfig
from atlas.experiments.config import ExperimentConfig, Speed
from atlas.experiments.plan_experiment import ExperimentPlan
from atlas.experiments.run_stages import Stage
from atlas.models.local.load import load_renderer, locate_model
from atlas.store.readers import read_trajectories
from atlas.store.run_folders import is_finished
from atlas.training.config import TrainConfig

HOUR = 3600.0


class Play(NamedTuple):
    """What evaluations play, at most."""

    episodes: int
    answers: int
    tokens: int


def tell_work(config: ExperimentConfig, plan: ExperimentPlan) -> Iterator[str]:
    """The lines about tokens, episodes and, at a stated throughput, hours of what is left.

    Raises:
        RunError: `trajectories` is not a finished run.
        ModelError: the base model has no tokenizer or no usable chat template.
    """
    left = [stage for stage in plan.stages if not stage.is_finished]
    trainings = [one for one in left if isinstance(one.config, TrainConfig)]
    trained: float | None = None
    collects = plan.stages[0]
    trajectories = config.trajectories or (collects.out if collects.is_finished else None)
    if trajectories is None:
        yield "training: its tokens are known once the trajectories are collected"
    else:
        tokens = _count_tokens(config, trainings, trajectories)
        trained = sum(tokens[_train(one).max_tokens] * _train(one).epochs for one in trainings)
        longest = max(tokens.values(), default=0)
        yield (
            f"training: {len(trainings):,} are left, each with {longest:,} tokens in an epoch; in "
            f"all {trained:,.0f} tokens, common beginnings counted each time"
        )
    play = _sum(_play(one) for one in left)
    yield (
        f"play: {play.episodes:,} episodes are left, with at most {play.answers:,} answers of "
        f"{play.tokens:,} tokens"
    )
    yield from _hours(config.speed, trained, play)


def _hours(speed: Speed, trained: float | None, play: Play) -> Iterator[str]:
    """What the work takes at the stated throughput, if there is one."""
    found = (
        ("training", trained, speed.train_tokens),
        ("play", speed.answer_share * play.tokens, speed.answer_tokens),
    )
    hours: list[float] = []
    for name, tokens, rate in found:
        if tokens is None or rate is None:
            continue
        hours.append(tokens / rate / HOUR)
        devices = ""
        if speed.devices > 1:
            devices = f" of a device, {hours[-1] / speed.devices:,.1f} on {speed.devices}"
        yield f"{name}: about {hours[-1]:,.1f} hours{devices}, at {rate:,.0f} tokens per second"
    if len(hours) == len(found):
        yield f"together: about {sum(hours):,.1f} device hours (at the throughput in `speed`)"


def _train(stage: Stage) -> TrainConfig:
    assert isinstance(stage.config, TrainConfig)
    return stage.config


def _count_tokens(
    config: ExperimentConfig, trainings: Sequence[Stage], trajectories: Path
) -> dict[int, int]:
    """By `max_tokens`: the tokens of all trajectories, rendered for the base model."""
    template = config.train.get("chat_template")
    renderer = load_renderer(locate_model(str(config.train["model"])), template)
    limits = dict.fromkeys((_train(one).max_tokens for one in trainings), 0)
    for trajectory in read_trajectories(trajectories):
        for example in renderer.tokenize_trajectory(trajectory):
            for limit in limits:
                limits[limit] += min(limit, len(example.token_ids))
    return limits


def _play(stage: Stage) -> Play:
    config = stage.config
    if isinstance(config, EvaluateSuiteConfig):
        return _sum(
            _play_of(config.of_entry(name, entry))
            for name, entry in config.suite.entries.items()
            if not is_finished(stage.out / name, "evaluate")
        )
    return _play_of(config) if isinstance(config, EvaluateConfig) else Play(0, 0, 0)


def _play_of(config: EvaluateConfig) -> Play:
    """A world that has no limit of turns counts as one turn."""
    episodes = min(config.episodes, config.limit or config.episodes)
    limits = (
        getattr(config.environment.settings, "max_steps", None),
        config.episode_limits.max_steps,
    )
    answers = episodes * min((limit for limit in limits if limit is not None), default=1)
    lengths = [getattr(config.player.settings, name, None) for name in ANSWER_LENGTHS]
    return Play(episodes, answers, answers * next((one for one in lengths if one), 1))


def _sum(plays: Iterator[Play]) -> Play:
    given = list(plays)
    return Play(*(sum(one[field] for one in given) for field in range(3)))
