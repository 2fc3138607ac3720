"""Counts selected steps by their kind and by their position in the trajectory, in tenths."""

from __future__ import annotations

from collections.abc import Iterable

from atlas.records import CRITICAL_KINDS, CriticalKind, Record, Selection

NUM_BINS = 10


class PositionBin(Record):
    """One tenth of the trajectories: its steps, and how many of them were selected.

    `expected_selected` is the expected number under random selection. A step with several kinds
    counts for each of them; `no_kind` counts steps without a kind.
    """

    num_steps: int
    num_selected: int
    expected_selected: float
    kinds: dict[CriticalKind, int]
    no_kind: int

    @property
    def selected_share(self) -> float:
        return self.num_selected / self.num_steps if self.num_steps else 0.0


def count_positions(selections: Iterable[Selection]) -> tuple[PositionBin, ...]:
    """Count the steps of all selections in each tenth."""
    num_steps, num_selected, no_kind = ([0] * NUM_BINS for _ in range(3))
    expected = [0.0] * NUM_BINS
    kinds = [dict.fromkeys(CRITICAL_KINDS, 0) for _ in expected]
    for selection in selections:
        for index in range(selection.num_steps):
            place = part_of(index, selection.num_steps, NUM_BINS)
            num_steps[place] += 1
            expected[place] += len(selection.indices) / selection.num_steps
        for step in selection.critical_steps:
            place = part_of(step.index, selection.num_steps, NUM_BINS)
            num_selected[place] += 1
            no_kind[place] += not step.kinds
            for kind in step.kinds:
                kinds[place][kind] += 1
    return tuple(
        PositionBin(
            num_steps=num_steps[place],
            num_selected=num_selected[place],
            expected_selected=round(expected[place], 6),
            kinds=kinds[place],
            no_kind=no_kind[place],
        )
        for place in range(NUM_BINS)
    )


def part_of(index: int, num_steps: int, num_parts: int) -> int:
    """Which of `num_parts` equal parts of the trajectory holds the middle of a step."""
    return (2 * index + 1) * num_parts // (2 * num_steps)
