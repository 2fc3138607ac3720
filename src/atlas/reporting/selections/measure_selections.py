"""Selections -> numbers: each selection compared with random draws, and each pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from atlas.errors import DataError
from atlas.records import CRITICAL_KINDS, Selection
from atlas.reporting.measures.position_bins import count_positions, part_of
from atlas.reporting.selections.selection_comparison import (
    PARTS,
    ComparedSelection,
    KindOverlap,
    SelectionPair,
)
from atlas.statistics.agreement import Agreement, Overlap, measure_agreement
from atlas.statistics.jackknife import ratio_of_sums, sum_by_unit

# By trajectory id.
Selections = Mapping[str, Selection]
# How much of each step would be supervised.
Lengths = tuple[float, ...]


def measure_selection(
    name: str, selections: Selections, lengths: Mapping[str, Lengths], tasks: Mapping[str, str]
) -> ComparedSelection:
    """Measure a selection; `lengths` of the steps and `tasks` are by trajectory id."""
    known = [
        (selection, lengths[id_])
        for id_, selection in selections.items()
        if selection.problem is None
    ]
    # Per trajectory: supervised, all, supervised by random draws, positions, number selected.
    rows = np.array([_sums(*pair) for pair in known], dtype=np.float64).reshape(-1, 5)
    sums = sum_by_unit(rows, [tasks[selection.trajectory_id] for selection, _ in known])
    share = 0.0, 1.0
    steps = [step for selection, _ in known for step in selection.critical_steps]
    kinds = {kind: sum(kind in step.kinds for step in steps) for kind in CRITICAL_KINDS}
    total = sums[:, 1].sum()
    return ComparedSelection(
        name=name,
        selector=next(iter(selections.values())).selector,
        num_trajectories=len(known),
        num_problems=len(selections) - len(known),
        num_steps=sum(len(sizes) for _, sizes in known),
        num_selected=len(steps),
        kinds={kind: number for kind, number in kinds.items() if number},
        supervised_share=ratio_of_sums(sums[:, 0], sums[:, 1], share),
        random_supervised_share=round(float(sums[:, 2].sum() / total), 6) if total else None,
        mean_position=ratio_of_sums(sums[:, 3], sums[:, 4], share),
        bins=count_positions(selection for selection, _ in known),
    )


def measure_pair(
    first: str, second: str, selections: Mapping[str, Selections], tasks: Mapping[str, str]
) -> SelectionPair:
    """Measure two selections on the trajectories for which neither has a problem.

    `tasks` are the units, by trajectory id.

    Raises:
        DataError: they have no such trajectory.
    """
    both = [
        (one, other)
        for id_, one in selections[first].items()
        if one.problem is None and (other := selections[second][id_]).problem is None
    ]
    if not both:
        raise DataError(
            f"{first} and {second} have no trajectory with a selection without a problem in both, "
            "so they cannot be compared. Leave one of them out, or select again."
        )

    def agreement(part: int | None = None) -> Agreement:
        return measure_agreement(
            _overlap(one, other, tasks[one.trajectory_id], part) for one, other in both
        )

    return SelectionPair(
        first=first,
        second=second,
        agreement=agreement(),
        by_position={name: agreement(part) for part, name in enumerate(PARTS)},
        by_kind=(
            *_kind_overlaps(first, second, both),
            *_kind_overlaps(second, first, [(other, one) for one, other in both]),
        ),
    )


def _sums(selection: Selection, sizes: Lengths) -> tuple[float, ...]:
    chosen, num_steps = selection.indices, len(sizes)
    return (
        sum(sizes[index] for index in chosen),
        sum(sizes),
        len(chosen) / num_steps * sum(sizes) if sizes else 0.0,
        # The position of the middle of a step, from 0 (start) to 1 (end).
        sum((index + 0.5) / num_steps for index in chosen),
        len(chosen),
    )


def _overlap(one: Selection, other: Selection, task: str, part: int | None) -> Overlap:
    """The chosen steps of a trajectory, or of one of its `PARTS`."""
    inside = None
    if part is not None:
        inside = frozenset(
            index
            for index in range(one.num_steps)
            if part_of(index, one.num_steps, len(PARTS)) == part
        )
    return Overlap(task, one.indices, other.indices, one.num_steps, inside)


def _kind_overlaps(
    of: str, by: str, both: Sequence[tuple[Selection, Selection]]
) -> Iterator[KindOverlap]:
    for kind in CRITICAL_KINDS:
        found = [
            (step.index in other.indices, len(other.indices) / other.num_steps)
            for one, other in both
            for step in one.critical_steps
            if kind in step.kinds
        ]
        if found:
            yield KindOverlap(
                of=of,
                by=by,
                kind=kind,
                num_steps=len(found),
                num_found=sum(hit for hit, _ in found),
                expected_found=round(sum(chance for _, chance in found), 6),
            )
