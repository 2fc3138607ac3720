"""Cline, Roo Code and Kilo Code: `api_conversation_history.json`, `*.messages.json`.

The messages are Anthropic's, with times. After the chat was condensed or cut, messages that name
the summary or the mark as their parent are hidden from the agent: there a trajectory begins, whose
prompt is what the agent still saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.records import Message, Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.react_turns import Remark

# A hidden message names the id of the message that hides it.
HIDING_KEYS = (("condenseParent", "condenseId"), ("truncationParent", "truncationId"))
LEFT_OUT = {
    "redacted_thinking": "redacted reasoning is left out",
    "thoughtSignature": None,
}
ENCRYPTED = "encrypted reasoning is left out"


class ClineFormat(RowFormat):
    """Reads the chats that Cline, Roo Code and Kilo Code keep."""

    metadata = (
        "version",
        "updated_at",
        "agent",
        "*.modelInfo",
        "*.metrics",
        "*.condenseId",
        "*.condenseParent",
        "*.truncationId",
        "*.truncationParent",
        "*.isSummary",
        "*.isTruncationMarker",
        "*.source.data",
        "*.thoughtSignature",
        "content.data",
        "messages.content.data",
    )

    def matches(self, row: Any) -> bool:
        return is_cline(row)

    def convert(self, row: SourceRow) -> list[Reading]:
        fields = object_or_empty(row.value)
        messages = row.value if isinstance(row.value, list) else fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRowError("no messages, expected a list of them, bare or under 'messages'")
        system = fields.get("system_prompt")
        digest = row.content_hash
        name = text_or_none(fields.get("sessionId")) or f"chat-{digest}"
        details: dict[str, Any] = {}
        models = (
            object_or_empty(object_or_empty(one).get("modelInfo")).get("id") for one in messages
        )
        if model := next((each for each in models if isinstance(each, str)), None):
            details["model"] = model
        parts = [part for part in _parts(messages) if part]
        readings: list[Reading] = []
        for number, (shown, num_prompt) in enumerate(parts):
            turns, start, remarks = _turns(shown, num_prompt)
            is_last = number == len(parts) - 1
            if not any(turn.message.role == "assistant" for turn in turns[start:]) and not (
                is_last and not readings
            ):
                continue
            if isinstance(system, str) and system:
                turns = [Turn(Message(role="system", content=system)), *turns]
                start, remarks = start + 1, [(place + 1, text) for place, text in remarks]
            start = max(start, num_leading_system(turns))
            reading = build_reading(
                turns,
                start,
                task=Task(id=name, environment="cline"),
                digest=digest if number == 0 else f"{digest}-{number}",
                outcome=Outcome(status="unknown", reason="a saved chat records no outcome"),
                source=row.source("cline", dict(details)),
                remarks=[
                    (_step_at(turns, start, place), text)
                    for place, text in remarks
                    if place >= start
                ],
            )
            readings.append(reading)
        return readings


def _parts(messages: Sequence[Any]) -> Iterator[tuple[list[tuple[int, Any]], int]]:
    """What the agent saw before each summary or mark, and after the last one.

    Each is a list of messages with their index, and the number of them in the prompt.
    """
    marks = [
        index
        for index, message in enumerate(messages)
        if any(
            object_or_empty(message).get(key) is True for key in ("isSummary", "isTruncationMarker")
        )
    ]
    hidden: set[Any] = set()
    before: list[tuple[int, Any]] = []
    for number, mark in enumerate([None, *marks]):
        end = marks[number] if number < len(marks) else len(messages)
        start = 0
        if mark is not None:
            fields = object_or_empty(messages[mark])
            hidden |= {fields[key] for _, key in HIDING_KEYS if isinstance(fields.get(key), str)}
            start = mark
        before = [
            (index, message)
            for index, message in enumerate(messages[:start])
            if not _is_hidden(message, hidden)
        ]
        own = [
            (index, message)
            for index, message in enumerate(messages[start:end], start)
            if not _is_hidden(message, hidden)
        ]
        yield [*before, *own], len(before) + (mark is not None)


def _is_hidden(message: Any, hidden: set[Any]) -> bool:
    fields = object_or_empty(message)
    parents = (fields.get(key) for key, _ in HIDING_KEYS)
    return any(isinstance(parent, str) and parent in hidden for parent in parents)


def _turns(
    shown: Sequence[tuple[int, Any]], num_prompt: int
) -> tuple[list[Turn], int, list[Remark]]:
    """The turns of messages, those in the prompt, and remarks by turn."""
    turns: list[Turn] = []
    remarks: list[Remark] = []
    start = 0
    # Reasoning that stands in an item of its own belongs to the answer after it.
    pending: list[str] = []
    for position, (index, message) in enumerate(shown):
        if position == num_prompt:
            start = len(turns)
        fields = object_or_empty(message)
        if fields.get("type") == "reasoning":
            pending += _reasoning_texts(fields)
            if not pending and fields.get("encrypted_content"):
                remarks.append((len(turns), ENCRYPTED))
            continue
        normal, left = _normal(message, pending)
        remarks += [(len(turns), text) for text in left]
        pending = []
        turns += read_message(normal, index)
    if pending:
        turns.append(Turn(Message(role="assistant", reasoning="".join(pending))))
    if num_prompt >= len(shown):
        start = len(turns)
    return turns, start, remarks


def _normal(message: Any, pending: Sequence[str]) -> tuple[Any, list[str]]:
    """A message as chats have it, and what was left out of it."""
    if not isinstance(message, dict):
        return message, []
    left: list[str] = []
    content = message.get("content")
    reasoning = [*pending]
    if isinstance(content, list):
        blocks: list[Any] = []
        for block in content:
            kind = object_or_empty(block).get("type")
            if isinstance(kind, str) and kind in LEFT_OUT:
                left += filter(None, [LEFT_OUT[kind]])
            elif kind == "reasoning" and message.get("role") == "assistant":
                found = _reasoning_texts(block)
                reasoning += found
                if not found and block.get("encrypted_content"):
                    left.append(ENCRYPTED)
            else:
                blocks.append(_as_text(block))
        content = blocks
    if message.get("role") == "assistant":
        reasoning += [
            text
            for text in [
                text_or_none(message.get("reasoning_content")),
                text_or_none(message.get("reasoning")),
            ]
            if text and text not in reasoning
        ] or _details_texts(message.get("reasoning_details"))
    normal = {"role": message.get("role"), "content": content}
    if reasoning:
        if isinstance(content, list):
            thoughts = [{"type": "thinking", "thinking": text} for text in reasoning]
            normal["content"] = [*thoughts, *content]
        else:
            normal["reasoning_content"] = "".join(reasoning)
    return normal, left


def _as_text(block: Any) -> Any:
    """A block as chats have it: files with their words, and results of any shape as JSON."""
    if isinstance(block, dict) and block.get("type") == "tool_result":
        content = block.get("content")
        parts = content if isinstance(content, list) else [content]
        if any(isinstance(part, dict) and "type" not in part for part in parts):
            return {**block, "content": json.dumps(content, ensure_ascii=False)}
    if isinstance(block, dict) and block.get("type") == "file" and "content" in block:
        text = block["content"]
        if not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False)
        path = text_or_none(block.get("path"))
        return {"type": "text", "text": f"{path}\n{text}" if path else text}
    return block


def _reasoning_texts(fields: Mapping[str, Any]) -> list[str]:
    """The words of an item of reasoning: its text, or its summary."""
    if text := text_or_none(fields.get("text")):
        return [text]
    return _details_texts(fields.get("summary"))


def _details_texts(value: Any) -> list[str]:
    given = value if isinstance(value, list) else []
    found = (
        text_or_none(object_or_empty(each).get("text"))
        or text_or_none(object_or_empty(each).get("summary"))
        for each in given
    )
    return [text for text in found if text]


def _step_at(turns: Sequence[Turn], start: int, place: int) -> int:
    roles = [turn.message.role for turn in turns]
    return min(roles[start:place].count("assistant"), roles[start:].count("assistant") - 1)


def is_cline(row: Any) -> bool:
    """Whether a row is a chat of Cline or Roo Code."""
    if isinstance(row, dict):
        return {"agent", "sessionId", "updated_at"} <= row.keys() and isinstance(
            row.get("messages"), list
        )
    return isinstance(row, list) and any(
        isinstance(one, dict) and {"role", "ts"} <= one.keys() for one in row[:2]
    )
