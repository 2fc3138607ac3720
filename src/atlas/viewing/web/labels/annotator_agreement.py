"""How far people agree: `labels of several annotators -> kappa and percent of each pair`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from atlas.statistics.agreement import Agreement, Overlap, measure_agreement
from atlas.statistics.estimate import Estimate
from atlas.statistics.jackknife import ratio_of_sums, sum_by_unit
from atlas.viewing.web.labels.edits import Labeling, PersonsTrajectory


@dataclass(frozen=True, slots=True)
class AnnotatorPair:
    """Two annotators. `agreement` holds kappa; `same` is the share of steps that both call alike.

    Intervals need 20 tasks.
    """

    first: str
    second: str
    agreement: Agreement
    same: Estimate


def measure_annotators(
    labelings: Iterable[Labeling], trajectories: Mapping[str, PersonsTrajectory]
) -> tuple[AnnotatorPair, ...]:
    """Measure each pair of annotators on the steps that both have decided.

    In a trajectory that an annotator has finished, all steps are decided. Pairs without such a step
    are left out. `trajectories` are by digest.
    """
    by_digest: dict[str, dict[str, Labeling]] = defaultdict(dict)
    for one in labelings:
        by_digest[one.digest][one.annotator] = one
    overlaps: dict[tuple[str, str], list[Overlap]] = defaultdict(list)
    for digest, by_annotator in by_digest.items():
        on = trajectories[digest]
        for names in combinations(sorted(by_annotator), 2):
            first, second = (by_annotator[name] for name in names)
            part = _decided(first, on) & _decided(second, on)
            if part:
                overlaps[names].append(
                    Overlap(on.task, first.critical, second.critical, on.num_steps, part)
                )
    return tuple(
        AnnotatorPair(*names, measure_agreement(found), _same(found))
        for names, found in sorted(overlaps.items())
    )


def _decided(labeling: Labeling, on: PersonsTrajectory) -> frozenset[int]:
    return frozenset(range(on.num_steps)) if labeling.is_finished else labeling.decided


def _same(overlaps: list[Overlap]) -> Estimate:
    """The share of steps that both call critical or both do not."""
    chosen = [overlap.chosen for overlap in overlaps]
    rows = np.array(
        [(len(one.steps) - len(one.first ^ one.second), len(one.steps)) for one in chosen],
        dtype=np.float64,
    )
    units = sum_by_unit(rows, [one.unit for one in chosen])
    return ratio_of_sums(units[:, 0], units[:, 1], (0.0, 1.0))
