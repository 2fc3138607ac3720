"""Chat messages: `decoded message -> turns` with text, reasoning, tool calls and training flag.

All variants in chat data are read here: calls under `tool_calls`, `function_call` or content parts,
arguments as text or object, and results with the role tool, function or observation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.thinking_tags import split_thinking
from atlas.trajectories.formats.training_flags import read_flag

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
ROLE_AND_CONTENT = ("role", "content")
# An assistant turn whose content is the JSON of its calls.
CALL_ROLES = ("function_call", "tool_call")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
CALLS_ARE_A_LIST = "tool_calls are a list and may only stand on assistant messages"
TEXT_PARTS = ("text", "input_text", "output_text")
PART_NAMES = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
}
# Many at once take half the time of one by one.
_messages = TypeAdapter(list[Message]).validate_python


class Turn(NamedTuple):
    """A message with the source's training flag, None where it has none.

    The flag is 0, 1, or how much of the turn is trained (training_flags.py). `is_call` if it came
    as a turn that holds only calls.
    """

    message: Message
    is_trained: float | None = None
    is_call: bool = False


def read_turns(given: Sequence[Any], keys: tuple[str, str] = ROLE_AND_CONTENT) -> list[Turn]:
    """The turns of a conversation, under `keys` who spoke and what.

    A turn of calls after an assistant turn is merged into that turn.

    Raises:
        BadRowError: something is not a message; the error names which.
    """
    turns: list[Turn] = []
    plain: list[dict[str, str]] = []
    who, what = keys
    for index, message in enumerate(given):
        # A role, a text and nothing else, like most messages.
        if isinstance(message, dict) and len(message) == 2:
            spelled, content = message.get(who), message.get(what)
            if (
                isinstance(spelled, str)
                and isinstance(content, str)
                and (role := ROLES.get(spelled))
            ):
                plain.append({"role": role, "content": content})
                continue
        turns += map(Turn, _messages(plain))
        plain = []
        for turn in read_message(message, index, keys):
            if turn.is_call and turns and turns[-1].message.role == "assistant":
                turns[-1] = _joined(turns[-1], turn)
            else:
                turns.append(turn)
    turns += map(Turn, _messages(plain))
    return turns


def read_message(
    given: Any, index: int, keys: tuple[str, str] = ROLE_AND_CONTENT
) -> Iterator[Turn]:
    """One message as a turn; several turns where a user message holds tool results."""
    if not isinstance(given, dict):
        raise BadRowError(
            f"{given!r:.60} is not a message, expected an object with '{keys[0]}' and '{keys[1]}'",
            index,
        )
    name, role = _role(given.get(keys[0]), index)
    content = given.get(keys[1])
    flag = read_flag(given, content, index)
    calls = _tool_calls(given, index)
    if calls and role != "assistant":
        raise BadRowError(CALLS_ARE_A_LIST, index)
    thought, found = _calls_after_thinking(content) if name in CALL_ROLES else (None, [])
    if found:
        made = Message(role="assistant", reasoning=thought, tool_calls=(*calls, *found))
        yield Turn(made, flag, is_call=thought is None)
        return
    parts = _Parts(given, content, role, index)
    if keys[1] not in given and not (
        parts.text or calls or any(given.get(key) for key in REASONING_KEYS)
    ):
        raise BadRowError(
            f"no '{keys[1]}', expected the text of the message "
            f"(its keys: {', '.join(map(str, given))[:80]})",
            index,
        )
    for result in parts.results:
        yield Turn(result)
    if parts.results and not parts.text:
        return
    yield Turn(
        Message(
            role=role,
            content=parts.text,
            reasoning=_optional_text(given, REASONING_KEYS, index)
            if parts.reasoning is None
            else parts.reasoning,
            tool_calls=(*calls, *parts.calls),
            tool_call_id=_optional_text(given, ("tool_call_id", "call_id"), index),
            name=_optional_text(given, ("name",), index),
        ),
        flag,
    )


def read_tool_call(call: Any, index: int) -> ToolCall:
    """A tool call in one of its spellings.

    `{"id", "function": {"name", "arguments"}}`, the same without the inner object, or `{"name",
    "input"}` of a custom tool.
    """
    given = call if isinstance(call, dict) else {}
    function = next(
        (given[key] for key in ("function", "custom") if isinstance(given.get(key), dict)), given
    )
    if not isinstance(function.get("name"), str):
        raise BadRowError(
            "a tool call has no function name, expected {'id', 'function': {'name', 'arguments'}}",
            index,
        )
    arguments = next(
        (
            function[key]
            for key in ("arguments", "parameters", "input")
            if function.get(key) is not None
        ),
        "{}",
    )
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str):
        raise BadRowError(
            f"the arguments of tool call {function['name']!r:.60} are {arguments!r:.60}, "
            "expected a JSON text or an object",
            index,
        )
    return ToolCall(
        id=_optional_text(given, ("id",), index), name=function["name"], arguments=arguments
    )


def decode_nested(value: Any) -> Any:
    """A JSON text as its value; anything else, and a text that is not JSON, as it is."""
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value, parse_constant=_refuse_constant)
        # Raises for half of a surrogate pair, which no record can hold.
        json.dumps(decoded, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return value
    return decoded


class _Parts:
    """The content of a message: text, calls, results, reasoning; markers such as `[image]`."""

    def __init__(self, given: Mapping[str, Any], content: Any, role: Role, index: int) -> None:
        self.calls: list[ToolCall] = []
        self.results: list[Message] = []
        self.reasoning: str | None = None
        self.text = ""
        if isinstance(content, list):
            self.text = "".join(self._part(part, role, index) for part in content)
        elif isinstance(content, str):
            self.text = content
        elif isinstance(content, dict) and role == "tool":
            self.text = json.dumps(content, ensure_ascii=False)
        elif content is not None:
            raise BadRowError(
                f"content is {content!r:.60}, expected a text or a list of parts", index
            )
        if not self.text and isinstance(given.get("refusal"), str):
            self.text = given["refusal"]
        if not self.text and isinstance(given.get("audio"), dict):
            self.text = "[audio]"

    def _part(self, part: Any, role: Role, index: int) -> str:
        if isinstance(part, str):
            return part
        if not isinstance(part, dict):
            raise BadRowError(
                f"content has a part {part!r:.60}, expected a text or an object with 'type'", index
            )
        kind = part.get("type")
        if kind in (*TEXT_PARTS, None) and isinstance(part.get("text"), str):
            return str(part["text"])
        if kind == "refusal" and isinstance(part.get("refusal"), str):
            return str(part["refusal"])
        if self._takes(part, kind, role, index):
            return ""
        if not isinstance(kind, str) or kind in TEXT_PARTS:
            raise BadRowError(
                f"content has a part of type {kind!r:.60} without text, expected a 'text' in it",
                index,
            )
        return f"[{PART_NAMES.get(kind, kind)}]"

    def _takes(self, part: Mapping[str, Any], kind: Any, role: Role, index: int) -> bool:
        """Whether the part is reasoning, a call or a result, which is kept beside the text."""
        if kind in ("thinking", "reasoning") and role == "assistant":
            texts = (part.get(key) for key in ("thinking", "reasoning", "text"))
            thought = next((text for text in texts if isinstance(text, str)), "")
            self.reasoning = (self.reasoning or "") + thought
        elif kind == "tool_use" and role == "assistant":
            self.calls.append(read_tool_call(part, index))
        elif kind == "tool_result" and role == "user":
            content = _Parts({}, part.get("content"), "tool", index).text
            id_ = _optional_text(part, ("tool_use_id",), index)
            self.results.append(Message(role="tool", content=content, tool_call_id=id_))
        else:
            return False
        return True


def _joined(first: Turn, second: Turn) -> Turn:
    message = first.message.model_copy(
        update={"tool_calls": (*first.message.tool_calls, *second.message.tool_calls)}
    )
    flags = [turn.is_trained for turn in (first, second) if turn.is_trained is not None]
    return Turn(message, max(flags, default=None), is_call=first.is_call)


def _role(spelled: Any, index: int) -> tuple[str, Role]:
    """The role in the source, and the role in the record."""
    name = spelled.lower() if isinstance(spelled, str) else ""
    role: Role | None = "assistant" if name in CALL_ROLES else ROLES.get(name)
    if role is None:
        raise BadRowError(
            f"role is {spelled!r:.60}, expected one of {', '.join((*ROLES, *CALL_ROLES))}", index
        )
    return name, role


def _tool_calls(given: Mapping[str, Any], index: int) -> tuple[ToolCall, ...]:
    calls = decode_nested(given.get("tool_calls")) or []
    if not isinstance(calls, list):
        raise BadRowError(CALLS_ARE_A_LIST, index)
    legacy = given.get("function_call")
    return tuple(
        read_tool_call(call, index) for call in (calls if calls or not legacy else [legacy])
    )


def _calls_after_thinking(content: Any) -> tuple[str | None, list[ToolCall]]:
    """The calls in a turn that holds only calls, and the thinking in tags before their JSON."""
    thought, calls = split_thinking(content, decode_nested) or (None, content)
    return thought, _calls_in_text(calls)


def _calls_in_text(content: Any) -> list[ToolCall]:
    """The calls in a turn whose text is their JSON, one or a list; none if it is anything else."""
    value = decode_nested(content)
    calls = value if isinstance(value, list) else [value]
    try:
        return [read_tool_call(call, 0) for call in calls]
    except BadRowError:
        return []


def _optional_text(given: Mapping[str, Any], keys: Sequence[str], index: int) -> str | None:
    for key in keys:
        value = given.get(key)
        if isinstance(value, str):
            return value
        if value is not None:
            raise BadRowError(f"{key} is {value!r:.60}, expected a text", index)
    return None


def _refuse_constant(constant: str) -> Any:
    raise ValueError(constant)
