"""The interface of all model clients: `messages + sampling -> completion`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atlas.records import Message, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is sampled. None means the model's own default.

    `response_schema` is a JSON schema that the answer has to follow. `tools` are the schemas of the
    functions that the model may call, in OpenAI's form: {"type": "function", "function": {…}}.
    """

    temperature: float | None = 0.0
    max_tokens: int | None = None
    response_schema: dict[str, Any] | None = None
    seed: int | None = None
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. If the model or the endpoint declined the request, `refusal` quotes it.

    Attributes:
        model: the model that answered, as the endpoint names it.
        is_counted: whether `usage` holds both token counts. If not, the endpoint did not report
            them, or reported counts that cannot be true, and those are 0.
        reasoning: the model's thoughts, where the endpoint returns them apart from the text.
    """

    text: str
    usage: Usage
    finish_reason: str
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    model: str | None = None
    is_counted: bool = True
    reasoning: str | None = None

    @classmethod
    def rejected(cls, words: str) -> Completion:
        """The completion for a request that the endpoint declined."""
        return cls("", Usage(requests=1), finish_reason="rejected", refusal=words)

    @classmethod
    def unread(cls, words: str) -> Completion:
        """The completion for an answer that was paid for, but is too large to be read."""
        return cls("", Usage(requests=1), "unread", refusal=words, is_counted=False)


class ModelClient(Protocol):
    """Answers conversations, many at a time."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer one conversation.

        Raises:
            EndpointError: no usable answer to this request after all retries.
            ModelError: the model cannot answer any request (no such model, key not accepted).
        """
        ...

    async def close(self) -> None: ...
