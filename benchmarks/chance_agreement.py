"""How often two selections that know nothing of each other are called better than chance.

    python benchmarks/chance_agreement.py [--repetitions 1000] [--seed 0]

Both selectors draw 30 % of the steps of each trajectory (3 to 16 steps), by weights that depend on
the position alone, or on the task. Each table row is one way to draw and one number of tasks and
trajectories. For both kinds of chance: the mean of the value (0 is right), and the share of
repetitions whose 95 % interval lies above 0 (nominal 2.5 %) and below it. With `agree`, a share of
the tasks has the same steps in both, on top of blind draws: then the true value is that share, and
the two last columns are the coverage of the intervals beyond uniform chance and the share of
repetitions that are called better than chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from atlas.statistics.agreement import Overlap, measure_agreement
from atlas.statistics.bootstrap import Floats
from atlas.statistics.estimate import Estimate

SHORTEST, LONGEST, RATIO = 3, 16, 0.3
# The weight of a step that a selector always takes.
ALWAYS = 1e9
ENDS = {"last": -1, "next to last": -2, "third from last": -3, "first": 0, "third": 2}
POSITIONS = ("blind", "linear", "square", "middle", *ENDS)


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Attributes:
        draw: one of POSITIONS, or `task`: by weights of the task, alike in all its trajectories,
            and different for the two selectors.
        agree: the share of tasks whose steps are the same in both selections.
    """

    tasks: int
    trajectories: int
    draw: str
    agree: float = 0.0


@dataclass(frozen=True)
class Found:
    """What was found in all repetitions of a cell, in percent but for the means."""

    mean: float
    above: float
    below: float
    mean_by_position: float
    above_by_position: float
    below_by_position: float
    covered: float
    called_better: float


def simulate(cell: Cell, repetitions: int, seed: int = 0) -> Found:
    """Measure pairs of simulated selections."""
    rng = np.random.default_rng(seed)
    found = [measure_agreement(_pair(cell, rng)) for _ in range(repetitions)]
    uniform = [one.beyond_chance for one in found]
    by_position = [one.beyond_position for one in found]
    return Found(
        *_summary(uniform),
        *_summary(by_position),
        covered=_percent([_covers(one, cell.agree) for one in uniform]),
        called_better=_percent([one.is_better_than_chance for one in found]),
    )


def cells() -> Iterator[Cell]:
    """The whole grid."""
    for tasks, trajectories in ((20, 1), (50, 1), (200, 1), (20, 5), (50, 10)):
        for draw in (*POSITIONS, "task"):
            yield Cell(tasks, trajectories, draw)
        yield Cell(tasks, trajectories, "blind", agree=0.5)


def _pair(cell: Cell, rng: np.random.Generator) -> Iterator[Overlap]:
    for task in range(cell.tasks):
        # By tenths, so that trajectories of other lengths have steps at the same place.
        liked = rng.exponential(size=(2, 10)) ** 4
        is_same = rng.random() < cell.agree
        for _ in range(cell.trajectories):
            num_steps = int(rng.integers(SHORTEST, LONGEST + 1))
            budget = max(1, int(RATIO * num_steps))
            first, second = (
                _draw(_weights(cell.draw, num_steps, one), budget, rng) for one in liked
            )
            yield Overlap(str(task), first, first if is_same else second, num_steps)


def _weights(draw: str, num_steps: int, liked: Floats) -> Floats:
    steps = np.arange(num_steps, dtype=np.float64)
    middle = (steps + 0.5) / num_steps
    if draw in ENDS:
        return np.where(steps == ENDS[draw] % num_steps, ALWAYS, 1.0)
    weights: dict[str, Floats] = {
        "blind": np.ones(num_steps),
        "linear": steps + 1.0,
        "square": (steps + 1.0) ** 2,
        "middle": np.exp(-((middle - 0.5) ** 2) / 0.02) + 0.02,
        "task": liked[(middle * 10).astype(int)],
    }
    return weights[draw]


def _draw(weights: Floats, budget: int, rng: np.random.Generator) -> frozenset[int]:
    """Draw steps one after another, without replacement."""
    order = np.argsort(rng.exponential(size=len(weights)) / weights)
    return frozenset(order[:budget].tolist())


def _summary(estimates: list[Estimate]) -> tuple[float, float, float]:
    values = [one.value for one in estimates if one.value is not None]
    above = [one.low is not None and one.low > 0 for one in estimates]
    below = [one.high is not None and one.high < 0 for one in estimates]
    return float(np.mean(values)) if values else float("nan"), _percent(above), _percent(below)


def _covers(estimate: Estimate, truth: float) -> bool:
    return estimate.limits is not None and estimate.limits[0] <= truth <= estimate.limits[1]


def _percent(flags: list[bool]) -> float:
    return 100 * float(np.mean(flags))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{given.repetitions} repetitions a row, seed {given.seed}")
    print(
        f"{'tasks x trajectories':<21}{'draw':<15}{'beyond chance':>22}{'beyond position':>24}"
        f"{'covered':>9}{'called better':>15}"
    )
    for cell in cells():
        one = simulate(cell, given.repetitions, given.seed)
        draw = cell.draw if not cell.agree else f"{cell.draw}, agree {cell.agree:g}"
        print(
            f"{cell.tasks} x {cell.trajectories:<16}{draw:<18}"
            f"{one.mean:>8.3f}{one.above:>7.1f}{one.below:>6.1f}"
            f"{one.mean_by_position:>11.3f}{one.above_by_position:>7.1f}"
            f"{one.below_by_position:>6.1f}{one.covered:>9.1f}{one.called_better:>12.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
