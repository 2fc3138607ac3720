"""Coverage, false verdicts and power of the statistics of a report, simulated.

    python benchmarks/report_statistics.py [--repetitions 2000] [--seed 0] [--only methods rates]

An agent solves a task if c + D(task) + G(arm, task) + U(run) + E(run, task) > 0; all are normal. c
fits the arm's rate, and D and G together the correlation at which single runs of two arms with a
rate of 35 % differ on 35 % of the tasks. `interaction` is the share of G in it. U is such that the
true rate of a run with a rate of 35 % has the SD `seed SD`; at other rates the same U moves it
less. The truth is the difference of methods: the mean over runs and tasks. Of two checkpoints it is
their own difference (seed SD 0).

Each table names its conditions. A coverage near 95 % of 2,000 repetitions has a standard error of
0.5 points.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from atlas.reporting.claims.compare_values import ArmValues, ComparisonSettings, compare_values
from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.crossed_difference import crossed_difference, estimate_seed_variance
from atlas.statistics.group_difference import group_difference, group_seed_variance
from atlas.statistics.improvement import probability_of_improvement
from atlas.statistics.power import Noise, power_of
from atlas.statistics.rates import success_rate
from atlas.statistics.verdict_family import adjust_family

RATE = 0.35
# The correlation of two arms on a task, for a discordance of 35 % at a rate of 35 %.
TASK_SHARE = 0.3644
NORMAL = NormalDist()
SEED_SDS = (0.0, 0.035, 0.045)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Conditions:
    """One cell of a table.

    Attributes:
        seeds: the number of runs of each arm; the first two arms are compared.
        rates: the true rate of each arm.
        strata: the numbers of tasks of strata that count alike.
        level_share: the share of G that all tasks of a stratum have in common.
        broken: the share of episodes that break.
    """

    num_tasks: int = 200
    seeds: tuple[int, ...] = (3, 3, 3)
    seed_sd: float = 0.0
    rates: tuple[float, ...] = (RATE, RATE, RATE)
    interaction: float = 0.0
    strata: tuple[int, ...] = ()
    level_share: float = 0.0
    broken: float = 0.0

    @property
    def truth(self) -> float:
        return self.rates[0] - self.rates[1]

    @property
    def labels(self) -> list[int] | None:
        """The stratum of each task."""
        if not self.strata:
            return None
        return [number for number, size in enumerate(self.strata) for _ in range(size)]


@dataclass(frozen=True)
class Found:
    """What a formula did in one cell, as shares; `judged` is the share with p < 0.05."""

    coverage: float
    judged: float
    width: float


def simulate_arms(
    cell: Conditions, num: int, rng: np.random.Generator, effects: Sequence[Values] | None = None
) -> list[Values]:
    """The outcomes of each arm in so many experiments [N, R, T].

    Args:
        effects: U of each arm [N, R], in SDs, instead of new draws.
    """
    num_tasks = sum(cell.strata) or cell.num_tasks
    labels = cell.labels

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    run_sd = cell.seed_sd / NORMAL.pdf(NORMAL.inv_cdf(RATE))
    shared = TASK_SHARE * (1 - cell.interaction)
    of_arm = TASK_SHARE * cell.interaction
    rest = math.sqrt(1 - TASK_SHARE - run_sd**2)
    difficulty = normal(num, 1, num_tasks) * math.sqrt(shared)
    arms = []
    for place, (num_runs, rate) in enumerate(zip(cell.seeds, cell.rates, strict=True)):
        ability = NORMAL.inv_cdf(rate) + difficulty
        if of_arm:
            own = normal(num, 1, num_tasks) * math.sqrt(of_arm * (1 - cell.level_share))
            ability = ability + own
            if labels is not None:
                levels = normal(num, 1, len(cell.strata)) * math.sqrt(of_arm * cell.level_share)
                ability = ability + levels[:, :, labels]
        runs = normal(num, num_runs) if effects is None else effects[place]
        ability = ability + run_sd * runs[:, :, np.newaxis]
        won = (ability + rest * normal(num, num_runs, num_tasks) > 0).astype(np.float64)
        if cell.broken:
            won[rng.random(won.shape) < cell.broken] = np.nan
        arms.append(won)
    return arms


def experiments(cell: Conditions, num: int, seed: int) -> Iterator[list[Values]]:
    """The arms [R, T] of one experiment after the other, drawn in blocks."""
    rng = np.random.default_rng(seed)
    size = max(1, 2_000_000 // (sum(cell.seeds) * (sum(cell.strata) or cell.num_tasks)))
    for start in range(0, num, size):
        block = simulate_arms(cell, min(size, num - start), rng)
        for arms in zip(*block, strict=True):
            yield list(arms)


def measure_methods(cell: Conditions, num: int, seed: int = 0) -> Found:
    """The difference of methods, with the seeds of all arms."""

    def judge(arms: list[Values]) -> tuple[float, float, float | None]:
        seeds = estimate_seed_variance(arms, cell.labels)
        found = crossed_difference(arms[0], arms[1], strata=cell.labels, seeds=seeds)
        return *_limits(found.difference.limits), found.p_value

    return _measure(cell, num, seed, judge, cell.truth)


def measure_checkpoints(cell: Conditions, num: int, seed: int = 0) -> Found:
    """The difference of two checkpoints; `judged` by the exact test."""
    cell = replace(cell, seeds=(1, 1), rates=cell.rates[:2])

    def judge(arms: list[Values]) -> tuple[float, float, float | None]:
        found = checkpoint_difference(arms[0], arms[1], strata=cell.labels)
        return *_limits(found.difference.limits), found.p_exact

    return _measure(cell, num, seed, judge, cell.truth)


def measure_rate(cell: Conditions, num: int, seed: int = 0) -> Found:
    """The success rate of the first arm."""
    cell = replace(cell, seeds=cell.seeds[:1], rates=cell.rates[:1])

    def judge(arms: list[Values]) -> tuple[float, float, float | None]:
        return *_limits(success_rate(arms[0], strata=cell.labels).rate.limits), None

    return _measure(cell, num, seed, judge, cell.rates[0])


def measure_groups(cell: Conditions, num: int, seed: int = 0) -> Found:
    """The difference on groups that were not played: of checkpoints, or of methods with seeds."""
    cell = replace(cell, seeds=cell.seeds[:2], rates=cell.rates[:2])
    labels = cell.labels or []

    def judge(arms: list[Values]) -> tuple[float, float, float | None]:
        seeds = group_seed_variance(arms, labels) if len(arms[0]) > 1 else None
        trained = (seeds is not None, seeds is not None)
        found = group_difference(arms[0], arms[1], labels, seeds=seeds, trained=trained)
        return *_limits(found.difference.limits), found.p_value

    return _measure(cell, num, seed, judge, cell.truth)


def measure_improvement(cell: Conditions, num: int, seed: int = 0) -> Found:
    """The probability that a run of one arm is above one of the other, for equal arms."""
    cell = replace(cell, seeds=cell.seeds[:2], rates=cell.rates[:2])

    def judge(arms: list[Values]) -> tuple[float, float, float | None]:
        found = probability_of_improvement(arms[0], arms[1])
        return *_limits(found.limits), None

    return _measure(cell, num, seed, judge, 0.5)


def share_not_worse(cell: Conditions, margin: float, num: int, seed: int = 0) -> float:
    """How often an arm is shown to be not worse by more than the margin."""
    shown = 0
    for arms in experiments(cell, num, seed):
        values = [ArmValues(str(place), each, True) for place, each in enumerate(arms)]
        settings = ComparisonSettings(cell.labels, None, margin, None, 0.95)
        found = compare_values(values[0], values[1], values, settings)
        shown += found.p_worse is not None and found.p_worse < 0.05
    return shown / num


def share_of_false_reports(cell: Conditions, num: int, seed: int = 0) -> float:
    """How often any verdict between three equal arms on two splits is false.

    The untuned model is worse by 15 points and is compared with each of them. All 12 p-values are
    one family of Holm. Half of the variance of a run's effect is shared by the splits.
    """
    rng = np.random.default_rng(seed)
    num_runs = cell.seeds[0]
    cell = replace(
        cell, seeds=(num_runs, num_runs, num_runs, 1), rates=(RATE, RATE, RATE, RATE - 0.15)
    )
    false = 0
    for _ in range(num):
        p_values: list[float | None] = []
        common = [rng.standard_normal((1, runs)) for runs in cell.seeds]
        for _split in range(2):
            effects = [(one + rng.standard_normal(one.shape)) * math.sqrt(0.5) for one in common]
            # The untuned model was not trained.
            effects[3] = np.zeros((1, 1))
            *arms, base = (arm[0] for arm in simulate_arms(cell, 1, rng, effects))
            seeds = estimate_seed_variance(arms)
            for one, other in ((0, 1), (0, 2), (1, 2)):
                p_values.append(crossed_difference(arms[one], arms[other], seeds=seeds).p_value)
            for arm in arms:
                found = crossed_difference(arm, base, seeds=seeds, trained=(True, False))
                p_values.append(found.p_value)
        adjusted = adjust_family([[p_value] for p_value in p_values])
        tuned = [adjusted[place + first][0] for first in (0, 6) for place in range(3)]
        false += any(p is not None and p < 0.05 for p in tuned)
    return false / num


def _measure(
    cell: Conditions,
    num: int,
    seed: int,
    judge: Callable[[list[Values]], tuple[float, float, float | None]],
    truth: float,
) -> Found:
    found = [judge(arms) for arms in experiments(cell, num, seed)]
    return Found(
        coverage=sum(low <= truth <= high for low, high, _ in found) / num,
        judged=sum(p is not None and p < 0.05 for *_, p in found) / num,
        width=sum(high - low for low, high, _ in found if math.isfinite(high)) / num,
    )


def _limits(limits: tuple[float, float] | None) -> tuple[float, float]:
    """Without an interval, everything is possible."""
    return (-math.inf, math.inf) if limits is None else limits


def _row(name: str, found: Found) -> str:
    return (
        f"| {name} | {100 * found.coverage:.1f} | {100 * found.judged:.1f} "
        f"| {100 * found.width:.1f} |"
    )


def _methods(num: int, seed: int) -> Iterator[str]:
    """Coverage and type I error; three arms, of which two are compared."""
    yield "| seeds, tasks, seed SD, interaction | coverage | p < 0.05 | width |\n|---|---|---|---|"
    for seeds in ((3, 3, 3), (5, 5, 5), (10, 10, 10), (1, 3, 3), (1, 5, 5), (3, 5, 1)):
        for tasks in (25, 50, 200, 1000):
            for seed_sd in (*SEED_SDS, 0.08):
                for interaction in (0.0, 0.3):
                    cell = Conditions(tasks, seeds, seed_sd, interaction=interaction)
                    name = f"{seeds}, {tasks}, {100 * seed_sd:g}, {interaction:g}"
                    yield _row(name, measure_methods(cell, num, seed))


def _unequal(num: int, seed: int) -> Iterator[str]:
    """Rates near 0 and 1, arms with unequal rates, strata, and broken episodes."""
    yield "| conditions | coverage | p < 0.05 | width |\n|---|---|---|---|"
    for rates in ((0.05,) * 3, (0.02,) * 3, (0.98,) * 3, (0.35, 0.35, 0.05), (0.5, 0.5, 0.1)):
        for tasks in (25, 200):
            for seed_sd in (0.0, 0.045):
                cell = Conditions(tasks, (3, 3, 3), seed_sd, rates, 0.15)
                yield _row(
                    f"{rates}, {tasks} tasks, seed SD {100 * seed_sd:g}",
                    measure_methods(cell, num, seed),
                )
    for strata in ((20,) * 5, (20, 50, 100, 200, 50), (4,) * 25):
        for seed_sd in (0.0, 0.045):
            cell = Conditions(0, (3, 3, 3), seed_sd, interaction=0.15, strata=strata)
            name = f"strata {strata}, seed SD {100 * seed_sd:g}"
            yield _row(name, measure_methods(cell, num, seed))
    for broken, runs in ((0.1, 3), (0.3, 5)):
        for seed_sd in (0.0, 0.045):
            cell = Conditions(200, (runs,) * 3, seed_sd, interaction=0.15, broken=broken)
            name = f"{broken:.0%} broken, seed SD {100 * seed_sd:g}"
            yield _row(name, measure_methods(cell, num, seed))


def _checkpoints(num: int, seed: int) -> Iterator[str]:
    """Two checkpoints: coverage of Bonett and Price, and the exact test."""
    yield "| rates, tasks | coverage | p < 0.05 | width |\n|---|---|---|---|"
    for rates in ((0.35, 0.35), (0.05, 0.05), (0.02, 0.02), (0.5, 0.2), (0.1, 0.03)):
        for tasks in (10, 25, 50, 200, 1000):
            cell = Conditions(tasks, rates=rates, interaction=0.15)
            yield _row(f"{rates}, {tasks}", measure_checkpoints(cell, num, seed))
    for strata in ((20,) * 5, (5, 5, 5, 5, 200), (4,) * 25):
        cell = Conditions(interaction=0.15, strata=strata)
        yield _row(f"strata {strata}", measure_checkpoints(cell, num, seed))


def _rates(num: int, seed: int) -> Iterator[str]:
    """The rate of one arm."""
    yield "| rate, seeds, tasks, seed SD | coverage | | width |\n|---|---|---|---|"
    for rate in (0.35, 0.1, 0.03):
        for runs in (1, 3, 5, 10):
            for tasks in (25, 50, 200):
                for seed_sd in SEED_SDS if runs > 1 else (0.0,):
                    cell = Conditions(tasks, (runs,), seed_sd, (rate,))
                    name = f"{rate}, {runs}, {tasks}, {100 * seed_sd:g}"
                    yield _row(name, measure_rate(cell, num, seed))


def _groups(num: int, seed: int) -> Iterator[str]:
    """Groups of tasks that were not played: t over groups, and the tasks of these groups."""
    yield "| formula, groups | coverage | p < 0.05 | width |\n|---|---|---|---|"
    for strata in ((20,) * 10, (40,) * 5):
        cell = Conditions(
            0, (1, 1), rates=(RATE, RATE), interaction=0.3, strata=strata, level_share=0.5
        )
        yield _row(f"groups, {strata}", measure_groups(cell, num, seed))
        yield _row(f"tasks, {strata}", measure_checkpoints(cell, num, seed))
        for seed_sd in SEED_SDS:
            methods = replace(cell, seeds=(3, 3), seed_sd=seed_sd)
            name = f"groups, {strata}, 3 seeds, seed SD {100 * seed_sd:g}"
            yield _row(name, measure_groups(methods, num, seed))


def _improvement(num: int, seed: int) -> Iterator[str]:
    """The probability of improvement of equal arms on one environment."""
    yield "| seeds, seed SD | coverage | | width |\n|---|---|---|---|"
    for runs in ((3, 3), (4, 4), (5, 5), (10, 10), (1, 5)):
        for seed_sd in (0.0, 0.045):
            cell = Conditions(40, runs, seed_sd, (RATE, RATE))
            yield _row(f"{runs}, {100 * seed_sd:g}", measure_improvement(cell, num, seed))


def _power(num: int, seed: int) -> Iterator[str]:
    """Power for 10 points on 200 tasks: simulated, and as `atlas plan` says."""
    yield "| seeds, seed SD | simulated | planned |\n|---|---|---|"
    for runs in (3, 5, 10):
        for seed_sd in SEED_SDS:
            cell = Conditions(200, (runs,) * 3, seed_sd, (0.4, 0.3, 0.35))
            found = measure_methods(cell, num, seed).judged
            planned = power_of(0.1, Noise(seed_sd, 0.35, num_arms=3), runs, 200)
            name = f"{runs}, {100 * seed_sd:g}"
            yield f"| {name} | {100 * found:.0f} | {100 * planned:.0f} |"


def _margins(num: int, seed: int) -> Iterator[str]:
    """Not worse by more than 5 points, on 200 tasks, at a true difference of -5 and of 0."""
    yield "| seeds, seed SD | false at -5 | shown at 0 |\n|---|---|---|"
    for runs in (3, 5, 10):
        for seed_sd in SEED_SDS:
            equal = Conditions(200, (runs,) * 3, seed_sd)
            worse = replace(equal, rates=(RATE - 0.05, RATE, RATE))
            shares = [100 * share_not_worse(cell, 0.05, num, seed) for cell in (worse, equal)]
            yield f"| {runs}, {100 * seed_sd:g} | {shares[0]:.1f} | {shares[1]:.0f} |"


def _reports(num: int, seed: int) -> Iterator[str]:
    """Any false verdict between three equal arms in a whole report, one Holm family."""
    yield "| seeds, tasks, seed SD | any false verdict |\n|---|---|"
    for runs in (3, 5):
        for tasks in (50, 200):
            for seed_sd in SEED_SDS:
                cell = Conditions(tasks, (runs,), seed_sd, (RATE,))
                share = share_of_false_reports(cell, num, seed)
                yield f"| {runs}, {tasks}, {100 * seed_sd:g} | {100 * share:.1f} |"


TABLES = {
    "methods": _methods,
    "unequal": _unequal,
    "checkpoints": _checkpoints,
    "rates": _rates,
    "groups": _groups,
    "improvement": _improvement,
    "power": _power,
    "margins": _margins,
    "reports": _reports,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    given = parser.parse_args()
    for name in given.only:
        table = TABLES[name]
        print(f"\n{name}: {(table.__doc__ or '').strip()}")
        print(f"{given.repetitions} repetitions, seed {given.seed}; shares in percent\n")
        for line in table(given.repetitions, given.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
