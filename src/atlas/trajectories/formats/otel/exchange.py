"""What a span holds of messages, before they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a model was given and what it answered, or what a tool got and gave back.

    Attributes:
        kind: what the span is about; an agent's tells the whole of its work.
        used: the attributes that were taken, with all below them, and copies of those.
        system: instructions that stand beside the messages.
    """

    kind: Literal["model", "agent", "tool"]
    sent: Any
    answered: Any
    used: tuple[str, ...]
    system: Any = None
    tools: Any = None
    finish_reason: Any = None
    name: Any = None
    id: Any = None
    agent: Any = None
