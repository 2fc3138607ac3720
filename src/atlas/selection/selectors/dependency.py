"""Selects steps whose observations give values that later actions use (after arXiv 2602.12852).

WebClipper lets a language model turn a trajectory into a graph of actions and pieces of
information, and keeps the actions that the answer needs, found by shortest paths and a backward
closure (its §3.3 and §3.4). Here no model is asked: a piece of information is a value (a number, a
name, an identifier, a path) that an observation shows first and a later action contains. Nothing is
removed either: the steps that others need most are the critical ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from atlas.config import Config
from atlas.records import CriticalStep, Problem, Selection, Trajectory
from atlas.selection.dependencies.value_uses import ValueUse, find_uses
from atlas.selection.selectors.base import Scores, SelectorBase, problem_with, take_best

# What a step that gives a value passes on to the steps before it.
PASSED_ON = 0.9
NOTHING_USED = (
    "no action uses a value that an earlier step's observation was first to show, so there is "
    "nothing to trace back. Use a selector that does not depend on values, such as rules."
)


class DependencyConfig(Config):
    """Settings of `dependency`: what counts as a value."""

    common: int = Field(
        default=5,
        ge=1,
        description="a value that more observations than this showed before the first action used "
        "it is too common to count",
    )


class DependencySelector(SelectorBase[DependencyConfig]):
    """The steps whose observations give values that later actions, and at last the answer, use."""

    Config = DependencyConfig

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """Select the steps of the backward slice that give most, each with what it gives."""
        uses = find_uses(trajectory, self.config.common)
        if not uses:
            problem = NOTHING_USED if trajectory.steps else None
            return self.selection_of(trajectory, budget, problem=problem)
        steps = (
            CriticalStep(index=one.step, score=one.score, reason=one.reason)
            for one in backward_slice(uses, acting_steps(trajectory))
        )
        return self.selection_of(trajectory, budget, take_best(steps, budget))

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        uses = find_uses(trajectory, self.config.common)
        if not uses and trajectory.steps:
            return problem_with(trajectory.id, NOTHING_USED)
        scores: list[float | None] = [None] * len(trajectory.steps)
        for one in backward_slice(uses, acting_steps(trajectory)):
            scores[one.step] = one.score
        return scores


@dataclass(frozen=True, slots=True)
class SliceStep:
    """A step of the backward slice, with its score and what it gives to later steps."""

    step: int
    score: float
    reason: str


def acting_steps(trajectory: Trajectory) -> frozenset[int]:
    """The steps that act, rather than only say something to a person."""
    return frozenset(
        index
        for index, step in enumerate(trajectory.steps)
        if step.action is not None or step.response.tool_calls
    )


def backward_slice(uses: Sequence[ValueUse], acting: frozenset[int]) -> list[SliceStep]:
    """The steps on which the last action and the last answer depend, directly or through others.

    These two (one, if the last action is the answer) are the last steps that use a value; each has
    a credit of 1. Each step of the slice passes its credit on to the steps that give it values, in
    proportion to how many they give. What a step gets is its score, so a step through which
    everything goes has a high one, and a step that gives nothing has 0.
    """
    if not uses:
        return []
    by_user: dict[int, list[ValueUse]] = defaultdict(list)
    for use in uses:
        by_user[use.user].append(use)
    ends = {max(by_user), max(acting & by_user.keys(), default=max(by_user))}
    scores: dict[int, float] = dict.fromkeys(ends, 0.0)
    given: dict[int, list[ValueUse]] = defaultdict(list)
    for user in range(max(by_user), -1, -1):
        if user not in scores or user not in by_user:
            continue
        credit = PASSED_ON * scores[user] + (user in ends) / len(ends)
        for use in by_user[user]:
            scores[use.giver] = scores.get(use.giver, 0.0) + credit / len(by_user[user])
            given[use.giver].append(use)
    return [
        SliceStep(step, float(f"{score:.6g}"), _reason(given[step]))
        for step, score in scores.items()
    ]


def _reason(given: Sequence[ValueUse]) -> str:
    if not given:
        return "the last action that uses a value"
    users: dict[int, list[str]] = defaultdict(list)
    for use in given:
        users[use.user].append(f"'{use.value:.60}'")
    parts = [
        f"{', '.join(values[:3])}{', …' if len(values) > 3 else ''} to step {user}"
        for user, values in sorted(users.items())
    ]
    return f"gives {'; '.join(parts[:4])}{'; …' if len(parts) > 4 else ''}"
