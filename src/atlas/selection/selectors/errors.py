"""Selects every step that did not end in an error (arXiv 2601.01426).

The failed turns and their results stay in the context, so that the model learns how to continue
after an error.
"""

from __future__ import annotations

from atlas.records import Selection, Trajectory
from atlas.selection.error_turns import ErrorConfig, error_turns
from atlas.selection.selectors.base import SelectorBase


class ErrorsSelector(SelectorBase[ErrorConfig]):
    """Every step, except those that ended in an error; ignores the ratio.

    An error is recognized in the next observation. To select fewer steps, combine this with another
    selection by `vote`.
    """

    Config = ErrorConfig

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        errors = error_turns(trajectory, self.config)
        kept = [index for index, error in enumerate(errors) if error is None]
        return self.selection_of(trajectory, len(kept), kept)
