"""Several comparisons, each with several hypotheses -> p-values that hold together.

Of the hypotheses of one comparison at most one can be true: that two arms do not differ, that one
is worse by at least a margin, that it is better by at least a margin. So each comparison counts
once in Holm's correction, however many hypotheses it has (Holm 1979; Shaffer 1986).
"""

from __future__ import annotations

from collections.abc import Sequence


def adjust_family(
    comparisons: Sequence[Sequence[float | None]], weights: Sequence[float] | None = None
) -> tuple[tuple[float | None, ...], ...]:
    """Adjust the p-values of all hypotheses of all comparisons.

    If every adjusted value below 0.05 is rejected, the probability of any false rejection is at
    most 5 %. None means no test; a comparison without any test is not counted.

    Args:
        comparisons: the p-values of the hypotheses of each comparison.
        weights: how much of the 5 % each comparison gets at first (weighted Holm); alike if None.

    >>> adjust_family([[0.01], [0.03]])
    ((0.02,), (0.03,))
    >>> adjust_family([[0.02], [0.03]], [1, 3])
    ((0.04,), (0.04,))

    Raises:
        ValueError: a weight that is not above 0, or another number of weights.
    """
    given = [1.0] * len(comparisons) if weights is None else list(weights)
    if len(given) != len(comparisons) or not all(0 < weight < float("inf") for weight in given):
        raise ValueError(
            f"weights {given} for {len(comparisons)} comparisons: expected one above 0 for each"
        )
    left = [
        {place for place, p in enumerate(p_values) if p is not None} for p_values in comparisons
    ]
    waiting = sorted(
        (p / given[index], index, place)
        for index, p_values in enumerate(comparisons)
        for place, p in enumerate(p_values)
        if p is not None
    )
    adjusted: list[list[float | None]] = [[None] * len(p_values) for p_values in comparisons]
    running = 0.0
    for ratio, index, place in waiting:
        open_weight = sum(weight for weight, open_ in zip(given, left, strict=True) if open_)
        running = max(running, min(1.0, ratio * open_weight))
        adjusted[index][place] = running
        left[index].discard(place)
    return tuple(map(tuple, adjusted))
