"""Completion logs of OpenHands for models that call tools in text: `row -> turns`.

Such a log holds everything twice: as the model saw and wrote it, and with the calls that OpenHands
parsed. The former is read. Logs of models with calls of their own are plain chats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.messages import Turn, read_turns
from atlas.trajectories.formats.rows import BadRowError

# The same with parsed calls. The schemas of the tools stand in the system prompt.
PARSED = ("raw_messages", "fncall_messages", "fncall_response", "tools")
ABOUT_THE_REQUEST = ("args", "kwargs", "context_window", "latency_sec", "cost", "timestamp")


def completion_turns(row: Mapping[str, Any]) -> list[Turn]:
    """The messages that the model saw, and its answer.

    Raises:
        BadRowError: the answer is missing, or something is not a message.
    """
    key = _answer_key(row)
    match row.get(key):
        case {"choices": [{"message": dict(answer)}, *_]}:
            return read_turns([*row["messages"], {"role": "assistant", "content": None, **answer}])
    raise BadRowError(f"{key} has no choices.message, expected the answer of the model")


def essential_completion(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without what it holds a second time, for the accounting."""
    answers = {"response", "raw_response"} - {_answer_key(row)}
    dropped = {*PARSED, *ABOUT_THE_REQUEST, *answers}
    return {key: value for key, value in row.items() if key not in dropped}


def _answer_key(row: Mapping[str, Any]) -> str:
    """The answer as the model wrote it: versions with the SDK have it beside the parsed one.

    If it has calls of its own, the model did not write them in text, and they may be incomplete.
    """
    match row.get("raw_response"):
        case None | {"choices": [{"message": {"tool_calls": [_, *_]}}, *_]}:
            return "response"
    return "raw_response"
