"""Every step but those that ended in an error: cloning without the mistakes (arXiv 2601.01426).

The failed turns and what came of them stay in the context, so that the model still learns how to go
on after an error.
"""

from __future__ import annotations

from atlas.kinds import NoConfig
from atlas.records import Selection, Trajectory
from atlas.selection.error_turns import error_turns
from atlas.selection.selectors.base import SelectorBase


class ErrorsSelector(SelectorBase[NoConfig]):
    """Every step but those that ended in an error, whatever the ratio is.

    The next observation reports the error. For fewer steps, combine it with another selection by
    `vote`.
    """

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        kept = [index for index, error in enumerate(error_turns(trajectory)) if error is None]
        return self.selection_of(trajectory, len(kept), kept)
