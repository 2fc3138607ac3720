"""Finds what messages hold and their chat template does not write, such as tool calls.

Spellings differ (arguments may be written as JSON, XML or Python), so no text is searched for.
Instead, a copy of the message with a marker in each of its parts is rendered in a short
conversation. A part whose markers are missing there is not written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, groupby
from typing import Any, Literal, get_args

from atlas.errors import ModelError
from atlas.records import Message, Role, ToolCall
from atlas.rendering.call_arguments import argument_keys, argument_values, change_truth
from atlas.rendering.chat_messages import END_OF_THINKING, THINK
from atlas.rendering.markers import (
    MARKER,
    NUMBER_MARKER,
    WORD_MARKER,
    PlaceInText,
    agrees,
    mark_schema,
    squeeze,
)
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
# The text of a message whose own does not matter.
_STAND_IN = "x"
_TAG = re.compile(f"({THINK}|{END_OF_THINKING})")


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

    Each response is rendered once more in a short conversation, so that the cost is linear in the
    text; and once after the turn before it, if its text is not that of the short conversation.
    Other messages are rendered once for each sequence of roles, and again if the text of the
    conversation lacks them as they are.

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
        is_exact: bool = True,
    ) -> tuple[Part, ...]:
        """The parts of a response that its text `written` lacks.

        Args:
            tools: the tool schemas of its conversation.
            history: makes the messages before it, in case the template refuses it without them, or
                writes it in another way.
            is_exact: whether `written` is its text only, not that of a conversation with it.
        """
        kinds = {part for part, _ in _segments(message.content)}
        holds_text_only = not (message.reasoning or message.tool_calls or "reasoning" in kinds)
        if holds_text_only and _holds(written, message.content):
            # Nothing else in this text could be equal.
            return ()
        marks = _Marks(message)
        marked = marks.mark(message)
        example: Tools = [EXAMPLE_TOOL] if tools else []
        before: tuple[Sequence[Message], Tools] = ([ASKED], example)
        there = self._try_response(marked, *before)
        is_same = there is not None and agrees(there, written, is_exact)
        if not is_same and (earlier := history()):
            # The template refuses it there, or what it writes depends on what comes before.
            before = (earlier, tools)
            there = self._try_response(marked, *before) or there
            is_same = there is not None and agrees(there, written, is_exact)
        if there is None:
            # The template refuses the markers, for example unknown names of tools.
            return _not_found(message, written)
        found = set(MARKER.findall(there))
        missing = {part for part, marker in marks.given if marker not in found}
        if not all(_is_in(key, written) for key in argument_keys(message)):
            missing.add("calls")
        if not is_same:
            missing.update(_not_found(message, written))
        # Truth values cannot be marked, but they can be changed.
        changed = change_truth(marked)
        if changed != marked and self._try_response(changed, *before) == there:
            missing.add("calls")
        return _in_order(missing)

    def _try_response(
        self, message: Message, before: Sequence[Message], tools: Tools
    ) -> str | None:
        try:
            return self.write_response([*before, message], tools)
        except ModelError:
            return None

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
        there = None if written is None else PlaceInText(written)
        for is_response, group in groupby(owned, lambda pair: pair[0].role == "assistant"):
            run = list(group)
            if not is_response:
                missing |= self._of_run([message for message, _ in run], before, there)
                continue
            before = run[-1][0]
            for message, step in run:
                # A turn of the prompt, such as an example with a call.
                if step < 0:
                    missing.update(self.of_response(message, written or "", tools, is_exact=False))
        if tools and self._loses_schemas(owned[0][0] if owned else ASKED, tools):
            missing.add("schemas")
        return _in_order(missing)

    def _of_run(
        self, run: Sequence[Message], before: Message | None, there: PlaceInText | None
    ) -> set[Part]:
        """What is lost of neighboring messages that follow the response `before`.

        Args:
            there: the place in the text of the conversation.
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
                lost = [message for message in run if not there.holds(message.content)]
                return {PART_OF_ROLE[message.role] for message in lost}
        contents = [message.content for message in run]
        if there is None or there.passes(contents):
            return set(self._of_runs[shape])
        # It is written in other letters, or a piece of it is not.
        try:
            return set(self._of_runs[shape] | self._probe_run(run, num_calls, in_lines=True))
        except ModelError:
            return set(self._of_runs[shape])

    def _probe_run(
        self, run: Sequence[Message], num_calls: int | None, in_lines: bool = False
    ) -> frozenset[Part]:
        """What a template does not write of these messages in a short conversation.

        Args:
            in_lines: whether each line gets markers; otherwise one stands for the whole text.
        """
        lead: list[Message] = []
        if num_calls is not None:
            calls = [
                ToolCall(id=CALL_ID.format(number), name="look") for number in range(num_calls)
            ]
            lead = [ASKED, Message(role="assistant", content="" if calls else "This.")]
            lead[1] = lead[1].model_copy(update={"tool_calls": tuple(calls)})
        ids, marks = count(), _Marks(*run)
        marked = []
        for message in run:
            part = PART_OF_ROLE[message.role]
            text = message.content
            if text.strip():
                text = marks.mark_text(part, text if in_lines else _STAND_IN)
            update = {"content": text}
            if message.role == "tool":
                update |= {"tool_call_id": CALL_ID.format(next(ids)), "name": "look"}
            marked.append(message.model_copy(update=update))
        there = self.write_context([*lead, *marked], [EXAMPLE_TOOL] if num_calls else [])
        found = set(MARKER.findall(there))
        return frozenset(part for part, marker in marks.given if marker not in found)

    def _loses_schemas(self, first: Message, tools: Tools) -> bool:
        known, loses = self._schemas
        if list(known) == list(tools):
            return loses
        numbers = count()
        marked = [mark_schema(tool, numbers) for tool in tools]
        markers = [WORD_MARKER.format(number) for number in range(next(numbers))]
        opening = [ASKED]
        if first.role == "system":
            opening = [Message(role="system", content="Answer."), ASKED]
        found = set(MARKER.findall(self.write_context(opening, marked)))
        loses = not found.issuperset(markers)
        self._schemas = (tools, loses)
        return loses


def _in_order(parts: set[Part]) -> tuple[Part, ...]:
    return tuple(part for part in get_args(Part) if part in parts)


def _holds(written: str, content: str) -> bool:
    return content in written or squeeze(content) in squeeze(written)


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

    def __init__(self, *messages: Message) -> None:
        self.given: list[tuple[Part, str]] = []
        self._number = count()
        # A text may spell a marker.
        spelled = (one.model_dump_json() for one in messages)
        self._taken = {found for text in spelled for found in MARKER.findall(text)}

    def mark(self, message: Message) -> Message:
        """A copy of a response with markers in all of its parts."""
        pieces = _TAG.split(message.content)
        for place, tag in zip(range(0, len(pieces), 2), [*pieces[1::2], ""], strict=True):
            part: Part = "reasoning" if tag == END_OF_THINKING else "text"
            pieces[place] = self.mark_text(part, pieces[place])
        update: dict[str, Any] = {"content": "".join(pieces)}
        if message.reasoning:
            update["reasoning"] = self.mark_text("reasoning", message.reasoning)
        update["tool_calls"] = tuple(map(self._mark_call, message.tool_calls))
        return message.model_copy(update=update)

    def _new(self, part: Part, form: str = WORD_MARKER) -> str:
        marker = next(
            marker for number in self._number if (marker := form.format(number)) not in self._taken
        )
        self.given.append((part, marker))
        return marker

    def mark_text(self, part: Part, text: str) -> str:
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


def _not_found(message: Message, written: str) -> tuple[Part, ...]:
    """The parts that are not in the text as they are, up to white space."""
    there = squeeze(written)
    held = [*_segments(message.content), ("reasoning", message.reasoning or "")]
    missing: set[Part] = {part for part, text in held if squeeze(text) not in there}
    names = [call.name for call in message.tool_calls]
    words = [*names, *argument_keys(message), *argument_values(message)]
    if not all(squeeze(word) in there or _is_in(word, written) for word in words):
        missing.add("calls")
    return _in_order(missing)


def _is_in(name: str, written: str) -> bool:
    return name in written or json.dumps(name)[1:-1] in written
