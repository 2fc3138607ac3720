"""What a model's answers cost and what was wrong with them: records that a run keeps."""

from __future__ import annotations

from pydantic import Field

from atlas.models.base import Completion
from atlas.records import Message, Record, Usage

# Token counts that an endpoint does not report are estimated high: about half of the usual number
# of characters a token.
FEWEST_CHARS_PER_TOKEN = 2
# Maximum number of different models' names of a run.
MOST_NAMES = 20
OTHERS = "(others)"
# Maximum characters of an unusable answer that are kept, and that are sent back to the model.
LONGEST_KEPT = 20_000


class Payment(Usage):
    """The usage of one or more answers, who gave them, and how much of it is estimated.

    Attributes:
        answered_by: the number of answers by each model, as the endpoint names it.
        estimated: the number of answers whose token counts were not reported, or not credible.
    """

    answered_by: dict[str, int] = Field(default_factory=dict)
    estimated: int = 0

    def __add__(self, other: Usage) -> Payment:
        usage = super().__add__(other)
        names = dict(self.answered_by)
        estimated = self.estimated
        if isinstance(other, Payment):
            estimated += other.estimated
            for name, count in other.answered_by.items():
                known = name if name in names or len(names) < MOST_NAMES else OTHERS
                names[known] = names.get(known, 0) + count
        return Payment(**usage.model_dump(), answered_by=names, estimated=estimated)

    @property
    def usage(self) -> Usage:
        """The requests and tokens only."""
        return Usage(**{name: getattr(self, name) for name in Usage.model_fields})


def payment_of(messages: tuple[Message, ...], completion: Completion) -> Payment:
    """The payment for an answer to `messages`; counts that were not reported are estimated."""
    usage = completion.usage
    if not completion.is_counted:
        asked = sum(len(message.content) for message in messages)
        sent, received = (
            -(-chars // FEWEST_CHARS_PER_TOKEN) for chars in (asked, len(completion.text))
        )
        usage = Usage(
            requests=usage.requests,
            input_tokens=usage.input_tokens or sent,
            output_tokens=usage.output_tokens or received,
        )
    names = {} if completion.model is None else {completion.model: 1}
    estimated = int(not completion.is_counted)
    return Payment(**usage.model_dump(), answered_by=names, estimated=estimated)


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
