"""Every step but those that ended in an error: cloning without the mistakes (arXiv 2601.01426).

The failed turns and what came of them stay in the context, so that the model still learns how to go
on after an error.
"""

from __future__ import annotations

from atlas.kinds import NoConfig
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.error_turns import error_turns
from atlas.selection.selectors.base import SelectorContext, selection_of


class ErrorsSelector:
    """Every step whose next observation reports no error. Their number is the budget.

    Without an error in a trajectory it selects what `all` does. For fewer steps, combine it with
    another selection by `vote`.
    """

    sentence = "every step but those that ended in an error"

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        self._name = context.name

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        kept = [index for index, error in enumerate(error_turns(trajectory)) if error is None]
        return selection_of(
            trajectory, self._name, len(kept), (CriticalStep(index=index) for index in kept)
        )
