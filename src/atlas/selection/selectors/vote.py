"""Several selections vote: steps that most of them chose, or all steps weighed by how each selection ranks them.

A selection that has a problem with a trajectory abstains there. Scores of different selectors share no scale (a confidence,
a loss, a weight set by hand), so a weighted vote goes by their ranks: among the n steps that a selection chose, the best
weighs 1, the next (n - 1) / n, and so on; steps of one score weigh the same, and those without scores all weigh 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from atlas.errors import RunError
from atlas.records import CriticalKind, CriticalStep, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, selection_of


class VoteSelector:
    """Takes the steps that more than half of the voters chose, the most votes first, then the weight; or by weight alone.

    Of equals the earlier step is taken. The order of the runs in `of` does not matter to what is taken.
    """

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._name = config.selector
        self._majority = config.voting == "majority"
        self._others = others

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """At most `budget` steps, each scored by its share of the votes (or of the weight); a problem where all abstain."""
        given = self._others.get(trajectory.id, ())
        if not given:
            raise RunError(
                f"the selections that vote have none for trajectory '{trajectory.id}'. Give of=… selections of these trajectories."
            )
        voters = [selection for selection in given if selection.problem is None]
        if not voters:
            problem = f"none of the {len(given)} selections votes here; the first has a problem: {given[0].problem}"
            return selection_of(trajectory, self._name, budget, problem=problem)
        weights = [_weights(voter) for voter in voters]
        votes = {
            index: sum(index in weight for weight in weights)
            for index in range(len(trajectory.steps))
        }
        weight_of = {
            index: sum((weight.get(index, Fraction()) for weight in weights), Fraction())
            for index in votes
        }
        if self._majority:
            chosen = [index for index in votes if 2 * votes[index] > len(voters)]
            best = sorted(chosen, key=lambda index: (-votes[index], -weight_of[index], index))[
                :budget
            ]
        else:
            chosen = [index for index in votes if votes[index]]
            best = sorted(chosen, key=lambda index: (-weight_of[index], index))[:budget]
        steps = (
            CriticalStep(
                index=index,
                kinds=_kinds(voters, index),
                reason=f"{votes[index]} of {len(voters)}: {', '.join(voter.selector for voter in voters if index in voter.indices)}",
                score=round(
                    float(
                        (votes[index] if self._majority else weight_of[index])
                        / Fraction(len(voters))
                    ),
                    6,
                ),
            )
            for index in best
        )
        return selection_of(trajectory, self._name, budget, steps)


def _weights(selection: Selection) -> dict[int, Fraction]:
    """Each chosen step's share of the chosen steps that it is no worse than."""
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
