"""The answer beside the messages of a row: `row, turns -> turns with the answer`.

A log of requests keeps what was sent (`messages`) apart from what came back: a text, a message, a
choice, a list of one of these, or a whole response of an API. It is the last step. What preference
data rejects is left out by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.records import Message
from atlas.trajectories.formats.calls import decode_nested, has_content
from atlas.trajectories.formats.messages import ROLE_AND_CONTENT, read_turns
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.turns import Turn, join_generations

# An answer under these keys is always one of the model.
SURE_KEYS = ("response", "completion", "choices", "chosen", "chosen_messages")
# These may also hold something else, where the messages end with an answer.
OTHER_KEYS = ("output", "generation", "model_output", "assistant_response", "chosen_response")
ANSWER_KEYS = (*SURE_KEYS, *OTHER_KEYS)
REJECTED_KEYS = ("rejected", "rejected_messages", "rejected_response", "rejected_responses")
REJECTED = "the rejected answer is left out"


def read_answer(
    row: Mapping[str, Any],
    turns: Sequence[Turn],
    keys: tuple[str, str],
    *,
    may_be_copy: bool = True,
) -> tuple[list[Turn], str | None]:
    """The turns of the answer beside the messages, and the field it was read from.

    No turns if an answer is missing, or if the messages end with it.

    Args:
        turns: of the messages.
        keys: of the messages, who spoke and what.
        may_be_copy: whether the messages may end with the answer.

    Raises:
        BadRowError: the answer is not a message, or there are several.
    """
    is_answered = bool(turns) and turns[-1].message.role == "assistant"
    for key in ANSWER_KEYS:
        messages = _messages_of(_decoded(row.get(key), keys), key, keys)
        if not messages:
            continue
        spelled = ROLE_AND_CONTENT if ROLE_AND_CONTENT[0] in messages[0] else keys
        try:
            answer = read_turns(messages, spelled)
        except BadRowError as error:
            raise BadRowError(f"'{key}' holds no answer: {error}") from None
        if may_be_copy and _ends_with(turns, answer):
            return [], key
        # What stands there may also be a label or a result.
        if may_be_copy and is_answered and key in OTHER_KEYS:
            continue
        return answer, key
    return [], None


def with_answer(turns: Sequence[Turn], answer: Sequence[Turn]) -> list[Turn]:
    """The turns and then the answer, which may be the whole conversation again."""
    shown = [_key(turn.message) for turn in answer[: len(turns)]]
    if len(answer) > len(turns) and shown == [_key(turn.message) for turn in turns]:
        return [*answer]
    return join_generations([*turns, *answer])


def _decoded(value: Any, keys: tuple[str, str]) -> Any:
    """A JSON text of a response or of messages as their value; other texts are the answer."""
    decoded = decode_nested(value)
    if not isinstance(value, str) or isinstance(decoded, str):
        return value
    first = decoded[0] if isinstance(decoded, list) and decoded else decoded
    if not isinstance(first, dict):
        return value
    is_message = set(keys) <= first.keys() or set(ROLE_AND_CONTENT) <= first.keys()
    is_response = any(isinstance(first.get(key), list) for key in ("choices", "candidates"))
    is_choice = isinstance(first.get("message"), dict)
    return decoded if is_message or is_response or is_choice else value


def _messages_of(value: Any, key: str, keys: tuple[str, str]) -> list[Any]:
    """The messages of an answer; none if the value is not one."""
    who, what = keys
    if isinstance(value, str):
        return [{who: "assistant", what: value}] if value else []
    if isinstance(value, list) and value:
        return _messages_of_list(value, key, keys)
    if not isinstance(value, dict):
        return []
    for name in ("choices", "candidates", "messages"):
        if isinstance(value.get(name), list) and value[name]:
            return _messages_of(value[name], key, keys)
    if _is_choice(value):
        return [_message_of_choice(value, keys)]
    if who in value:
        return [value]
    has_words = has_content(value.get(what)) or has_content(value.get("tool_calls"))
    return [{who: "assistant", **value}] if has_words else []


def _messages_of_list(value: list[Any], key: str, keys: tuple[str, str]) -> list[Any]:
    """The same of messages, of parts of one message, or of one answer."""
    first = value[0]
    if isinstance(first, dict) and not _is_choice(first):
        return value if keys[0] in first else [{keys[0]: "assistant", keys[1]: value}]
    if len(value) == 1:
        return _messages_of(first, key, keys)
    if isinstance(first, dict):
        reason = f"'{key}' holds {len(value)} answers, expected one. Make a row of each"
        raise BadRowError(reason)
    return []


def _message_of_choice(choice: Mapping[str, Any], keys: tuple[str, str]) -> dict[str, Any]:
    who, what = keys
    message = choice.get("message", choice.get("content"))
    around = {key: choice[key] for key in ("finish_reason", "finishReason") if key in choice}
    if isinstance(message, dict):
        return {who: "assistant", **around, **message}
    return {who: "assistant", **around, what: message or choice.get("text")}


def _is_choice(value: Any) -> bool:
    """Whether an object is a choice of a response: of OpenAI's API, or a candidate of Gemini's."""
    return isinstance(value, dict) and (
        isinstance(value.get("message"), dict | str)
        or (isinstance(value.get("text"), str) and "type" not in value)
        or (isinstance(value.get("content"), dict) and "parts" in value["content"])
    )


def _ends_with(turns: Sequence[Turn], answer: Sequence[Turn]) -> bool:
    """Whether the messages end with the answer, or with its text among other words."""
    if not turns:
        return False
    if [_key(turn.message) for turn in turns[-len(answer) :]] == [
        _key(turn.message) for turn in answer
    ]:
        return True
    last, said = turns[-1].message, answer[-1].message
    return (
        len(answer) == 1
        and last.role == "assistant"
        and not said.tool_calls
        and bool(said.content.strip())
        and said.content.strip() in last.content
    )


def _key(message: Message) -> tuple[Any, ...]:
    """What two tellings of a message have in common."""
    calls = [(call.name, decode_nested(call.arguments)) for call in message.tool_calls]
    return message.role, message.content.strip(), calls
