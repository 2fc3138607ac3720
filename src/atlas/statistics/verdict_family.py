"""Several comparisons, each with several hypotheses -> p-values that hold together.

The hypotheses of a comparison are that two arms do not differ, that one is worse by a margin or
more, and that it is better by a margin or more. At most one of them can be true, so a comparison
counts once in Holm's correction, however many hypotheses it has (Holm 1979; Shaffer 1986). The p
of the last two is twice that of a one-sided test, so a true one is rejected half as often as its
level says: a comparison that has only these left counts half (Goeman and Solari 2010).
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
        comparisons: the p-values of each comparison: first that of no difference, then twice the
            one-sided ones of a margin.
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
        open_weight = sum(weight * _count(open_) for weight, open_ in zip(given, left, strict=True))
        running = max(running, min(1.0, ratio * open_weight))
        # A half count never makes a claim that the interval of the comparison does not.
        adjusted[index][place] = max(running, ratio * given[index])
        left[index].discard(place)
    return tuple(map(tuple, adjusted))


def _count(open_hypotheses: set[int]) -> float:
    if not open_hypotheses:
        return 0.0
    return 1.0 if 0 in open_hypotheses else 0.5
