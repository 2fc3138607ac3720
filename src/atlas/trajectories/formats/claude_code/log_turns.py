"""The lines of a conversation -> turns: `blocks -> messages`, one turn for each generation.

Several assistant lines with one message id are one turn. A tool that ran at the service is a call;
its result stands in the next observation, and what was said after it is a turn of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from atlas.records import Message
from atlas.trajectories.formats.claude_code.attachments import (
    EMPTY_REMINDERS,
    WITHOUT_WORDS,
    content_of_attachment,
)
from atlas.trajectories.formats.claude_code.log_lines import ATTACHMENT, Line
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.messages import Turn, read_message, read_tool_call
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.react_turns import Remark

# What a result says after a compaction of results only.
CLEARED = "[Old tool result content cleared]"
SPOKEN = ("text", "thinking", "tool_use")
LEFT_OUT = {
    "redacted_thinking": "redacted reasoning is left out",
    "fallback": "another model wrote the rest of the answer",
    "image": "an image in an answer is left out",
    "document": "a document in an answer is left out",
}
REASONS_OF_A_CUT = {
    "max_tokens": "the answer was cut at the limit of tokens",
    "model_context_window_exceeded": "the answer was cut at the end of the context window",
}


class Turns(NamedTuple):
    """The turns of a conversation.

    Attributes:
        num_prompt: of the turns, those that are the prompt.
        remarks: with the index of their turn.
        clearings: before which turn the results of which calls were cleared from the context.
    """

    turns: list[Turn]
    num_prompt: int
    remarks: list[Remark]
    clearings: list[tuple[int, set[str]]]


def turns_of(lines: Sequence[Line], num_context: int) -> Turns:
    """The turns of lines, the first `num_context` of which are the prompt.

    Raises:
        BadRowError: a line is not a message; its `message` is the index of the line.
    """
    made = Turns([], 0, [], [])
    turns = made.turns
    place_of_turn: dict[str, int] = {}
    num_prompt = 0
    for index, line in enumerate(lines):
        if index == num_context:
            num_prompt = len(turns)
        if line.is_microcompaction:
            made.clearings.append((len(turns), _cleared_calls(line)))
        elif line.kind == "assistant":
            _add_answer(line, index, made, place_of_turn)
        else:
            _add_seen(_seen(line, index), made, num_prompt)
            made.remarks.extend((len(turns), remark) for remark in _without_words(line))
    return made._replace(num_prompt=len(turns) if num_context >= len(lines) else num_prompt)


def _add_answer(line: Line, index: int, made: Turns, place_of_turn: dict[str, int]) -> None:
    """Add what an assistant line says to its turn, which `place_of_turn` knows by its id."""
    turns, turn_id = made.turns, line.turn_id
    for found in _said(line, index):
        if isinstance(found, str):
            made.remarks.append((place_of_turn.get(turn_id or "", len(turns)), found))
            continue
        if found.message.role == "tool":
            # What is said after it is a turn of its own.
            place_of_turn.pop(turn_id or "", None)
        elif turn_id is not None:
            place = place_of_turn.setdefault(turn_id, len(turns))
            if place < len(turns):
                turns[place] = Turn(_joined(turns[place].message, found.message))
                continue
        turns.append(found)


def _add_seen(seen: Iterator[Turn], made: Turns, num_prompt: int) -> None:
    """Add what the agent saw; the result of a call stands before what was said while it ran."""
    turns = made.turns
    # What was cleared, or is the prompt, stays apart from what follows it.
    first = max([num_prompt, *(start for start, _ in made.clearings)])
    for turn in seen:
        place = len(turns)
        if turn.message.role == "tool":
            while place > first and turns[place - 1].message.role == "user":
                place -= 1
            asked = next(
                (each.message for each in reversed(turns[:place]) if each.message.tool_calls), None
            )
            known = {call.id for call in asked.tool_calls} if asked is not None else set()
            if place == first or turn.message.tool_call_id not in known:
                place = len(turns)
        turns.insert(place, turn)


def with_cleared(turns: Sequence[Turn], call_ids: set[str]) -> list[Turn]:
    """Turns as the agent saw them after the results of some calls were cleared."""
    return [
        Turn(turn.message.model_copy(update={"content": CLEARED}))
        if turn.message.role == "tool" and turn.message.tool_call_id in call_ids
        else turn
        for turn in turns
    ]


def _cleared_calls(line: Line) -> set[str]:
    metadata = object_or_empty(line.fields.get("microcompactMetadata"))
    given = metadata.get("compactedToolIds")
    return {id_ for id_ in given if isinstance(id_, str)} if isinstance(given, list) else set()


def _seen(line: Line, index: int) -> Iterator[Turn]:
    """The turns of a line of the user, of the results of tools, or of the harness."""
    if line.kind == "user":
        content = line.message.get("content")
        if isinstance(content, list):
            content = [_readable(block) for block in content]
    elif line.kind == ATTACHMENT:
        content = content_of_attachment(line.fields)
    else:
        content = line.fields.get("content")
    if content == "" and line.kind != "user":
        return
    yield from read_message({"role": "user", "content": content}, index)


def _said(line: Line, index: int) -> Iterator[Turn | str]:
    """The turns of an assistant line, results of the service's tools, and remarks."""
    content = line.message.get("content")
    if not isinstance(content, list) or not content:
        yield from read_message({"role": "assistant", "content": content}, index)
        return
    blocks: list[Any] = []

    def spoken() -> Iterator[Turn]:
        if blocks:
            yield from read_message({"role": "assistant", "content": [*blocks]}, index)
            blocks.clear()

    for block in content:
        kind = str(object_or_empty(block).get("type"))
        if kind in LEFT_OUT:
            yield LEFT_OUT[kind]
        elif kind in SPOKEN:
            blocks.append(block)
        elif kind.endswith("_tool_use"):
            yield from spoken()
            call = read_tool_call(block, index)
            yield Turn(Message(role="assistant", tool_calls=(call,)))
        elif kind.endswith("_tool_result"):
            yield from spoken()
            yield _result_of_service(block, index)
        else:
            raise BadRowError(
                f"an answer has a block of type {kind!r:.60}, "
                "expected text, thinking, tool_use or a tool of the service",
                index,
            )
    yield from spoken()
    yield from _cut(line)


def _cut(line: Line) -> Iterator[str]:
    """The reason why an answer ends early."""
    reason = REASONS_OF_A_CUT.get(str(line.message.get("stop_reason")))
    if reason is not None:
        yield reason
    if line.says("isAbortedMidStream"):
        yield "the answer was cut: it was stopped by the user"


def _without_words(line: Line) -> Iterator[str]:
    kind = line.attachment.get("type") if line.kind == ATTACHMENT else None
    if kind in (*WITHOUT_WORDS, *EMPTY_REMINDERS) and not content_of_attachment(line.fields):
        yield f"the agent saw a reminder of type {kind}, of which the log holds no words"


def _result_of_service(block: Mapping[str, Any], index: int) -> Turn:
    content = block.get("content")
    if not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False)
    message = {"role": "tool", "content": content, "tool_call_id": block.get("tool_use_id")}
    return next(read_message(message, index))


def _readable(block: Any) -> Any:
    """A block of the user; in results, parts of other kinds that have words are given as JSON."""
    if not isinstance(block, dict):
        return block
    content = block.get("content")
    if block.get("type") == "tool_result" and isinstance(content, list):
        return {**block, "content": [_as_text(part) for part in content]}
    return _as_text(block)


def _as_text(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    source = object_or_empty(part.get("source"))
    if part.get("type") == "document" and source.get("type") == "text":
        return {"type": "text", "text": source.get("data")}
    if part.get("type") in ("tool_reference", "search_result", "resource", "resource_link"):
        return {"type": "text", "text": json.dumps(part, ensure_ascii=False)}
    return part


def _joined(first: Message, second: Message) -> Message:
    """One turn that was logged block by block; a call that was logged twice counts once."""
    known = {call.id for call in first.tool_calls if call.id is not None}
    calls = (call for call in second.tool_calls if call.id not in known)
    return first.model_copy(
        update={
            "content": first.content + second.content,
            "reasoning": (first.reasoning or "") + (second.reasoning or "") or None,
            "tool_calls": (*first.tool_calls, *calls),
        }
    )
