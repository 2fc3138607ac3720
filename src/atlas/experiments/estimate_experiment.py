"""What an experiment would cost: `plan -> lines`. Nothing is trained, played, asked or written.

Tokens are counted, episodes and answers bounded. Time follows from stages of this experiment that
are finished, or from the throughput that the recipe states (`speed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from atlas.evaluation.evaluate_agent import EvaluateConfig
from atlas.evaluation.evaluate_suite import ANSWER_LENGTHS, EvaluateSuiteConfig
from atlas.experiments.config import ExperimentConfig, Speed
from atlas.experiments.plan_experiment import ExperimentPlan
from atlas.experiments.run_stages import Stage
from atlas.models.local.load import load_renderer, locate_model
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.select_steps import SelectConfig
from atlas.selection.selectors.base import SELECTOR
from atlas.store.readers import read_trajectories
from atlas.store.run_folders import is_finished, read_manifest
from atlas.training.config import TrainConfig

HOUR = 3600.0
TRAINING, EVALUATION, SELECTION = "trainings", "evaluations", "selections"
KINDS: dict[str, tuple[type, ...]] = {
    SELECTION: (SelectConfig,),
    TRAINING: (TrainConfig,),
    EVALUATION: (EvaluateConfig, EvaluateSuiteConfig),
}


class Play(NamedTuple):
    """What an evaluation plays, at most."""

    episodes: int
    answers: int
    tokens: int

    def __add__(self, other: object) -> Play:
        assert isinstance(other, Play)
        return Play(*map(sum, zip(self, other, strict=True)))


def describe_cost(config: ExperimentConfig, plan: ExperimentPlan) -> Iterator[str]:
    """The lines of `atlas run --dry-run`.

    Raises:
        RunError: `trajectories` is not a finished run.
        ModelError: the base model has no tokenizer or no usable chat template.
    """
    stages = {name: _of_kind(plan.stages, kinds) for name, kinds in KINDS.items()}
    left = {name: [one for one in each if not one.is_finished] for name, each in stages.items()}
    for name, each in stages.items():
        yield f"{name + ':':13}{len(each):,}, of them {len(each) - len(left[name]):,} finished"
    trajectories = config.trajectories
    trained: float | None = None
    if trajectories is None:
        yield (
            "tokens:      unknown, because the trajectories are not collected yet. Collect them "
            "(atlas collect), and give trajectories=RUN"
        )
    else:
        yield from _oracle_lines(left[SELECTION], trajectories)
        tokens = _count_tokens(config, stages[TRAINING], trajectories)
        trained = sum(tokens[_length(one)] * _train(one).epochs for one in left[TRAINING])
        longest = max(tokens.values(), default=0)
        yield (
            f"tokens:      {longest:,} in the trajectories; the trainings that are left run at "
            f"most {trained:,.0f} (with their epochs, common beginnings counted each time)"
        )
    play = sum((_play(one) for one in left[EVALUATION]), Play(0, 0, 0))
    yield (
        f"episodes:    {play.episodes:,} are left, with at most {play.answers:,} answers of "
        f"{play.tokens:,} tokens"
    )
    yield from _time_lines(config.speed, stages, left, trained, play)
    yield "Nothing was trained, played or asked."


def _time_lines(
    speed: Speed,
    stages: dict[str, list[Stage]],
    left: dict[str, list[Stage]],
    trained: float | None,
    play: Play,
) -> Iterator[str]:
    stated = {
        TRAINING: _seconds(trained, speed.train_tokens, speed.devices),
        EVALUATION: _seconds(speed.answer_share * play.tokens, speed.answer_tokens, speed.devices),
    }
    rates = {TRAINING: "train_tokens", EVALUATION: "answer_tokens"}
    known: list[float] = []
    for name, forecast in stated.items():
        done = [read_manifest(one.out).wall_seconds for one in stages[name] if one.is_finished]
        if done:
            seconds = sum(done) / len(done) * len(left[name])
            source = f"as the {len(done):,} finished ones took on average"
        elif forecast is not None:
            seconds = forecast
            source = f"at {getattr(speed, rates[name]):,.0f} tokens per second and device"
        else:
            missing = f"speed.{rates[name]}=TOKENS-PER-SECOND"
            yield f"time:        {name}: unknown. Give {missing}, or finish one of them first"
            continue
        known.append(seconds)
        yield f"time:        {name}: about {_hours(seconds, speed)} {source}"
    if len(known) == len(stated):
        yield f"together:    about {_hours(sum(known), speed)}"


def _hours(seconds: float, speed: Speed) -> str:
    devices = f" on {speed.devices} devices" if speed.devices > 1 else ""
    of_devices = f" ({seconds * speed.devices / HOUR:,.1f} device hours)" if devices else ""
    return f"{seconds / HOUR:,.1f} hours{devices}{of_devices}"


def _seconds(tokens: float | None, rate: float | None, devices: int) -> float | None:
    return None if tokens is None or rate is None else tokens / rate / devices


def _of_kind(stages: Iterable[Stage], kinds: tuple[type, ...]) -> list[Stage]:
    return [stage for stage in stages if isinstance(stage.config, kinds)]


def _train(stage: Stage) -> TrainConfig:
    assert isinstance(stage.config, TrainConfig)
    return stage.config


def _length(stage: Stage) -> int:
    return _train(stage).max_tokens


def _count_tokens(
    config: ExperimentConfig, trainings: Sequence[Stage], trajectories: Path
) -> dict[int, int]:
    """By `max_tokens`: the tokens of all trajectories, rendered for the base model."""
    template = config.train.get("chat_template")
    renderer = load_renderer(locate_model(str(config.train["model"])), template)
    limits = dict.fromkeys(map(_length, trainings), 0)
    for trajectory in read_trajectories(trajectories):
        for example in renderer.tokenize_trajectory(trajectory):
            for limit in limits:
                limits[limit] += min(limit, len(example.token_ids))
    return limits


def _oracle_lines(selections: Sequence[Stage], trajectories: Path) -> Iterator[str]:
    """What selections that ask a model by the token would ask, and for how much."""
    for stage in selections:
        select = stage.config
        assert isinstance(select, SelectConfig)
        if not hasattr(SELECTOR.find(select.selector.name), "estimate"):
            continue
        found = estimate_cost(select, trajectories, stage.out)
        if not found.usage.requests:
            continue
        usage, model = found.usage, getattr(select.selector.settings, "model", "a model")
        cost = "price unknown (oracle.prices=FILE)"
        if found.cost_usd is not None:
            cost = f"about {found.cost_usd:,.2f} USD by {found.price_source}"
        yield (
            f"oracle:      {stage.title}: {model} about {found.trajectories:,} trajectories, in "
            f"{usage.requests:,} requests; {usage.input_tokens:,} tokens sent and "
            f"{usage.output_tokens:,} received; {cost}"
        )


def _play(stage: Stage) -> Play:
    config = stage.config
    if isinstance(config, EvaluateSuiteConfig):
        entries = config.suite.entries.items()
        left = [
            config.of_entry(name, entry)
            for name, entry in entries
            if not is_finished(stage.out / name, "evaluate")
        ]
        return sum(map(_play_of, left), Play(0, 0, 0))
    assert isinstance(config, EvaluateConfig)
    return _play_of(config)


def _play_of(config: EvaluateConfig) -> Play:
    episodes = min(config.episodes, config.limit or config.episodes)
    limits = (
        getattr(config.environment.settings, "max_steps", None),
        config.episode_limits.max_steps,
    )
    turns = min((limit for limit in limits if limit is not None), default=1)
    settings = config.player.settings
    lengths = [getattr(settings, name, None) for name in ANSWER_LENGTHS]
    answers = episodes * turns
    return Play(episodes, answers, answers * next((one for one in lengths if one), 1))
