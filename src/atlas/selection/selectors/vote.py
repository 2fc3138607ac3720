"""Combines selections by vote: by majority, or weighted by the ranks of the steps.

A selection with a problem for a trajectory does not vote there. Scores of different selectors are
not comparable, so a weighted vote uses ranks: of the n steps that a selection chose, the best has
the weight 1, the next (n - 1) / n, and so on. Steps with equal scores have equal weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from atlas.config import BY_CONTENT, Config
from atlas.records import CriticalKind, CriticalStep, Selection, Trajectory
from atlas.selection.other_selection import NAMES_SELECTIONS, OtherSelection
from atlas.selection.selectors.base import SelectorBase, SelectorContext
from atlas.store.run_folders import Input


class VoteConfig(Config):
    """Settings of `vote`: the selections, and how they are combined."""

    of: Annotated[tuple[str, ...], BY_CONTENT, NAMES_SELECTIONS] = Field(
        description="the selection runs that vote, two or more"
    )
    voting: Literal["majority", "weighted"] = Field(
        default="majority",
        description="majority: take steps that more than half of the selections chose; "
        "weighted: a step that a selection ranks high counts more",
    )

    @field_validator("of")
    @classmethod
    def _several_differ(cls, of: tuple[str, ...]) -> tuple[str, ...]:
        if len(of) < 2:
            raise ValueError(f"expected two or more selection runs, {len(of)} are given")
        if len(set(of)) < len(of):
            raise ValueError("a selection run is named twice, expected each once")
        return of


class VoteSelector(SelectorBase[VoteConfig]):
    """The steps that several selections agree on.

    Steps are ordered by votes, then by weight, then by position. With `voting=majority`, a step
    needs more than half of the votes.
    """

    Config = VoteConfig

    def __init__(self, config: VoteConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._others = [OtherSelection(run, context.trajectories) for run in config.of]

    def inputs(self, out: Path) -> dict[str, Input]:
        return {f"of_{number}": one.input(out) for number, one in enumerate(self._others, start=1)}

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """Select at most `budget` steps, each scored by its share of the votes (or of the weight).

        If no selection votes, the trajectory is a problem.
        """
        given = [other.find(trajectory) for other in self._others]
        voters = [selection for selection in given if selection.problem is None]
        if not voters:
            problem = (
                f"none of the {len(given)} selections votes here; the first has a problem: "
                f"{given[0].problem}"
            )
            return self.selection_of(trajectory, budget, problem=problem)
        votes = Counter(index for voter in voters for index in voter.indices)
        weights = dict.fromkeys(votes, Fraction())
        for voter in voters:
            for index, weight in _weights(voter).items():
                weights[index] += weight
        chosen, ranked_by = [*votes], weights
        if self.config.voting == "majority":
            chosen = [index for index in votes if 2 * votes[index] > len(voters)]
            ranked_by = {index: Fraction(votes[index]) for index in chosen}
        best = sorted(chosen, key=lambda index: (-ranked_by[index], -weights[index], index))
        steps = (
            CriticalStep(
                index=index,
                kinds=_kinds(voters, index),
                reason=f"{votes[index]} of {len(voters)}: {_names(voters, index)}",
                score=round(float(ranked_by[index] / len(voters)), 6),
            )
            for index in best[:budget]
        )
        return self.selection_of(trajectory, budget, steps)


def _weights(selection: Selection) -> dict[int, Fraction]:
    """For each chosen step, the share of the chosen steps with at most its score."""
    scores = {
        step.index: -math.inf if step.score is None else step.score
        for step in selection.critical_steps
    }
    return {
        index: Fraction(sum(other <= score for other in scores.values()), len(scores))
        for index, score in scores.items()
    }


def _kinds(voters: Sequence[Selection], index: int) -> tuple[CriticalKind, ...]:
    steps = (step for voter in voters for step in voter.critical_steps if step.index == index)
    return tuple(dict.fromkeys(kind for step in steps for kind in step.kinds))


def _names(voters: Sequence[Selection], index: int) -> str:
    return ", ".join(voter.selector for voter in voters if index in voter.indices)
