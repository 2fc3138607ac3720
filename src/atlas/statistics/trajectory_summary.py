"""A summary of trajectories: counts by outcome, of steps, and of invalid steps.

Counts are added one trajectory at a time, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from atlas.records import CUT_STEPS, REFUSED, USAGE, OutcomeStatus, Problem, Trajectory, Usage

VALID_STATUSES: tuple[OutcomeStatus, ...] = ("success", "failure", "truncated")


@dataclass(frozen=True, slots=True)
class TrajectoryFacts:
    """The facts about a trajectory that are counted, without its text.

    `num_judged_steps` counts the steps for which the environment said whether they were valid. Of
    these, `num_actionless_steps` had no action, and `num_repeated_steps` repeat an action that was
    taken earlier in the episode after the same observation. `num_cut_steps` counts the responses
    that reached the token limit, `usage` holds requests and tokens of the player's answers; they
    and `num_steps` are None if that is not known. `is_refused` says whether the player declined to
    answer, `reason` is what was recorded about the end.
    """

    task_id: str
    group: str
    status: OutcomeStatus
    score: float | None
    num_steps: int | None
    num_judged_steps: int = 0
    num_invalid_steps: int = 0
    num_actionless_steps: int = 0
    num_repeated_steps: int = 0
    num_cut_steps: int | None = None
    usage: Usage | None = None
    is_refused: bool = False
    trajectory_id: str = ""
    environment: str = ""
    reason: str | None = None

    @classmethod
    def of(cls, trajectory: Trajectory) -> TrajectoryFacts:
        judged = [step for step in trajectory.steps if step.is_invalid is not None]
        acts = [
            (tuple(message.content for message in step.observation), step.action)
            for step in judged
            if step.action is not None and step.action.strip()
        ]
        details = trajectory.source.details
        cut, usage = details.get(CUT_STEPS), details.get(USAGE)
        task, outcome = trajectory.task, trajectory.outcome
        return cls(
            task.id,
            task.group,
            outcome.status,
            outcome.score,
            num_steps=len(trajectory.steps),
            num_judged_steps=len(judged),
            num_invalid_steps=sum(bool(step.is_invalid) for step in judged),
            num_actionless_steps=len(judged) - len(acts),
            num_repeated_steps=len(acts) - len(set(acts)),
            num_cut_steps=len(cut) if isinstance(cut, list) else None,
            usage=_usage(usage),
            is_refused=details.get(REFUSED) is True,
            trajectory_id=trajectory.id,
            environment=task.environment,
            reason=outcome.reason,
        )

    @property
    def is_valid(self) -> bool:
        """Whether the episode can be scored (see `Outcome.is_valid`)."""
        return self.status in VALID_STATUSES


@dataclass(slots=True)
class TrajectoryCounts:
    """Counts of a set of trajectories."""

    statuses: Counter[str] = field(default_factory=Counter)
    num_steps: int = 0
    num_judged_steps: int = 0
    num_invalid_steps: int = 0

    def add(
        self, status: str, num_steps: int, num_judged_steps: int = 0, num_invalid_steps: int = 0
    ) -> None:
        """Count one trajectory."""
        self.statuses[status] += 1
        self.num_steps += num_steps
        self.num_judged_steps += num_judged_steps
        self.num_invalid_steps += num_invalid_steps

    @property
    def num_trajectories(self) -> int:
        return self.statuses.total()

    @property
    def num_valid(self) -> int:
        return sum(self.statuses[status] for status in VALID_STATUSES)

    @property
    def num_success(self) -> int:
        return self.statuses["success"]

    @property
    def invalid_step_share(self) -> float | None:
        """Share of invalid steps among judged steps; None if no step was judged."""
        return self.num_invalid_steps / self.num_judged_steps if self.num_judged_steps else None


@dataclass(frozen=True, slots=True)
class TurnShares:
    """What happened in the turns of valid episodes; a share is None where nothing is known.

    The first two are shares of the judged steps (see `TrajectoryFacts`), `cut` is one of the steps
    of episodes for which cut answers are known.
    """

    num_actionless: int
    num_repeated: int
    num_cut: int | None
    actionless: float | None
    repeated: float | None
    cut: float | None

    @classmethod
    def of(cls, episodes: Iterable[TrajectoryFacts]) -> TurnShares:
        valid = [episode for episode in episodes if episode.is_valid]
        judged = sum(episode.num_judged_steps for episode in valid)
        known = [episode for episode in valid if episode.num_cut_steps is not None]
        actionless = sum(episode.num_actionless_steps for episode in valid)
        repeated = sum(episode.num_repeated_steps for episode in valid)
        cut = sum(episode.num_cut_steps or 0 for episode in known)
        return cls(
            actionless,
            repeated,
            cut if known else None,
            _share(actionless, judged),
            _share(repeated, judged),
            _share(cut, sum(episode.num_steps or 0 for episode in known)),
        )


def _usage(given: Any) -> Usage | None:
    """The usage in the details of an episode; None where another program wrote something else."""
    try:
        return None if given is None else Usage.model_validate(given)
    except ValidationError:
        return None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def count_trajectories(facts: Iterable[TrajectoryFacts]) -> TrajectoryCounts:
    """Count all trajectories."""
    counts = TrajectoryCounts()
    for fact in facts:
        counts.add(fact.status, fact.num_steps or 0, fact.num_judged_steps, fact.num_invalid_steps)
    return counts


def summarize(trajectories: Iterable[Trajectory]) -> tuple[dict[str, Any], list[Problem]]:
    """Counts by status and by group, and a problem for each episode that ended as an error."""
    problems: list[Problem] = []
    total = TrajectoryCounts()
    groups: dict[str, TrajectoryCounts] = {}
    for trajectory in trajectories:
        outcome = trajectory.outcome
        for counts in (total, groups.setdefault(trajectory.task.group, TrajectoryCounts())):
            counts.add(outcome.status, len(trajectory.steps))
        if outcome.status == "error":
            reason = outcome.reason or "no reason given"
            problems.append(Problem(where="collect", item=trajectory.id, reason=reason))
    summary = {
        "episodes": total.num_trajectories,
        "by_status": dict(sorted(total.statuses.items())),
        "steps": total.num_steps,
        "mean_steps": _ratio(total.num_steps, total.num_trajectories),
        "groups": {
            name: {
                "episodes": counts.num_trajectories,
                "success_rate": _ratio(counts.num_success, counts.num_trajectories),
                "mean_steps": _ratio(counts.num_steps, counts.num_trajectories),
            }
            for name, counts in groups.items()
        },
    }
    return summary, problems


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
