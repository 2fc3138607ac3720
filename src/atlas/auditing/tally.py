"""Adds up the findings of many rows. Tallies of parts of a file add up to that of the file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atlas.auditing.findings import Finding, FindingName, count_codes
from atlas.auditing.supervision import NUM_CODES, Supervision

NUM_EXAMPLES = 5
# Tokens of a row that are shown.
NUM_SHOWN_TOKENS = 1500
# Those of them that stand before the first supervised one, if that is far from the beginning.
NUM_BEFORE_SUPERVISED = 200
# The place of a row: the number of its file, and of the row in it.
Order = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """A row in which something was found."""

    order: Order
    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row with many findings: its tokens around the first supervised ones."""

    score: tuple[int, int]
    order: Order
    where: str
    findings: tuple[str, ...]
    token_ids: tuple[int, ...]
    mask: tuple[bool, ...]
    num_before: int
    num_tokens: int


@dataclass(slots=True)
class Found:
    """The sum of one kind of finding: units, rows, and the first rows."""

    count: int = 0
    num_rows: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, count: int, example: Example) -> None:
        self.count += count
        self.num_rows += 1
        self.examples = sorted([*self.examples, example], key=_order)[:NUM_EXAMPLES]

    def merge(self, other: Found) -> None:
        self.count += other.count
        self.num_rows += other.num_rows
        self.examples = sorted([*self.examples, *other.examples], key=_order)[:NUM_EXAMPLES]


@dataclass(slots=True)
class Tally:
    """The sums over rows.

    Attributes:
        tokens: tokens by what they are, shape [NUM_CODES]; cut ones are not counted.
        supervised: those of them that carry loss.
        num_flagged: rows with a flag that the trainer reads.
        unflagged: rows without it.
    """

    num_rows: int = 0
    num_sequences: int = 0
    num_cut_tokens: int = 0
    num_turns: int = 0
    longest: int = 0
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_CODES, dtype=np.int64))
    supervised: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(NUM_CODES, dtype=np.int64)
    )
    found: dict[FindingName, Found] = field(default_factory=dict)
    num_flagged: int = 0
    unflagged: Found = field(default_factory=Found)
    worst: list[ShownRow] = field(default_factory=list)
    num_worst: int = 3

    def add_finding(self, finding: Finding, order: Order, where: str) -> None:
        example = Example(order, where, finding.detail)
        self.found.setdefault(finding.name, Found()).add(finding.count, example)

    def add_sequence(self, row: Supervision) -> None:
        tokens, supervised = count_codes(row)
        self.tokens = self.tokens + tokens
        self.supervised = self.supervised + supervised
        self.num_sequences += 1
        self.num_cut_tokens += int((~row.kept).sum())
        self.longest = max(self.longest, len(row.kept))
        self.num_turns += len(set(np.unique(row.owners[row.supervised]).tolist()) - {-1})

    def show(self, shown: ShownRow) -> None:
        """Keep a row if it is among the worst."""
        self.worst = sorted([*self.worst, shown], key=_badness)[: self.num_worst]

    def merge(self, other: Tally) -> None:
        self.num_rows += other.num_rows
        self.num_sequences += other.num_sequences
        self.num_cut_tokens += other.num_cut_tokens
        self.num_turns += other.num_turns
        self.longest = max(self.longest, other.longest)
        self.tokens = self.tokens + other.tokens
        self.supervised = self.supervised + other.supervised
        for name, found in other.found.items():
            self.found.setdefault(name, Found()).merge(found)
        self.num_flagged += other.num_flagged
        self.unflagged.merge(other.unflagged)
        self.worst = sorted([*self.worst, *other.worst], key=_badness)[: self.num_worst]

    def finish(self) -> None:
        """Add what only all rows together show: rows without the flag that others have."""
        if self.num_flagged and self.unflagged.num_rows:
            self.found.setdefault("missing-flags", Found()).merge(self.unflagged)


def _order(example: Example) -> Order:
    return example.order


def _badness(row: ShownRow) -> tuple[int, int, Order]:
    return -row.score[0], -row.score[1], row.order
