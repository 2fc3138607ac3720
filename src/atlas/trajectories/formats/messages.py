"""Chat messages: `decoded message -> turns` with text, reasoning, tool calls and training flag.

All variants in chat data are read here: calls under `tool_calls`, `function_call` or content parts
(`calls`, `parts`), reasoning under any key (`reasoning`), and results with the role tool, function
or observation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.calls import (
    decode_nested,
    decode_sequence,
    has_content,
    is_named_call,
    read_id,
    read_tool_call,
)
from atlas.trajectories.formats.parts import Content, Said
from atlas.trajectories.formats.reasoning import HIDDEN, REASONING_KEYS, read_reasoning
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.thinking_tags import split_thinking
from atlas.trajectories.formats.training_flags import read_flag
from atlas.trajectories.formats.turns import Turn, join_generations

# Readers of formats need them with messages.
__all__ = ["REASONING_KEYS", "Turn", "decode_nested", "read_tool_call"]

# Compared without case, with "_" for "-".
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "environment": "tool",
    "ipython": "tool",
    "function_response": "tool",
    "function_result": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "toolresult": "tool",
    "tool_output": "tool",
}
ROLE_AND_CONTENT = ("role", "content")
# An assistant turn whose content is the JSON of its calls.
CALL_ROLES = ("function_call", "tool_call", "tool_calls", "tool_use")
CALLS_KEYS = ("tool_calls", "toolCalls", "function_calls", "tool_call", "toolCall")
CALLS_ARE_A_LIST = "tool_calls are a list and may only stand on assistant messages"
# The result in a message of a tool without content.
RESULT_KEYS = ("output", "result", "response", "observation")
ERROR_KEYS = ("error", "errorText")
RESULT_ID_KEYS = ("tool_call_id", "toolCallId", "tool_use_id", "toolUseId", "call_id", "callId")
FINISH_KEYS = ("finish_reason", "finishReason", "stop_reason", "stopReason")
# Reasons for an end at a limit, compared without case.
CUT_SHORT = (
    "length",
    "max_tokens",
    "max_output_tokens",
    "max_length",
    "max_completion_tokens",
    "model_length",
    "model_context_window_exceeded",
    "token_limit",
    "incomplete",
)
SPLIT = "one message held a call, its result and what came after: it became several turns"
# Leaves of messages in any format that are left out with a remark, or that say nothing.
MESSAGE_METADATA = (
    *("*.redactedContent", "*.content.citations", "*.reasoning_details.format"),
    *("*.toolResult.isError", "*.value.isError", "*.providerMetadata", "*.content.state"),
    *("*.parts.state", "*.toolInvocations.state", "*.toolInvocation.state"),
    *("*.content.server_name", "*.content.server_label"),
    *("*.audio.data", "*.audio.expires_at", "*.reasoning.effort"),
    *("*.source.data", "*.source.bytes", "*.source.url", "*.source.media_type"),
    *("*.file.file_data", "*.file.filename", "*.fileData.fileUri", "*.fileData.mimeType"),
)
# Many at once take half the time of one by one.
_messages = TypeAdapter(list[Message]).validate_python


def read_turns(given: Sequence[Any], keys: tuple[str, str] = ROLE_AND_CONTENT) -> list[Turn]:
    """The turns of a conversation, under `keys` who spoke and what.

    Messages that tell one generation are one turn (`join_generations` says which).

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
        turns += read_message(message, index, keys)
    turns += map(Turn, _messages(plain))
    return join_generations(turns)


def read_message(
    given: Any, index: int, keys: tuple[str, str] = ROLE_AND_CONTENT
) -> Iterator[Turn]:
    """One message as a turn.

    Several turns where it holds tool results: a user's results come before the text, and what an
    assistant wrote after a result is another turn.
    """
    if not isinstance(given, dict):
        raise BadRowError(
            f"{given!r:.60} is not a message, expected an object with '{keys[0]}' and '{keys[1]}'",
            index,
        )
    name, role = _role(given.get(keys[0]), index)
    flag = read_flag(given, given.get(keys[1]), index)
    calls, is_legacy = _tool_calls(given, index)
    if calls and role != "assistant":
        raise BadRowError(CALLS_ARE_A_LIST, index)
    thought, said = split_thinking(given.get(keys[1]), decode_nested) or ("", given.get(keys[1]))
    if name in CALL_ROLES and (found := _calls_of_role(given, said, index)):
        reasoning, hides = read_reasoning(given, "", index)
        reasoning = reasoning or thought or None
        message = Message(role="assistant", reasoning=reasoning, tool_calls=(*calls, *found))
        yield Turn(message, flag, True, (HIDDEN,) if hides else (), _is_cut(given))
        return
    content = Content(_content(given, keys[1], role), role, index)
    content.add_invocations(given.get("toolInvocations"))
    _add_other_text(given, content)
    first = content.said[0]
    reasoning, hides = read_reasoning(given, first.text, index)
    if keys[1] not in given and not (
        calls or reasoning or hides or content.remarks or not first.is_empty
    ):
        raise BadRowError(
            f"no '{keys[1]}', expected the text of the message "
            f"(its keys: {', '.join(map(str, given))[:80]})",
            index,
        )
    if role == "assistant":
        first.reasoning = first.reasoning or reasoning
        if hides:
            content.remarks.append(HIDDEN)
        _add_calls(content.said, calls, index)
        is_call = is_legacy and not (first.text.strip() or first.reasoning)
        yield from _assistant_turns(given, content, flag, is_call, index)
        return
    yield from map(Turn, content.results)
    if content.results and not first.text:
        return
    message = Message(
        role=role,
        content=first.text,
        reasoning=reasoning,
        tool_call_id=read_id(given, RESULT_ID_KEYS, index),
        name=_name(given, index),
    )
    yield Turn(message, flag, remarks=tuple(dict.fromkeys(content.remarks)))


def _assistant_turns(
    given: Mapping[str, Any], content: Content, flag: float | None, is_call: bool, index: int
) -> Iterator[Turn]:
    """The stretches of an assistant's message, each with the results of its calls."""
    stretches = [said for said in content.said if not said.is_empty] or content.said[:1]
    spoken = [said for said in stretches if said.text or said.reasoning or said.calls]
    remarks = tuple(dict.fromkeys(content.remarks))
    if len(spoken) > 1:
        remarks += (SPLIT,)
    is_cut = _is_cut(given)
    last = (spoken or stretches)[-1]
    name = _name(given, index)
    for said in stretches:
        if not said.is_empty and said not in spoken:
            yield from map(Turn, said.results)
            continue
        message = Message(
            role="assistant",
            content=said.text,
            reasoning=said.reasoning,
            tool_calls=tuple(said.calls),
            name=name,
        )
        yield Turn(message, flag, is_call, remarks, is_cut and said is last)
        remarks = ()
        yield from map(Turn, said.results)


def _content(given: Mapping[str, Any], key: str, role: Role) -> Any:
    """The content, or what stands in its place."""
    content = given.get(key)
    if has_content(content):
        return content
    if isinstance(given.get("parts"), list):
        return given["parts"]
    if role == "tool":
        results = (given.get(other) for other in RESULT_KEYS)
        # A flag says that there was an error, not which.
        errors = (given[other] for other in ERROR_KEYS if isinstance(given.get(other), str | dict))
        return next(filter(has_content, (*results, *errors)), content)
    return content


def _add_other_text(given: Mapping[str, Any], content: Content) -> None:
    """The text of an answer that refuses, or that was spoken, if it has no other text."""
    said = content.said[0]
    if not said.text and isinstance(given.get("refusal"), str):
        said.text = given["refusal"]
    if not said.text and isinstance(given.get("audio"), dict):
        transcript = given["audio"].get("transcript")
        content.add_spoken(transcript if isinstance(transcript, str) else None)


def _add_calls(stretches: list[Said], calls: Sequence[ToolCall], index: int) -> None:
    """Calls beside the content, unless they stand in it too."""
    in_content = [(said, call) for said in stretches for call in said.calls]
    more: list[ToolCall] = []
    for call in calls:
        twin = next((each for each in in_content if _is_same(each[1], call)), None)
        if twin is None:
            more.append(call)
            continue
        in_content.remove(twin)
        said, other = twin
        given, known = (decode_nested(each.arguments) for each in (call, other))
        if call.name == other.name and not has_content(known):
            said.calls[said.calls.index(other)] = call
        elif call.name != other.name or (has_content(given) and given != known):
            raise BadRowError(
                f"tool call {call.name!r:.60} stands in the content and beside it, but differs",
                index,
            )
    last = stretches[0] if stretches[-1].results else stretches[-1]
    last.calls[:0] = more


def _is_same(first: ToolCall, second: ToolCall) -> bool:
    """Whether two calls are tellings of one: by id, else by what they say."""
    if first.id is not None and second.id is not None:
        return first.id == second.id
    return first.name == second.name and decode_nested(first.arguments) == decode_nested(
        second.arguments
    )


def _role(spelled: Any, index: int) -> tuple[str, Role]:
    """The role in the source, and the role in the record."""
    name = spelled.lower().replace("-", "_") if isinstance(spelled, str) else ""
    role: Role | None = "assistant" if name in CALL_ROLES else ROLES.get(name)
    if role is None:
        raise BadRowError(
            f"role is {spelled!r:.60}, expected one of {', '.join((*ROLES, *CALL_ROLES))}", index
        )
    return name, role


def _tool_calls(given: Mapping[str, Any], index: int) -> tuple[tuple[ToolCall, ...], bool]:
    """The calls beside the content, and whether they came in the spelling that holds one."""
    calls = next((given[key] for key in CALLS_KEYS if has_content(given.get(key))), None)
    calls = decode_nested(calls) or []
    calls = [calls] if isinstance(calls, dict) and is_named_call(calls) else calls
    if not isinstance(calls, list):
        raise BadRowError(CALLS_ARE_A_LIST, index)
    legacy = given.get("function_call") or given.get("functionCall")
    is_legacy = not calls and bool(legacy)
    given_calls = (legacy if isinstance(legacy, list) else [legacy]) if is_legacy else calls
    read = tuple(read_tool_call(call, index) for call in given_calls if call is not None)
    return read, is_legacy


def _calls_of_role(given: Mapping[str, Any], content: Any, index: int) -> list[ToolCall]:
    """The calls in a turn whose content is their JSON, or whose fields are one call.

    None if the content is a text that is anything else, which then stays the text of the turn.
    """
    if not has_content(content):
        return [read_tool_call(given, index)] if is_named_call(given) else []
    value = decode_nested(content)
    if isinstance(value, str):
        value = decode_sequence(value) or value
    calls = value if isinstance(value, list) else [value]
    if isinstance(content, str) and not all(map(is_named_call, calls)):
        return []
    if isinstance(content, list) and not all(map(is_named_call, calls)):
        return []
    return [read_tool_call(call, index) for call in calls]


def _is_cut(given: Mapping[str, Any]) -> bool:
    reasons = map(given.get, FINISH_KEYS)
    return any(map(is_cut_short, reasons))


def is_cut_short(reason: Any) -> bool:
    """Whether a reason for the end of an answer is a limit."""
    return isinstance(reason, str) and reason.lower() in CUT_SHORT


def _name(given: Mapping[str, Any], index: int) -> str | None:
    for key in ("name", "tool_name", "toolName"):
        value = given.get(key)
        if isinstance(value, str):
            return value
        if value is not None:
            raise BadRowError(f"{key} is {value!r:.60}, expected a text", index)
    return None
