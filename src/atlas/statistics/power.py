"""Tasks and seeds -> what a comparison can find, and the other way round.

With R seeds per arm and T tasks the variance of a difference is

    V(R, T) = 2 tau^2 / R + g / T + (q - 2 tau^2 - g) / (R T)

where tau is the standard deviation between seeds, q the share of tasks on which single runs of the
two arms differ, and g the variance of what the methods truly differ by from task to task.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from atlas.statistics.bootstrap import Floats
from atlas.statistics.student_t import t_power

POWER = 0.8
# A search for a number of seeds or tasks ends here.
MOST_SEEDS = 1_000
MOST_TASKS = 1_000_000
# Up to so many tasks, the exact test of two checkpoints is counted; above, it is nearly normal.
MOST_COUNTED = 60
# A detectable difference is found in so many halvings, or in rounds until it grows by less.
STEPS = 14
MOST_ROUNDS = 50
ENOUGH = 1e-4


@dataclass(frozen=True, slots=True)
class Noise:
    """What a plan has to know of two arms: the noise of seeds and of tasks.

    Attributes:
        seed_sd: standard deviation of a run's true mean between seeds (a share, such as 0.035).
        discordance: the share of tasks on which single runs of the two arms differ; for scores,
            the mean square of the difference.
        num_arms: trained arms that share the estimate of the noise of seeds.
        task_variance: how much the true difference varies from task to task. Only tasks lower it.
    """

    seed_sd: float
    discordance: float
    num_arms: int = 2
    task_variance: float = 0.0

    def with_difference(self, difference: float) -> Noise:
        """The noise of arms that differ by so much: single runs differ on as many tasks or more."""
        return replace(self, discordance=max(self.discordance, abs(difference)))


def is_too_few(num_tasks: int, confidence: float = 0.95) -> bool:
    """Whether no test of so many tasks can find anything: all of them may differ by chance."""
    return 2.0 ** (1 - num_tasks) >= 1 - confidence


def planned_variance(noise: Noise, num_seeds: int, num_tasks: int) -> tuple[float, float]:
    """The variance of the difference that is expected, and its degrees of freedom."""
    between = 2 * noise.seed_sd**2
    each = max(0.0, noise.discordance - between - noise.task_variance)
    of_tasks = noise.task_variance / num_tasks + each / (num_seeds * num_tasks)
    variance = between / num_seeds + of_tasks
    degrees = noise.num_arms * (num_seeds - 1)
    if not degrees or num_tasks < 2 or not variance:
        return variance, 0.0
    of_runs = variance - noise.task_variance / num_tasks
    return variance, variance**2 / (of_tasks**2 / (num_tasks - 1) + of_runs**2 / degrees)


def power_of(
    difference: float, noise: Noise, num_seeds: int, num_tasks: int, confidence: float = 0.95
) -> float:
    """The probability that a true difference is found.

    That of showing "not worse by more than m", if the arms do not differ, is the same with m: in
    both cases one limit has to clear a value that is this far away.
    """
    variance, degrees = planned_variance(noise.with_difference(difference), num_seeds, num_tasks)
    if not degrees or is_too_few(num_tasks, confidence):
        return 0.0
    return t_power(difference / math.sqrt(variance), degrees, confidence)


def detectable_effect(
    variance: float, degrees: float, confidence: float = 0.95, power: float = POWER
) -> float:
    """The difference that is found with this power, if the variance of a difference is this."""
    error = math.sqrt(variance)
    low, high = 0.0, 1.0
    while t_power(high, degrees, confidence) < power:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if t_power(middle, degrees, confidence) < power else (low, middle)
        )
    return high * error


def detectable_on_tasks(effect: float, variance: float, num_episodes: int) -> float:
    """A detectable effect that is possible with so many episodes of an arm.

    If arms differ by d, the variance of their difference is at least d (1 - d) / n for n episodes.
    A pilot with few successes shows a smaller one.

    Args:
        effect: what is found at the variance that was seen.
        variance: what was seen, of the difference.
    """
    if not variance:
        return effect
    errors = effect**2 / variance
    return max(effect, errors / (num_episodes + errors))


@cache
def detectable_by_signs(
    num_tasks: int, discordance: float, confidence: float = 0.95, power: float = POWER
) -> float:
    """The difference between two checkpoints that McNemar's exact test finds with this power.

    Infinite if none is found, however large.

    Args:
        discordance: the share of tasks on which they differ, which is at least the difference.
    """
    numbers = np.arange(num_tasks + 1)
    is_whole = numbers[None, :] <= numbers[:, None]
    fair = np.where(is_whole, _binomial(numbers, 0.5), 0.0)
    # For each number of tasks that differ, the wins that are enough.
    is_enough = is_whole & (2 * np.cumsum(fair[:, ::-1], axis=1)[:, ::-1] < 1 - confidence)

    def is_found(difference: float) -> bool:
        differ = max(discordance, difference)
        wins = np.where(is_enough, _binomial(numbers, (differ + difference) / (2 * differ)), 0.0)
        return float(_binomial(numbers, differ)[-1] @ wins.sum(axis=1)) >= power

    if not is_found(1.0):
        return math.inf
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def minimum_detectable_difference(
    noise: Noise,
    num_seeds: int,
    num_tasks: int,
    confidence: float = 0.95,
    power: float = POWER,
) -> float | None:
    """The smallest true difference that is found with this power; None below two seeds.

    It is infinite if the tasks are too few for any.
    """
    if not planned_variance(noise, num_seeds, num_tasks)[1]:
        return None
    if is_too_few(num_tasks, confidence):
        return math.inf
    found = 0.0
    for _ in range(MOST_ROUNDS):
        variance, degrees = planned_variance(noise.with_difference(found), num_seeds, num_tasks)
        earlier, found = found, detectable_effect(variance, degrees, confidence, power)
        if found <= max(noise.discordance, earlier + ENOUGH):
            break
    return found


def required_seeds(
    difference: float,
    noise: Noise,
    num_tasks: int,
    confidence: float = 0.95,
    power: float = POWER,
    fewest: int = 2,
) -> int | None:
    """The fewest seeds per arm that find a difference on so many tasks; None above `MOST_SEEDS`."""
    return _fewest(
        lambda seeds: power_of(difference, noise, seeds, num_tasks, confidence) >= power,
        fewest,
        MOST_SEEDS,
    )


def required_tasks(
    difference: float,
    noise: Noise,
    num_seeds: int,
    confidence: float = 0.95,
    power: float = POWER,
) -> int | None:
    """The fewest tasks that find a difference with so many seeds; None above `MOST_TASKS`."""
    return _fewest(
        lambda tasks: power_of(difference, noise, num_seeds, tasks, confidence) >= power,
        2,
        MOST_TASKS,
    )


def _fewest(is_enough: Callable[[int], bool], least: int, most: int) -> int | None:
    """The smallest number that is enough, by bisection."""
    if not is_enough(most):
        return None
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if is_enough(middle) else (middle + 1, most)
    return most


def _binomial(numbers: NDArray[np.int64], share: float) -> Floats:
    """The probability of k successes in n trials [n, k]; what stands above n is of no meaning."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(numbers[1:]))])
    trials, wins = numbers[:, None], numbers[None, :]
    left = np.maximum(0, trials - wins)
    ways = logs[trials] - logs[wins] - logs[left]
    with np.errstate(divide="ignore", invalid="ignore"):
        won = np.where(wins > 0, wins * np.log(share), 0.0)
        lost = np.where(left > 0, left * np.log1p(-share), 0.0)
    chances: Floats = np.exp(ways + won + lost)
    return chances
