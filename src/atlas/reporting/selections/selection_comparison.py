"""The records of `atlas compare-selections`: one for each selection, and one for each pair."""

from __future__ import annotations

from typing import Literal

from atlas.records import CriticalKind, Record
from atlas.reporting.measures.position_bins import PositionBin
from atlas.statistics.agreement import Agreement
from atlas.statistics.estimate import Estimate

# The thirds of a trajectory, for the agreement by position.
PARTS = ("start", "middle", "end")

Measure = Literal["characters", "tokens"]


class ComparedSelection(Record):
    """One selection, compared with random draws of the same number of steps from each trajectory.

    `mean_position` of the selected steps is from 0 (start) to 1 (end); random draws have 0.5.
    """

    name: str
    selector: str
    num_trajectories: int
    num_problems: int
    num_steps: int
    num_selected: int
    kinds: dict[CriticalKind, int]
    supervised_share: Estimate
    random_supervised_share: float | None
    mean_position: Estimate
    bins: tuple[PositionBin, ...]


class KindOverlap(Record):
    """The steps that the selection `of` gives this kind, and how many of them `by` also chose.

    `expected_found` is the expected number under random selection.
    """

    of: str
    by: str
    kind: CriticalKind
    num_steps: int
    num_found: int
    expected_found: float


class SelectionPair(Record):
    """Two selections, compared on the trajectories for which neither has a problem."""

    first: str
    second: str
    agreement: Agreement
    by_position: dict[str, Agreement]
    by_kind: tuple[KindOverlap, ...]


class SelectionComparison(Record):
    """Everything in comparison.json."""

    version: Literal[1] = 1
    num_trajectories: int
    num_tasks: int
    num_steps: int
    measure: Measure
    confidence: float
    profiles: tuple[ComparedSelection, ...]
    pairs: tuple[SelectionPair, ...]
