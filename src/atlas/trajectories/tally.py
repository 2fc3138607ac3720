"""What an import is made of, counted as it goes by: `trajectories, problems -> summary`, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from atlas.records import Problem, Trajectory
from atlas.statistics.trajectory_summary import TrajectoryCounts

MAX_ROWS = 500  # of a table of the summary: groups, reasons, remarks; what goes past it is counted together
MAX_BARS = 10
OTHERS = "(others)"


class Facts(NamedTuple):
    """What the summary counts of one trajectory: small, so that it travels quickly from one process to another."""

    num_steps: int
    status: str
    environment: str
    group: str
    characters: dict[str, int]
    tokens: dict[str, int]


def facts_of(trajectory: Trajectory, count_tokens: Callable[[str], int] | None = None) -> Facts:
    """The facts of a trajectory.

    Args:
        count_tokens: the number of tokens of a text, where a tokenizer was named.
    """
    characters: dict[str, int] = {}
    tokens: dict[str, int] = {}
    messages = [*trajectory.prompt]
    for step in trajectory.steps:
        messages += step.observation
        messages.append(step.response)
    messages += trajectory.final_observation
    for message in messages:
        role = message.role
        size = len(message.content)
        if message.reasoning:
            size += len(message.reasoning)
        for call in message.tool_calls:
            size += len(call.name) + len(call.arguments)
        characters[role] = characters.get(role, 0) + size
        if count_tokens is not None:
            calls = (text for call in message.tool_calls for text in (call.name, call.arguments))
            number = sum(
                map(count_tokens, filter(None, (message.content, message.reasoning, *calls)))
            )
            tokens[role] = tokens.get(role, 0) + number
    task = trajectory.task
    return Facts(
        len(trajectory.steps),
        trajectory.outcome.status,
        task.environment,
        task.group,
        characters,
        tokens,
    )


class Tally:
    """Counts, and gives the summary of a run's manifest; `with_tokens` where a tokenizer was named."""

    def __init__(self, with_tokens: bool = False) -> None:
        self._with_tokens = with_tokens
        self._all = TrajectoryCounts()
        self._steps: Counter[int] = Counter()
        self._characters: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._groups: dict[str, TrajectoryCounts] = {}
        self._reasons: Counter[str] = Counter()
        self._filtered: Counter[str] = Counter()
        self._remarks: Counter[str] = Counter()
        self._duplicates = 0

    def add(self, facts: Facts) -> None:
        """A trajectory that is kept."""
        num_steps, status, environment, task_group, characters, tokens = facts
        self._all.add(status, num_steps)
        self._steps[num_steps] += 1
        name = f"{environment} {task_group}".rstrip()
        if name not in self._groups and len(self._groups) >= MAX_ROWS:
            name = OTHERS
        self._groups.setdefault(name, TrajectoryCounts()).add(status, num_steps)
        for role, size in characters.items():
            self._characters[role] += size
        for role, size in tokens.items():
            self._tokens[role] += size

    def add_problem(self, problem: Problem, is_duplicate: bool = False) -> None:
        """An item that is left out."""
        self._duplicates += is_duplicate
        _count(
            self._reasons,
            "the same as an earlier one, word for word" if is_duplicate else problem.reason,
        )

    def add_filtered(self, name: str) -> None:
        """A trajectory that a filter dropped."""
        self._filtered[name] += 1

    def add_remark(self, remark: str) -> None:
        """Something odd about a step that is kept."""
        _count(self._remarks, remark)

    @property
    def num_kept(self) -> int:
        return self._all.num_trajectories

    @property
    def filtered(self) -> dict[str, int]:
        return dict(self._filtered)

    def summary(self) -> dict[str, Any]:
        """All counts, in the order in which people want to read them."""
        environments: Counter[str] = Counter()
        for name, group in self._groups.items():
            environments[name.partition(" ")[0]] += group.num_trajectories
        made: dict[str, Any] = {
            "trajectories": self.num_kept,
            "steps": self._all.num_steps,
            "success_rate": _success_rate(self._all),
            "outcomes": dict(sorted(self._all.statuses.items())),
            "environments": dict(sorted(environments.items())),
            "groups": {
                name: {
                    "trajectories": group.num_trajectories,
                    "mean_steps": round(group.num_steps / group.num_trajectories, 2),
                    "success_rate": _success_rate(group),
                }
                for name, group in sorted(self._groups.items())
            },
            "steps_per_trajectory": _spread(self._steps),
            "characters": dict(sorted(self._characters.items())),
        }
        if self._with_tokens:
            made["tokens"] = dict(sorted(self._tokens.items()))
        return made | {
            "problems": self._reasons.total(),
            "reasons": dict(self._reasons.most_common()),
            "duplicates": self._duplicates,
            "filtered": dict(self._filtered),
            "notes": dict(sorted(self._remarks.items())),
        }


def _success_rate(counts: TrajectoryCounts) -> float | None:
    return round(counts.num_success / counts.num_valid, 4) if counts.num_valid else None


def _count(counter: Counter[str], key: str) -> None:
    counter[key if key in counter or len(counter) < MAX_ROWS else OTHERS] += 1


def _spread(steps: Counter[int]) -> dict[str, Any]:
    """Least, median, 95th percentile (nearest rank) and most steps, and a histogram of [from, to, trajectories]."""
    if not steps:
        return {}
    numbers = sorted(steps)
    least, most = numbers[0], numbers[-1]
    width = -(-(most - least + 1) // MAX_BARS)
    starts = range(least, most + 1, width)
    bars = [
        [
            start,
            start + width - 1,
            sum(steps[number] for number in numbers if start <= number < start + width),
        ]
        for start in starts
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
