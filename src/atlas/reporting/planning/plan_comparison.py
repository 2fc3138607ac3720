"""How many tasks and seeds a comparison needs: `pilot or named noise -> table of designs`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from atlas.config import Config, StrPath
from atlas.errors import ConfigError
from atlas.records import Record
from atlas.reporting.claims.compare_values import FEWEST_TRAININGS
from atlas.reporting.planning.read_pilot import PilotNoise, read_pilot
from atlas.statistics.power import (
    Noise,
    minimum_detectable_difference,
    power_of,
    required_seeds,
    required_tasks,
)

# Without a pilot: what the demo showed, a 35 % discordance and an SD between seeds of 3.5 points.
SEED_SD = 3.5
DISCORDANCE = 35.0
Tasks = Annotated[int, Field(ge=2, le=1_000_000)]
# With fewer trainings a report says nothing about methods.
Seeds = Annotated[int, Field(ge=FEWEST_TRAININGS, le=1_000_000)]


class PlanConfig(Config):
    """What a comparison of two arms shall show, and what is known of its noise."""

    difference: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        description="the true difference of success, in points, that shall be found; "
        "5 if no margin is given either",
    )
    margin: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        description="instead of a difference: show 'not worse by more than this', in points, of "
        "an arm that is as good",
    )
    tasks: tuple[Tasks, ...] = Field(
        default=(50, 100, 200, 500, 1000), min_length=1, description="numbers of tasks to look at"
    )
    seeds: tuple[Seeds, ...] = Field(
        default=(3, 5, 10, 20), min_length=1, description="numbers of seeds per arm to look at"
    )
    seed_sd: float | None = Field(
        default=None,
        ge=0,
        lt=50,
        description="SD of the true success between training seeds, in points; if none, that of "
        f"the pilot, or {SEED_SD:g}",
    )
    discordance: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="share of the tasks, in percent, on which single runs of the two arms differ; "
        f"if none, that of the pilot, or {DISCORDANCE:g}",
    )
    arms: int = Field(
        default=2,
        ge=2,
        le=1000,
        description="trained arms, which share one estimate of the noise of seeds",
    )
    splits: int = Field(
        default=1, ge=1, le=1000, description="splits that each training is evaluated on"
    )
    power: float = Field(
        default=0.8, gt=0.05, lt=1, description="the probability with which it shall be shown"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level")
    seconds_per_training: float | None = Field(
        default=None, ge=0, description="if none, that of the pilot"
    )
    seconds_per_episode: float | None = Field(
        default=None, ge=0, description="if none, that of the pilot"
    )
    processes: int = Field(
        default=1, ge=1, description="trainings and evaluations that run at the same time"
    )
    arm: str | None = Field(
        default=None, description="an arm of the pilot; if none, that of its headline"
    )
    against: str | None = Field(
        default=None, description="the arm of the pilot that it is compared with; if none, all"
    )
    split: str | None = Field(
        default=None, description="the split or ring of the pilot; if none, the first"
    )

    @model_validator(mode="after")
    def _has_one_goal(self) -> PlanConfig:
        if self.difference is not None and self.margin is not None:
            raise ValueError("both 'difference' and 'margin' are given, expected one of them")
        return self

    def needed_extras(self) -> tuple[str, ...]:
        return ("report",)

    @property
    def goal(self) -> float:
        """The difference or margin, in points."""
        return self.difference or self.margin or 5.0


class PlannedSize(Record):
    """So many tasks and seeds per arm, and what they show. Differences are shares.

    `minimum_detectable` is None if no difference is found, however large.
    `seconds` is the time of all trainings and evaluations; None if it is not known.
    """

    num_tasks: int
    num_seeds: int
    minimum_detectable: float | None
    power: float
    seconds: float | None


class ComparisonPlan(Record):
    """A table of designs, and for each number of tasks the fewest seeds that are enough.

    Numbers are shares. `seed_sd_high` is what the SD between seeds stays below with 80 %
    probability, as far as the pilot shows it. `enough` has no design for a number of tasks for
    which no number of seeds is enough. `fewest_tasks` are those of each number of seeds.
    """

    goal: float
    is_margin: bool
    power: float
    confidence: float
    seed_sd: float
    seed_sd_degrees: int | None
    seed_sd_high: float | None
    discordance: float
    task_variance: float
    seconds_per_training: float | None
    seconds_per_episode: float | None
    designs: tuple[PlannedSize, ...]
    enough: dict[int, PlannedSize]
    fewest_tasks: dict[int, int | None]

    @property
    def cheapest(self) -> PlannedSize | None:
        """The design that is enough in the least time; None if no time is known."""
        timed = [(one.seconds, one) for one in self.enough.values() if one.seconds is not None]
        return min(timed, key=lambda pair: pair[0], default=(0.0, None))[1]


def plan_comparison(config: PlanConfig, pilot: Sequence[StrPath] = ()) -> ComparisonPlan:
    """The designs of a comparison.

    Args:
        pilot: a run folder of report, or run folders of evaluate, one per arm.

    Raises:
        ConfigError: the arm or split is not in the pilot.
        RunError: a folder is missing, or the runs cannot be compared.
    """
    paths = [Path(path) for path in pilot]
    known = read_pilot(paths, config.arm, config.against, config.split) if paths else PilotNoise()
    if known.discordance == 0 and config.discordance is None:
        raise ConfigError(
            "the two arms of the pilot differ on no task, which says nothing about other tasks. "
            "Give discordance=PERCENT, or a larger pilot."
        )
    noise = Noise(
        seed_sd=_first(_share(config.seed_sd), known.seed_sd, SEED_SD / 100),
        discordance=_first(_share(config.discordance), known.discordance, DISCORDANCE / 100),
        num_arms=config.arms,
        task_variance=known.task_variance,
    )
    of_training = _first(config.seconds_per_training, known.seconds_per_training, None)
    of_episode = _first(config.seconds_per_episode, known.seconds_per_episode, None)
    goal = config.goal / 100

    def design(num_tasks: int, num_seeds: int) -> PlannedSize:
        seconds = None
        if of_training is not None and of_episode is not None:
            one = of_training + config.splits * num_tasks * of_episode
            seconds = config.arms * num_seeds * one / config.processes
        least = minimum_detectable_difference(
            noise, num_seeds, num_tasks, config.confidence, config.power
        )
        return PlannedSize(
            num_tasks=num_tasks,
            num_seeds=num_seeds,
            minimum_detectable=least if least is not None and math.isfinite(least) else None,
            power=power_of(goal, noise, num_seeds, num_tasks, config.confidence),
            seconds=seconds,
        )

    given = (config.confidence, config.power)
    fewest = {
        num: required_seeds(goal, noise, num, *given, FEWEST_TRAININGS) for num in config.tasks
    }
    is_own = config.seed_sd is None
    return ComparisonPlan(
        goal=goal,
        is_margin=config.margin is not None,
        power=config.power,
        confidence=config.confidence,
        seed_sd=noise.seed_sd,
        seed_sd_degrees=known.degrees if is_own else None,
        seed_sd_high=known.seed_sd_high if is_own else None,
        discordance=noise.discordance,
        task_variance=noise.task_variance,
        seconds_per_training=of_training,
        seconds_per_episode=of_episode,
        designs=tuple(design(num, seeds) for num in config.tasks for seeds in config.seeds),
        enough={num: design(num, seeds) for num, seeds in fewest.items() if seeds is not None},
        fewest_tasks={num: required_tasks(goal, noise, num, *given) for num in config.seeds},
    )


def _share(points: float | None) -> float | None:
    return None if points is None else points / 100


def _first(*values: float | None) -> Any:
    """The first value that is known."""
    return next((value for value in values if value is not None), None)
