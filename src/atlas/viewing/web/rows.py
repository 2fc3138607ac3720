"""What the index holds about a trajectory, and what pages get from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atlas.records import CriticalKind, OutcomeStatus, Selection


@dataclass(frozen=True, slots=True)
class Row:
    """One trajectory of a list.

    `num_critical` is the number of selected steps by key of the selection's source. `disagrees`:
    two selections differ. `flipped`: another source of trajectories has the other outcome for the
    same task. `problem` is set where the trajectory or a selection of it could not be made or read.
    `id` is empty where the line could not be read.
    """

    source: str
    id: str
    number: int
    task_id: str = ""
    environment: str = ""
    group: str = ""
    outcome: OutcomeStatus = "unknown"
    score: float | None = None
    num_steps: int = 0
    goal: str = ""
    num_critical: Mapping[str, int] = field(default_factory=dict)
    kinds: tuple[CriticalKind, ...] = ()
    disagrees: bool = False
    flipped: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a filter, and how many trajectories of all sources have it."""

    value: str
    title: str
    count: int


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of a list: its rows, the number of all rows, and the values of the filters."""

    rows: tuple[Row, ...]
    total: int
    facets: Mapping[str, tuple[Facet, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedSelection:
    """The selection of one trajectory from one run, and the scores of all steps if it has any.

    `name` is unique among the selections of a trajectory; `source` is the key of its run.
    """

    name: str
    source: str
    selection: Selection
    scores: tuple[float | None, ...] | None = None
