"""The text of messages, and scikit-learn's vectorizers that turn it into features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from atlas.errors import DependencyError
from atlas.records import Message


def message_text(message: Message, call_prefix: str = "") -> str:
    """The reasoning, the content and the tool calls of a message, one below the other."""
    calls = [f"{call_prefix}{call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(part for part in (message.reasoning, message.content, *calls) if part)


def join_texts(messages: Iterable[Message]) -> str:
    """The texts of several messages, one below the other."""
    return "\n".join(map(message_text, messages))


def feature_extraction() -> Any:
    """The module `sklearn.feature_extraction`.

    Raises:
        DependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn import feature_extraction
    except ImportError:
        raise DependencyError("scikit-learn", "select") from None
    return feature_extraction
