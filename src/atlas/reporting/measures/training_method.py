"""How an arm was trained, without its seed and its share of the steps: which arms are one curve."""

from __future__ import annotations

from typing import Any

from atlas.records import Record


class TrainingMethod(Record):
    """The selector and the settings of an arm's first training.

    `ratio` is the share of steps that could be selected; None if the selector set its own budget.
    `selection` and `training` hold the settings that decide the result, except for the ratio and
    the seeds. `model` is the name or the digest of the model that was trained.
    """

    selector: str
    ratio: float | None
    selection: dict[str, Any]
    training: dict[str, Any]
    model: str

    @property
    def takes_all_steps(self) -> bool:
        """Whether every step was supervised, whatever the settings of the selection say."""
        return self.selector == "all"

    def is_trained_like(self, other: TrainingMethod) -> bool:
        """Whether the two differ in the selected steps only."""
        return self.training == other.training and self.model == other.model
