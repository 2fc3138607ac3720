"""The interval of a difference that gets no verdict: about the methods where there are enough runs.

Differences on single environments and base skills are shown this way.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.reporting.arms import Arm
from atlas.statistics.bootstrap import Floats
from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.crossed_difference import crossed_difference, estimate_seed_variance
from atlas.statistics.estimate import Estimate

OF_METHODS = "paired, t interval with the noise of tasks and of training runs"
OF_CHECKPOINTS = "paired, interval of these checkpoints only"
# A difference is about the method from this number of trainings on.
MIN_TRAININGS = 3


def difference_interval(
    pairs: tuple[tuple[Arm, Floats], tuple[Arm, Floats]],
    pool: Sequence[Floats],
    confidence: float,
) -> tuple[Estimate, str]:
    """The mean difference of two arms with its interval, and the method.

    Args:
        pairs: the two arms, each with its values [R, T] on the same tasks.
        pool: the values of all trained arms, over which the variance of runs is estimated.
    """
    (arm, a), (against, b) = pairs
    trained = (bool(arm.trainings), bool(against.trainings))
    seeds = estimate_seed_variance(pool)
    if max(len(arm.trainings), len(against.trainings)) < MIN_TRAININGS or seeds is None:
        of_two = checkpoint_difference(a, b, trained=trained, confidence=confidence)
        return of_two.difference, OF_CHECKPOINTS
    crossed = crossed_difference(a, b, seeds=seeds, trained=trained, confidence=confidence)
    if crossed.difference.limits is None:
        of_two = checkpoint_difference(a, b, trained=trained, confidence=confidence)
        return of_two.difference, OF_CHECKPOINTS
    return crossed.difference, OF_METHODS
