"""Chats in OpenAI's messages: `{"messages": […]}`, `{"conversations": […]}` with role and content, or a bare list.

Every assistant message is a step, however many tools it calls; what stands between two of them is the later one's
observation. System messages open the prompt; so do the instructions before a canned acknowledgement. `success` and
`reward` of the row become the outcome, its other plain fields `source.details`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas.records import Message, Outcome, Problem, Role, Source, Step, ToolCall, Trajectory
from atlas.trajectories.formats.conventions import is_acknowledgement, parse_action, task_of_row
from atlas.trajectories.formats.rows import BadRowError, Row, convert_rows

MESSAGE_KEYS = ("messages", "conversations")
OUTCOME_KEYS = ("success", "reward")
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class OpenAIFormat:
    """Reads chats in OpenAI's messages, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        messages = _messages_of(row)
        return isinstance(messages, list) and bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]

    def read(self, path: Path) -> Iterator[Trajectory | Problem]:
        return convert_rows(path, lambda row: _trajectory(row, path.name))


def _trajectory(row: Row, file_name: str) -> Trajectory:
    fields = row.value if isinstance(row.value, dict) else {}
    given = _messages_of(row.value)
    if not isinstance(given, list) or not given:
        raise BadRowError("no messages, expected a list of them, bare or under 'messages' or 'conversations'")
    messages = [_message(message, index) for index, message in enumerate(given)]
    start = _prompt_length(messages)
    steps: list[Step] = []
    observation: list[Message] = []
    for message in messages[start:]:
        if message.role != "assistant":
            observation.append(message)
            continue
        steps.append(Step(observation=tuple(observation), response=message, action=parse_action(message.content)))
        observation = []
    if not steps:
        raise BadRowError("no assistant message besides the prompt, so no step")
    task = task_of_row(fields, otherwise=f"chat-{row.content_hash}")
    details = {
        key: value for key, value in fields.items() if key not in (*MESSAGE_KEYS, *OUTCOME_KEYS, "item_id", "task_id") and _is_plain(value)
    }
    return Trajectory(
        id=f"{task.id}-{row.content_hash}" if fields.get("item_id") is not None or fields.get("task_id") is not None else task.id,
        task=task,
        prompt=tuple(messages[:start]),
        steps=tuple(steps),
        final_observation=tuple(observation),
        outcome=_outcome(fields),
        source=Source(name="openai", path=file_name, row=row.index, details=details),
    )


def _messages_of(row: Any) -> Any:
    if isinstance(row, dict):
        return next((row[key] for key in MESSAGE_KEYS if key in row), None)
    return row


def _prompt_length(messages: Sequence[Message]) -> int:
    """System messages, or everything up to the acknowledgement that the agent answers the instructions with."""
    first = next((index for index, message in enumerate(messages) if message.role == "assistant"), len(messages))
    if first + 1 < len(messages) and messages[first + 1].role == "user" and is_acknowledgement(messages[first].content):
        return first + 1
    return next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))


def _message(given: Any, index: int) -> Message:
    if not isinstance(given, dict):
        raise BadRowError(f"{given!r:.60} is no message, expected an object with 'role' and 'content'", index)
    role = ROLES.get(given["role"]) if isinstance(given.get("role"), str) else None
    if role is None:
        raise BadRowError(f"role is {given.get('role')!r:.60}, expected one of {', '.join(ROLES)}", index)
    tool_calls = given.get("tool_calls") or []
    if not isinstance(tool_calls, list) or (tool_calls and role != "assistant"):
        raise BadRowError("tool_calls are a list and stand on assistant messages alone", index)
    return Message(
        role=role,
        content=_text(given.get("content"), index),
        reasoning=_optional_text(given, ("reasoning_content", "reasoning"), index),
        tool_calls=tuple(_tool_call(call, index) for call in tool_calls),
        tool_call_id=_optional_text(given, ("tool_call_id",), index),
        name=_optional_text(given, ("name",), index),
    )


def _text(content: Any, index: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRowError(f"content is {content!r:.60}, expected a text or a list of text parts", index)
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise BadRowError(f"content has a part {kind!r:.60}, expected text alone", index)
    return "".join(part["text"] for part in content)


def _optional_text(given: Mapping[str, Any], keys: Sequence[str], index: int) -> str | None:
    for key in keys:
        value = given.get(key)
        if isinstance(value, str):
            return value
        if value is not None:
            raise BadRowError(f"{key} is {value!r:.60}, expected a text", index)
    return None


def _tool_call(call: Any, index: int) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRowError("a tool call has no function name, expected {'id', 'function': {'name', 'arguments'}}", index)
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str):
        raise BadRowError(
            f"the arguments of tool call {function['name']!r:.60} are {arguments!r:.60}, expected a JSON text or an object", index
        )
    return ToolCall(id=_optional_text(call, ("id",), index), name=function["name"], arguments=arguments)


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    """`success` decides; a reward alone does not (some environments score 0 to 100, some never reach 1)."""
    reward, success = fields.get("reward"), fields.get("success")
    if reward is not None and not _is_number(reward):
        raise BadRowError(f"reward is {reward!r:.60}, expected a number")
    if success is not None and success not in (0, 1):
        raise BadRowError(f"success is {success!r:.60}, expected true or false")
    score = None if reward is None else float(reward)
    if success is None:
        return Outcome(status="unknown", score=score, reason="the row does not say whether it succeeded")
    if not success and score is not None and score > 0:
        return Outcome(status="unknown", score=score, reason=f"the row says success false and reward {reward}")
    return Outcome(status="success" if success else "failure", score=score)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (
        (isinstance(value, int) and abs(value) < 2**53) or (isinstance(value, float) and math.isfinite(value))
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool) or _is_number(value) or isinstance(value, str)
