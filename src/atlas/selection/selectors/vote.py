"""Several selections vote: steps that most of them chose, or all steps weighted by their ranks.

A selection that has a problem with a trajectory abstains there. Scores of different selectors share
no scale (a confidence, a loss, a weight set by hand), so a weighted vote goes by their ranks: among
the n steps that a selection chose, the best weighs 1, the next (n - 1) / n, and so on; steps of one
score weigh the same, and those without scores all weigh 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from atlas.config import BY_CONTENT, Config
from atlas.errors import RunError
from atlas.records import CriticalKind, CriticalStep, Selection, Trajectory
from atlas.selection.selectors.base import SelectorBase, SelectorContext
from atlas.store.readers import read_selections
from atlas.store.run_folders import Input, run_input


class VoteConfig(Config):
    """Settings of `vote`: the selections that vote, and how votes count."""

    of: Annotated[tuple[str, ...], BY_CONTENT] = Field(
        description="the selection runs that vote, two or more"
    )
    voting: Literal["majority", "weighted"] = Field(
        "majority", description="steps that most chose, or every step weighted by its ranks"
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

    The most votes come first, then the weight, then the earlier step. By majority a step needs more
    than half of the votes. The order of the runs in `of` does not matter to what is taken.

    Raises:
        RunError: one of `of` is not a finished selection run of these trajectories.
    """

    Config = VoteConfig

    def __init__(self, config: VoteConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._others = {
            Path(run): read_selections(Path(run), context.trajectories) for run in config.of
        }

    def inputs(self, out: Path) -> dict[str, Input]:
        return {
            f"of_{number}": run_input(run, out, ("select",))
            for number, run in enumerate(self._others, start=1)
        }

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """At most `budget` steps, each scored by its share of the votes (or of the weight).

        A problem where all abstain.
        """
        given = [_find(trajectory, run, others) for run, others in self._others.items()]
        voters = [selection for selection in given if selection.problem is None]
        if not voters:
            problem = (
                f"none of the {len(given)} selections votes here; the first has a problem: "
                f"{given[0].problem}"
            )
            return self.selection_of(trajectory, budget, problem=problem)
        weights = [_weights(voter) for voter in voters]
        chosen = sorted({index for weight in weights for index in weight})
        votes = {index: sum(index in weight for weight in weights) for index in chosen}
        weight_of = {
            index: sum((weight.get(index, Fraction()) for weight in weights), Fraction())
            for index in chosen
        }
        ranked_by = weight_of
        if self.config.voting == "majority":
            chosen = [index for index in chosen if 2 * votes[index] > len(voters)]
            ranked_by = {index: Fraction(votes[index]) for index in chosen}
        best = sorted(chosen, key=lambda index: (-ranked_by[index], -weight_of[index], index))
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


def _find(trajectory: Trajectory, run: Path, selections: Mapping[str, Selection]) -> Selection:
    found = selections.get(trajectory.id)
    if found is None or found.num_steps != len(trajectory.steps):
        raise RunError(
            f"the selection {run} has none for trajectory '{trajectory.id}' with "
            f"{len(trajectory.steps)} steps. Give of=… selections of these trajectories."
        )
    return found


def _weights(selection: Selection) -> dict[int, Fraction]:
    """Each chosen step's share of the chosen steps that score no higher."""
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
