"""What the answers of a remote model cost, and who gave them: a record that a run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from atlas.models.base import Completion
from atlas.records import Message, ToolCall, Usage

# Token counts that an endpoint does not report are estimated high: about half of the usual number
# of characters a token.
FEWEST_CHARS_PER_TOKEN = 2
# Maximum number of different models' names of a run.
MOST_NAMES = 20
OTHERS = "(others)"


class Payment(Usage):
    """The usage of one or more answers, who gave them, and how much of it is estimated.

    Attributes:
        answered_by: the number of answers by each model, as the endpoint names it.
        estimated: the number of answers whose token counts were not reported, or not credible.
        cost_usd: what they cost, if several models with different prices are paid; None: by the
            price of the run's only model, or not known.
    """

    answered_by: dict[str, int] = Field(default_factory=dict)
    estimated: int = 0
    cost_usd: float | None = None

    def __add__(self, other: Usage) -> Payment:
        usage = super().__add__(other)
        names = dict(self.answered_by)
        estimated = self.estimated
        if isinstance(other, Payment):
            estimated += other.estimated
            for name, count in other.answered_by.items():
                known = name if name in names or len(names) < MOST_NAMES else OTHERS
                names[known] = names.get(known, 0) + count
        parts = [getattr(one, "cost_usd", None) for one in (self, other) if one.requests]
        costs = [cost for cost in parts if cost is not None]
        return Payment(
            **usage.model_dump(),
            answered_by=names,
            estimated=estimated,
            cost_usd=sum(costs) if costs and len(costs) == len(parts) else None,
        )

    def summary(self) -> dict[str, Any]:
        """What a manifest says about it: usage, names (most answers first), what is estimated."""
        told: dict[str, Any] = {"usage": self.usage.model_dump()}
        if self.answered_by:
            by_count = sorted(self.answered_by.items(), key=lambda item: (-item[1], item[0]))
            told["answered_by"] = dict(by_count)
        if self.estimated:
            told["usage_estimated_for"] = self.estimated
        return told

    @property
    def usage(self) -> Usage:
        """The requests and tokens only."""
        return Usage(**{name: getattr(self, name) for name in Usage.model_fields})


def payment_of(messages: Sequence[Message], completion: Completion) -> Payment:
    """The payment for an answer to `messages`; counts that were not reported are estimated."""
    usage = completion.usage
    if not completion.is_counted:
        asked = sum(
            len(message.content) + len(message.reasoning or "") + _num_chars(message.tool_calls)
            for message in messages
        )
        said = len(completion.text) + len(completion.reasoning or "")
        sent, received = (
            -(-chars // FEWEST_CHARS_PER_TOKEN)
            for chars in (asked, said + _num_chars(completion.tool_calls))
        )
        usage = Usage(
            requests=usage.requests,
            input_tokens=usage.input_tokens or sent,
            output_tokens=usage.output_tokens or received,
        )
    names = {} if completion.model is None else {completion.model: 1}
    estimated = int(not completion.is_counted)
    return Payment(**usage.model_dump(), answered_by=names, estimated=estimated)


def _num_chars(calls: Sequence[ToolCall]) -> int:
    return sum(len(call.name) + len(call.arguments) for call in calls)
