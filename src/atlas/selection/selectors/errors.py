"""Every step but those that ended in an error: whole-trajectory cloning that does not teach the mistakes (SWE-Lego, arXiv 2601.01426).

The failed turns and what came of them stay in the context, so that the model still learns how to go on after an error.
"""

from __future__ import annotations

from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.error_turns import error_turns
from atlas.selection.selectors.base import Others, selection_of


class ErrorsSelector:
    """Selects the steps whose following observation reports no error. Their number is its budget, whatever the ratio is.

    Without an error in a trajectory it selects what `all` does. For fewer steps, let it vote with another selection.
    """

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._name = config.selector

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        kept = [index for index, error in enumerate(error_turns(trajectory)) if error is None]
        return selection_of(
            trajectory, self._name, len(kept), (CriticalStep(index=index) for index in kept)
        )
