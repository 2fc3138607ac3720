"""What `atlas compare-selections` finds, as records: each selection by itself, and each pair of them."""

from __future__ import annotations

from typing import Literal

from atlas.records import CriticalKind, Record
from atlas.statistics.agreement import Agreement, Estimate

BINS = 10  # of the position in the trajectory, for the plot
PARTS = ("start", "middle", "end")  # thirds of the trajectory, for the agreement by position

Measure = Literal["characters", "tokens"]


class PositionBin(Record):
    """A tenth of the trajectory: its steps, those selected, how many blind draws would select, and the kinds of those selected.

    A step with several kinds counts under each; `no_kind` counts those without any.
    """

    num_steps: int
    num_selected: int
    expected_selected: float
    kinds: dict[CriticalKind, int]
    no_kind: int


class Profile(Record):
    """One selection by itself, and beside it what blind draws of as many steps in each trajectory would give.

    `mean_position` is that of the selected steps, from 0 (start) to 1 (end); blind draws have 0.5.
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
    """Of the steps to which `of` gives this kind: how many `by` chose too, and how many blind draws would."""

    of: str
    by: str
    kind: CriticalKind
    num_steps: int
    num_found: int
    expected_found: float


class Pair(Record):
    """Two selections, over the trajectories on which neither has a problem."""

    first: str
    second: str
    agreement: Agreement
    by_position: dict[str, Agreement]
    by_kind: tuple[KindOverlap, ...]


class Comparison(Record):
    """All of it."""

    version: Literal[1] = 1
    num_trajectories: int
    num_steps: int
    measure: Measure
    confidence: float
    profiles: tuple[Profile, ...]
    pairs: tuple[Pair, ...]
