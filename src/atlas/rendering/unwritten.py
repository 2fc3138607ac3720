"""Finds what messages hold and their chat template does not write, such as tool calls.

Spellings differ (arguments may be written as JSON, XML or Python), so no text is searched for.
Instead, a copy of the message with a marker in each of its parts is rendered in a short
conversation. A part whose markers are missing there is not written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import count, groupby
from typing import Any, Literal, get_args

from atlas.errors import ModelError
from atlas.records import Message, Role, ToolCall
from atlas.rendering.chat_messages import END_OF_THINKING, THINK
from atlas.rendering.openai_messages import decode_arguments, encode_arguments

# Parts of a response, then parts of what stands before it.
Part = Literal["text", "reasoning", "calls", "system", "user", "results", "schemas"]
WORDS: dict[Part, str] = {
    "text": "text",
    "reasoning": "thinking",
    "calls": "tool calls",
    "system": "system text",
    "user": "user text",
    "results": "tool results",
    "schemas": "tool schemas",
}
PART_OF_ROLE: dict[Role, Part] = {"system": "system", "user": "user", "tool": "results"}
Tools = Sequence[Mapping[str, Any]]
# Renders messages and tools; the last message is a response, or the model's turn is opened.
Render = Callable[[Sequence[Message], Tools], str]
ASKED = Message(role="user", content="Which?")
# Some templates refuse call ids that are not nine letters and digits.
CALL_ID = "call{:05}"
EXAMPLE_TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look around.",
        "parameters": {"type": "object", "properties": {}},
    },
}
_TAG = re.compile(f"({THINK}|{END_OF_THINKING})")
# In numbers, a marker is a number.
_MARKER = re.compile(r"zqmark\d+kx|8190\d{6}")
WORD_MARKER, NUMBER_MARKER = "zqmark{:04}kx", "8190{:06}"


def name_parts(parts: Iterable[Part]) -> str:
    """The parts in words, in a fixed order: "text and tool calls"."""
    held = set(parts)
    words = [WORDS[part] for part in get_args(Part) if part in held]
    return ", ".join(words[:-1]) + (" and " if words[:-1] else "") + "".join(words[-1:])


def says_nothing(text: str) -> bool:
    """Whether the text of a response, without its end of turn, is empty or an empty think block."""
    return not _TAG.sub("", text).strip()


class UnwrittenParts:
    """What one chat template leaves out.

    Each response is rendered once more, without its history, so that the cost is linear in the
    text. Other messages are rendered once for each sequence of roles.

    Args:
        write_response: renders messages and tools; returns the text of the last message.
        write_context: renders messages and tools, and opens the model's turn.
    """

    def __init__(self, write_response: Render, write_context: Render) -> None:
        self.write_response = write_response
        self.write_context = write_context
        self._of_runs: dict[tuple[Any, ...], frozenset[Part]] = {}
        self._schemas: tuple[Tools, bool] = ((), False)

    def of_response(
        self,
        message: Message,
        written: str,
        tools: Tools = (),
        history: Callable[[], Sequence[Message]] = list,
    ) -> tuple[Part, ...]:
        """The parts of a response that its text `written` lacks.

        Args:
            tools: the tool schemas of its conversation.
            history: makes the messages before it, in case the template refuses it without them.
        """
        kinds = {part for part, _ in _segments(message.content)}
        holds_text_only = not (message.reasoning or message.tool_calls or "reasoning" in kinds)
        if holds_text_only and _holds(written, message.content):
            # Nothing else in this text could be equal.
            return ()
        marks = _Marks()
        marked = marks.mark(message)
        try:
            there = self.write_response([ASKED, marked], [EXAMPLE_TOOL] if tools else [])
        except ModelError:
            try:
                there = self.write_response([*history(), marked], tools)
            except ModelError:
                # The template refuses the markers, for example unknown names of tools.
                return _not_found(message, written)
        found = set(_MARKER.findall(there))
        missing = {part for part, marker in marks.given if marker not in found}
        if not all(_is_in(key, written) for key in _keys(message)):
            missing.add("calls")
        return _in_order(missing)

    def of_context(
        self, owned: Sequence[tuple[Message, int]], written: str | None, tools: Tools = ()
    ) -> tuple[Part, ...]:
        """The parts that the text `written` of a conversation lacks, apart from its steps.

        Args:
            owned: each message, and the step of which it is the response, or -1.
            written: None if it is not known; only templates that refuse markers need it.
        """
        missing: set[Part] = set()
        before: Message | None = None
        there = None if written is None else cache(lambda: _squeeze(written))
        for is_response, group in groupby(owned, lambda pair: pair[0].role == "assistant"):
            run = list(group)
            if not is_response:
                missing |= self._of_run([message for message, _ in run], before, there)
                continue
            before = run[-1][0]
            for message, step in run:
                # A turn of the prompt, such as an example with a call.
                if step < 0:
                    missing.update(self.of_response(message, written or "", tools))
        if tools and self._loses_schemas(owned[0][0] if owned else ASKED, tools):
            missing.add("schemas")
        return _in_order(missing)

    def _of_run(
        self, run: Sequence[Message], before: Message | None, there: Callable[[], str] | None
    ) -> set[Part]:
        """What is lost of neighboring messages that follow the response `before`.

        Args:
            there: makes the text of the conversation, without white space.
        """
        num_calls = None if before is None else len(before.tool_calls)
        shape = (num_calls, *((message.role, bool(message.content.strip())) for message in run))
        if shape not in self._of_runs:
            try:
                self._of_runs[shape] = self._probe_run(run, num_calls)
            except ModelError:
                if there is None:
                    return set()
                # This depends on the texts, so it is not kept.
                lost = [message for message in run if _squeeze(message.content) not in there()]
                return {PART_OF_ROLE[message.role] for message in lost}
        return set(self._of_runs[shape])

    def _probe_run(self, run: Sequence[Message], num_calls: int | None) -> frozenset[Part]:
        markers = [WORD_MARKER.format(number) for number in range(len(run))]
        lead: list[Message] = []
        if num_calls is not None:
            calls = [
                ToolCall(id=CALL_ID.format(number), name="look") for number in range(num_calls)
            ]
            lead = [ASKED, Message(role="assistant", content="" if calls else "This.")]
            lead[1] = lead[1].model_copy(update={"tool_calls": tuple(calls)})
        ids = count()
        marked = []
        for message, marker in zip(run, markers, strict=True):
            update = {"content": marker if message.content.strip() else message.content}
            if message.role == "tool":
                update |= {"tool_call_id": CALL_ID.format(next(ids)), "name": "look"}
            marked.append(message.model_copy(update=update))
        there = self.write_context([*lead, *marked], [EXAMPLE_TOOL] if num_calls else [])
        return frozenset(
            PART_OF_ROLE[message.role]
            for message, marker in zip(run, markers, strict=True)
            if message.content.strip() and marker not in there
        )

    def _loses_schemas(self, first: Message, tools: Tools) -> bool:
        known, loses = self._schemas
        if list(known) == list(tools):
            return loses
        numbers = count()
        marked = [_mark_schema(tool, numbers) for tool in tools]
        markers = [WORD_MARKER.format(number) for number in range(next(numbers))]
        opening = [ASKED]
        if first.role == "system":
            opening = [Message(role="system", content="Answer."), ASKED]
        found = set(_MARKER.findall(self.write_context(opening, marked)))
        loses = not found.issuperset(markers)
        self._schemas = (tools, loses)
        return loses


def _in_order(parts: set[Part]) -> tuple[Part, ...]:
    return tuple(part for part in get_args(Part) if part in parts)


def _squeeze(text: str) -> str:
    """The text without white space: templates strip it and add some."""
    return "".join(text.split())


def _holds(written: str, content: str) -> bool:
    return content in written or _squeeze(content) in _squeeze(written)


def _segments(content: str) -> list[tuple[Part, str]]:
    """The content cut at think tags; what a closing tag follows is thinking."""
    pieces = _TAG.split(content)
    closed = [*pieces[1::2], ""]
    return [
        ("reasoning" if tag == END_OF_THINKING else "text", piece)
        for piece, tag in zip(pieces[::2], closed, strict=True)
        if piece.strip()
    ]


class _Marks:
    """Puts markers into the parts of a message, and knows which marker is in which part."""

    def __init__(self) -> None:
        self.given: list[tuple[Part, str]] = []

    def mark(self, message: Message) -> Message:
        """A copy of a response with markers in all of its parts."""
        pieces = _TAG.split(message.content)
        for place, tag in zip(range(0, len(pieces), 2), [*pieces[1::2], ""], strict=True):
            part: Part = "reasoning" if tag == END_OF_THINKING else "text"
            pieces[place] = self._mark_text(part, pieces[place])
        update: dict[str, Any] = {"content": "".join(pieces)}
        if message.reasoning:
            update["reasoning"] = self._mark_text("reasoning", message.reasoning)
        update["tool_calls"] = tuple(map(self._mark_call, message.tool_calls))
        return message.model_copy(update=update)

    def _new(self, part: Part, form: str = WORD_MARKER) -> str:
        self.given.append((part, form.format(len(self.given))))
        return self.given[-1][1]

    def _mark_text(self, part: Part, text: str) -> str:
        """Mark the middle and the end of each line."""
        lines = []
        for line in text.split("\n"):
            kept = line.rstrip()
            middle = len(kept) // 2
            if kept:
                kept = kept[:middle] + self._new(part) + kept[middle:] + self._new(part)
            lines.append(kept + line[len(line.rstrip()) :])
        return "\n".join(lines)

    def _mark_call(self, call: ToolCall) -> ToolCall:
        name = call.name + self._new("calls")
        arguments = self._mark_value(decode_arguments(call.arguments))
        return ToolCall(id=call.id, name=name, arguments=encode_arguments(arguments))

    def _mark_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return value + self._new("calls")
        if isinstance(value, Mapping):
            return {key: self._mark_value(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._mark_value(inner) for inner in value]
        if value is None or isinstance(value, bool):
            return value
        number = int(self._new("calls", NUMBER_MARKER))
        return number if isinstance(value, int) else number + 0.5


def _mark_schema(schema: Any, numbers: Iterator[int]) -> Any:
    """A copy of a tool schema with markers in all names of tools and of their parameters."""
    if isinstance(schema, list | tuple):
        return [_mark_schema(inner, numbers) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    marked: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "name" and isinstance(value, str):
            marked[key] = value + WORD_MARKER.format(next(numbers))
        elif key == "properties" and isinstance(value, Mapping):
            marked[key] = {
                name + WORD_MARKER.format(next(numbers)): _mark_schema(inner, numbers)
                for name, inner in value.items()
            }
        else:
            marked[key] = _mark_schema(value, numbers)
    return marked


def _keys(message: Message) -> Iterator[str]:
    """The keys in the arguments of all calls. They are not marked: a template may know some."""
    waiting = [decode_arguments(call.arguments) for call in message.tool_calls]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _not_found(message: Message, written: str) -> tuple[Part, ...]:
    """The parts that are not in the text as they are, up to white space."""
    there = _squeeze(written)
    held = [*_segments(message.content), ("reasoning", message.reasoning or "")]
    missing: set[Part] = {part for part, text in held if _squeeze(text) not in there}
    names = [call.name for call in message.tool_calls]
    if not all(_is_in(name, written) for name in [*names, *_keys(message)]):
        missing.add("calls")
    return _in_order(missing)


def _is_in(name: str, written: str) -> bool:
    return name in written or json.dumps(name)[1:-1] in written
