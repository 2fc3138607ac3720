"""Several p-values -> p-values that hold together."""

from __future__ import annotations

from collections.abc import Sequence


def holm_adjust(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjust p-values for multiple comparisons (Holm 1979).

    If every adjusted value below 0.05 is called a difference, the probability of any false positive
    is at most 5 %. None means no comparison: it is not counted, and stays None.
    """
    known = [(p, index) for index, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(sorted(known)):
        running = max(running, min(1.0, p * (len(known) - rank)))
        adjusted[index] = running
    return tuple(adjusted)
