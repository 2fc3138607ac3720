"""The answers of a model that gave no selection, as a run keeps them."""

from __future__ import annotations

from atlas.records import Record

# Maximum characters of an unusable answer that are kept, and that are sent back to the model.
LONGEST_KEPT = 20_000


class UnusableAnswer(Record):
    """An answer that broke a rule, so that it gave no selection.

    Attributes:
        first_step, last_step: the steps that the question was about.
        attempt: 1, or 2 for the answer after a complaint.
        answer: the beginning of the answer.
    """

    trajectory_id: str
    first_step: int
    last_step: int
    attempt: int
    reason: str
    answer: str
    num_characters: int
    finish_reason: str
    model: str | None = None

    @property
    def key(self) -> str:
        """Unique in a run."""
        return f"{self.trajectory_id} {self.first_step} {self.attempt}"
