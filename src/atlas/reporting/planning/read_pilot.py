"""Runs that exist -> the noise and the time that a plan needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.errors import ConfigError, RunError
from atlas.lookup import nearest
from atlas.reporting.arms import Arm, evaluations_of
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.read_arms import read_arms
from atlas.reporting.scopes import find_scopes, scope_values
from atlas.statistics.bootstrap import Floats
from atlas.statistics.crossed_difference import estimate_seed_variance, seeds_near
from atlas.statistics.student_t import chi_square_quantile
from atlas.statistics.task_differences import pair_tasks, run_share
from atlas.store.run_folders import read_manifest

# The SD between seeds stays below its high value with this probability.
HIGH = 0.8


@dataclass(frozen=True, slots=True)
class PilotNoise:
    """What a pilot says; None and 0 where it says nothing. Rates are shares.

    Attributes:
        degrees: the degrees of freedom of `seed_sd`.
        task_variance: the variance of the true difference between tasks.
    """

    seed_sd: float | None = None
    seed_sd_high: float | None = None
    degrees: int | None = None
    discordance: float | None = None
    task_variance: float = 0.0
    seconds_per_training: float | None = None
    seconds_per_episode: float | None = None


def read_pilot(
    paths: Sequence[Path], arm: str | None, against: str | None, split: str | None
) -> PilotNoise:
    """Read a run folder of report, or run folders of evaluate, one per arm."""
    manifests = [read_manifest(path, ("report", "evaluate")) for path in paths]
    if manifests[0].command == "report":
        if len(paths) > 1:
            raise ConfigError(
                f"{len(paths)} pilots are given and {paths[0]} is a report, expected one report "
                "or several run folders of evaluate."
            )
        config = ReportConfig(**manifests[0].config).moved_from(paths[0])
    else:
        config = _config_of(paths)
    arms = read_arms(config)
    first = _find(arms, arm or config.focus_arm, "arm")
    second = _find(arms, against or config.reference, "against")
    if first is second:
        raise ConfigError(
            f"the pilot has one arm to compare, '{first.name}', expected two. Give another with "
            "arm=NAME or against=NAME, or add its run folder with --pilot."
        )
    scopes = {scope.name: scope for scope in find_scopes(arms, config)}
    if split is not None and split not in scopes:
        raise ConfigError(f"the pilot has no split or ring '{split}'. {nearest(split, scopes)}")
    scope = scopes[split] if split is not None else next(iter(scopes.values()))
    values = {one.name: scope_values(one, scope, "success") for one in arms}
    trained = [one.name for one in arms if one.trainings or one.name != config.base]
    return _measure(values, trained, (first, second))


def _config_of(paths: Sequence[Path]) -> ReportConfig:
    """Evaluations as arms with one run each."""
    if len(paths) < 2:
        raise ConfigError(
            f"one evaluation is given, {paths[0]}, expected two or a report: what matters is on "
            "how many tasks two arms differ. Give both with --pilot."
        )
    names = [f"pilot {number}" for number in range(1, len(paths) + 1)]
    arms = tuple(
        ArmConfig(name=name, runs=(ArmRun(evaluations={"pilot": path}),))
        for name, path in zip(names, paths, strict=True)
    )
    return ReportConfig(arms=arms, reference=names[0])


def _find(arms: Sequence[Arm], name: str | None, setting: str) -> Arm:
    known = [arm.name for arm in arms]
    if name is None or name not in known:
        raise ConfigError(f"{setting}: the pilot has no arm '{name}'. {nearest(name or '', known)}")
    return arms[known.index(name)]


def _measure(
    values: Mapping[str, Floats], trained: Sequence[str], arms: tuple[Arm, Arm]
) -> PilotNoise:
    one, other = arms
    tasks = pair_tasks(values[one.name], values[other.name], None)
    if tasks.each.size < 2:
        raise RunError(
            f"the pilot has {tasks.each.size} tasks that both arms finished, expected at least two."
        )
    squares = (tasks.a[:, None, :] - tasks.b[None, :, :]) ** 2
    discordance = float(np.nanmean(squares))
    seeds = estimate_seed_variance([values[name] for name in trained])
    if seeds is not None:
        sides = zip(arms, (tasks.a, tasks.b), strict=True)
        seeds = seeds_near(
            seeds, [runs for arm, runs in sides if arm.name in trained], tasks.weights
        )
    task_variance, high = 0.0, None
    if seeds is not None:
        runs = run_share(tasks.a, tasks.weights) + run_share(tasks.b, tasks.weights)
        lasting = tasks.each.size * (tasks.variance - runs * seeds.noise)
        task_variance = min(discordance, max(0.0, lasting))
        most = seeds.variance * seeds.degrees / chi_square_quantile(1 - HIGH, seeds.degrees)
        high = math.sqrt(max(0.0, most - seeds.noise))
    episodes = [len(one.episodes) for each in evaluations_of(arms) for one in each.repetitions]
    played = [one.folder.manifest for each in evaluations_of(arms) for one in each.repetitions]
    trainings = [one.folder.manifest for arm in arms for one in arm.trainings]
    return PilotNoise(
        seed_sd=None if seeds is None else seeds.seed_sd,
        seed_sd_high=high,
        degrees=None if seeds is None else seeds.degrees,
        discordance=discordance,
        task_variance=task_variance,
        seconds_per_training=(
            sum(one.wall_seconds for one in trainings) / len(trainings) if trainings else None
        ),
        seconds_per_episode=sum(one.wall_seconds for one in played) / max(1, sum(episodes)),
    )
