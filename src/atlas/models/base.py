"""Who answers: an agent, an oracle, a judge. `messages + sampling -> completion`, over a network or in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atlas.records import Message, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is drawn. None leaves the matter to the model's own default."""

    temperature: float | None = 0.0
    max_tokens: int | None = None
    response_schema: dict[str, Any] | None = None  # a JSON schema that the answer has to follow
    seed: int | None = None
    tools: tuple[dict[str, Any], ...] = ()  # schemas in OpenAI's form, which the model may call


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `refusal` holds the model's or the endpoint's own words where this request was declined."""

    text: str
    usage: Usage
    finish_reason: str
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


class ModelClient(Protocol):
    """Answers conversations, many at a time."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer to one conversation.

        Raises:
            EndpointError: no usable answer to this request after all retries; another may fare better.
            ModelError: the model cannot be used at all (no such model, key not accepted).
        """
        ...

    async def close(self) -> None: ...
