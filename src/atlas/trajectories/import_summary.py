"""What an import read, counted item by item: `trajectories, problems -> summary`.

Memory does not grow with the number of items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.trajectory_lines import TrajectoryLine

# Rows of a table of the summary (groups, reasons, remarks); the rest is counted together.
MAX_ROWS = 500
MAX_BARS = 10
# Of a number at the beginning of a remark.
MAX_DIGITS = 12
OTHERS = "(others)"
DUPLICATE = "the same as an earlier one, word for word"


class ImportSummary:
    """Counts, and gives the summary of a run's manifest.

    Args:
        count_tokens: the number of tokens of a text, where a tokenizer was named.
    """

    def __init__(self, count_tokens: Callable[[str], int] | None = None) -> None:
        self._count_tokens = count_tokens
        self.num_kept = 0
        self.filtered: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._steps: Counter[int] = Counter()
        self._characters: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._groups: dict[str, _GroupCounts] = {}
        self._reasons: Counter[str] = Counter()
        self._remarks: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()
        self._first_unread: dict[str, str] = {}
        self.ignored: Counter[str] = Counter()

    def add(self, trajectory: TrajectoryLine) -> None:
        """Count a trajectory that is kept."""
        status, num_steps = trajectory.status, trajectory.num_steps
        self.num_kept += 1
        self._statuses[status] += 1
        self._steps[num_steps] += 1
        name = f"{trajectory.environment} {trajectory.group}".rstrip()
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= MAX_ROWS:
                name = OTHERS
            group = self._groups.setdefault(name, _GroupCounts())
        group.add(status, num_steps)
        for role, number in trajectory.characters.items():
            self._characters[role] += number
        if self._count_tokens is not None:
            record = Trajectory.model_validate_json(trajectory.line)
            for message in (*record.messages, *record.final_observation):
                texts = [message.content, message.reasoning]
                for call in message.tool_calls:
                    texts += (call.name, call.arguments)
                self._tokens[message.role] += sum(map(self._count_tokens, filter(None, texts)))

    def add_problem(self, reason: str) -> None:
        """Count an item that is left out."""
        _count(self._reasons, reason)

    def add_filtered(self, name: str) -> None:
        """Count a trajectory that a filter dropped."""
        self.filtered[name] += 1

    def add_remark(self, remark: str) -> None:
        """Count an oddity that is kept; one that begins with a number counts that often."""
        number, _, text = remark.partition(" ")
        if text and number.isdecimal():
            _count(self._remarks, text, int(number[:MAX_DIGITS]))
        else:
            _count(self._remarks, remark)

    def add_unread(self, path: str, place: str) -> None:
        """Count a path of which a leaf was not read, and keep its first place."""
        _count(self._unread, path)
        if path in self._unread:
            self._first_unread.setdefault(path, place)

    def add_ignored(self, path: str) -> None:
        """Count a path that the user leaves out, where it occurred."""
        self.ignored[path] += 1

    def unread(self) -> list[tuple[str, int, str]]:
        """Paths that were not read, in how many trajectories, and the place of the first."""
        return [
            (path, count, self._first_unread.get(path, ""))
            for path, count in self._unread.most_common()
        ]

    def as_dict(self) -> dict[str, Any]:
        """All counts, in the order in which people want to read them."""
        total = _GroupCounts()
        environments: Counter[str] = Counter()
        for name, group in self._groups.items():
            environments[name.partition(" ")[0]] += group.num_trajectories
            total.add_all(group)
        counted: dict[str, Any] = {
            "trajectories": self.num_kept,
            "steps": total.num_steps,
            "success_rate": total.success_rate,
            "outcomes": dict(sorted(self._statuses.items())),
            "environments": dict(sorted(environments.items())),
            "groups": {name: group.as_dict() for name, group in sorted(self._groups.items())},
            "steps_per_trajectory": _spread(self._steps),
            "characters": dict(sorted(self._characters.items())),
        }
        if self._count_tokens is not None:
            counted["tokens"] = dict(sorted(self._tokens.items()))
        return counted | {
            "problems": self._reasons.total(),
            "reasons": dict(self._reasons.most_common()),
            "duplicates": self._reasons[DUPLICATE],
            "filtered": dict(self.filtered),
            "notes": dict(sorted(self._remarks.items())),
            "unread": dict(self._unread.most_common()),
            "ignored": dict(self.ignored.most_common()),
        }


class _GroupCounts:
    """Counts of the trajectories of one group; the judged ones succeeded or did not."""

    def __init__(self) -> None:
        self.num_trajectories = self.num_steps = self.num_successes = self.num_judged = 0

    def add(self, status: str, num_steps: int) -> None:
        self.num_trajectories += 1
        self.num_steps += num_steps
        self.num_successes += status == "success"
        self.num_judged += status in ("success", "failure", "truncated")

    def add_all(self, other: _GroupCounts) -> None:
        self.num_trajectories += other.num_trajectories
        self.num_steps += other.num_steps
        self.num_successes += other.num_successes
        self.num_judged += other.num_judged

    @property
    def success_rate(self) -> float | None:
        return round(self.num_successes / self.num_judged, 4) if self.num_judged else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "trajectories": self.num_trajectories,
            "mean_steps": round(self.num_steps / self.num_trajectories, 2),
            "judged": self.num_judged,
            "success_rate": self.success_rate,
        }


def _count(counter: Counter[str], key: str, number: int = 1) -> None:
    counter[key if key in counter or len(counter) < MAX_ROWS else OTHERS] += number


def _spread(steps: Counter[int]) -> dict[str, Any]:
    """Quantiles by nearest rank, and a histogram of [from, to, trajectories]."""
    if not steps:
        return {}
    numbers = sorted(steps)
    least, most = numbers[0], numbers[-1]
    width = -(-(most - least + 1) // MAX_BARS)
    bars = [
        [
            start,
            start + width - 1,
            sum(steps[number] for number in numbers if start <= number < start + width),
        ]
        for start in range(least, most + 1, width)
    ]
    return {
        "min": least,
        "median": _rank(steps, numbers, 0.5),
        "p95": _rank(steps, numbers, 0.95),
        "max": most,
        "histogram": bars,
    }


def _rank(steps: Counter[int], numbers: Sequence[int], share: float) -> int:
    seen = 0
    for number in numbers:
        seen += steps[number]
        if seen >= share * steps.total():
            return number
    return numbers[-1]
