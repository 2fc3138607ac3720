"""Two runs on the same tasks -> the tasks that one won and the other lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from atlas.records import OutcomeStatus
from atlas.viewing.web.rows import Row

Verdict = Literal["won", "lost", "even", "unknown"]
Change = Literal["won→lost", "lost→won", "won→won", "lost→lost", "shifted", "unknown"]
# What can be scored, as `Outcome.is_valid` says.
VALID: tuple[OutcomeStatus, ...] = ("success", "failure", "truncated")


@dataclass(frozen=True, slots=True)
class FlipTally:
    """The episodes of one run on one task.

    Attributes:
        episodes: all of them, those that can be scored first.
        num_won: successes.
        num_valid: episodes that can be scored; a crash is not a loss.
    """

    episodes: tuple[Row, ...]
    num_won: int
    num_valid: int

    @property
    def verdict(self) -> Verdict:
        """Whether more than half of its episodes are successes."""
        if not self.num_valid:
            return "unknown"
        twice = 2 * self.num_won
        return "even" if twice == self.num_valid else "won" if twice > self.num_valid else "lost"

    @property
    def rate(self) -> float:
        return self.num_won / self.num_valid if self.num_valid else 0.0

    @property
    def text(self) -> str:
        """One word for one episode, a count for several."""
        if len(self.episodes) == 1:
            return self.episodes[0].outcome
        left = len(self.episodes) - self.num_valid
        broken = f", {left} not scored" if left else ""
        return f"{self.num_won} of {self.num_valid} won{broken}"


@dataclass(frozen=True, slots=True)
class TaskPair:
    """One task in both runs."""

    task_id: str
    environment: str
    group: str
    goal: str
    left: FlipTally
    right: FlipTally

    @property
    def change(self) -> Change:
        """How the verdict changed; `shifted`: the rate changed from or to one half."""
        one, other = self.left.verdict, self.right.verdict
        if "unknown" in (one, other):
            return "unknown"
        if "even" in (one, other):
            return "shifted"
        return f"{one}→{other}"  # type: ignore[return-value]

    @property
    def gain(self) -> float:
        """Success rate on the right minus that on the left."""
        return self.right.rate - self.left.rate


@dataclass(frozen=True, slots=True)
class Flips:
    """The tasks of two runs.

    Attributes:
        flipped: tasks that were won by one and lost by the other: losses first, then wins, the
            largest change of the rate first.
        shifted: other tasks whose success rate changed, with several episodes each.
        counts: how many tasks of both runs there are of each change.
        only_left: how many tasks only the left run has.
        only_right: how many tasks only the right run has.
    """

    flipped: tuple[TaskPair, ...]
    shifted: tuple[TaskPair, ...]
    counts: Mapping[Change, int]
    only_left: int
    only_right: int

    @property
    def num_paired(self) -> int:
        return sum(self.counts.values())


def find_flips(left: Iterable[Row], right: Iterable[Row]) -> Flips:
    """Pair the tasks of two runs by environment and task id; several episodes a task are tallied.

    Rows that could not be read have no id and are left out.
    """
    tasks, others = _by_task(left), _by_task(right)
    pairs = [_pair(tasks[key], others[key]) for key in sorted(tasks.keys() & others.keys())]
    flipped = [pair for pair in pairs if pair.change in ("won→lost", "lost→won")]
    steady = ("won→won", "lost→lost", "shifted")
    shifted = [pair for pair in pairs if pair.change in steady]
    return Flips(
        tuple(sorted(flipped, key=lambda pair: (pair.change != "won→lost", -abs(pair.gain)))),
        tuple(sorted((one for one in shifted if one.gain), key=lambda pair: -abs(pair.gain))),
        Counter(pair.change for pair in pairs),
        len(tasks.keys() - others.keys()),
        len(others.keys() - tasks.keys()),
    )


def _by_task(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.id:
            found[row.environment, row.task_id].append(row)
    return dict(found)


def _pair(left: list[Row], right: list[Row]) -> TaskPair:
    row = left[0]
    return TaskPair(row.task_id, row.environment, row.group, row.goal, _tally(left), _tally(right))


def _tally(rows: list[Row]) -> FlipTally:
    ordered = sorted(rows, key=lambda row: (row.outcome not in VALID, row.number))
    outcomes = [row.outcome for row in ordered if row.outcome in VALID]
    return FlipTally(tuple(ordered), outcomes.count("success"), len(outcomes))
