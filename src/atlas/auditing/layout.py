"""Finds out which message each character of a rendered conversation belongs to.

The conversation is rendered once more with a mark before and after each text of its messages. The
marks are characters that no text holds, and stand inside of outer white space, so that a template
that trims texts trims the same. If the text without marks is the text of the template, then the
marks say exactly where each text stands. A text whose marks are missing is not written.

Otherwise the template looks at the texts, and each message is found by the difference that another
text in its place makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.auditing.rows import REASONING_KEYS, plain_role
from atlas.auditing.supervision import (
    ASSISTANT,
    CALLS,
    END,
    HEADER,
    NO_MESSAGE,
    REASONING,
    ROLES,
    SYSTEM,
    TEMPLATE,
    WORDS,
    Unwritten,
    code_of,
)
from atlas.rendering.text_prefix import num_common

Chat = Sequence[Mapping[str, Any]]
_FIRST = 0xF0000
_MARKS = re.compile("[\U000f0000-\U000fffff]")
_TAG = re.compile("(<think>|</think>)")
_STAND_IN = "\ue000\ue001"
# Fields of a part of thinking that hold no words.
_NAMES = frozenset({"type", "id", "format", "signature", "index"})
_THINKING_END = re.compile(r"</think>\s*")


@dataclass(frozen=True, slots=True)
class Ends:
    """How a template separates turns.

    Attributes:
        texts: what closes a turn, such as `<|im_end|>`.
        header: the generation prompt, which stands before a response.
    """

    texts: tuple[str, ...]
    header: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The owner of each character: segment i begins at `starts[i]`; the first begins at 0."""

    starts: NDArray[np.int64]
    messages: NDArray[np.int32]
    codes: NDArray[np.uint8]
    unwritten: tuple[Unwritten, ...] = ()

    def of_tokens(self, first: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """What each token is, and its message, given the first character of each."""
        place = np.searchsorted(self.starts, first, side="right") - 1
        return self.codes[place], self.messages[place]

    def shifted(self, message: int) -> Layout:
        """The layout of a text of one message, as that of the message with this index."""
        moved = np.where(self.messages == NO_MESSAGE, NO_MESSAGE, message).astype(np.int32)
        lost = tuple(Unwritten(message, one.part) for one in self.unwritten)
        return Layout(self.starts, moved, self.codes, lost)


def role_number(role: str) -> int:
    """The number of a role, whatever the dialect calls it."""
    plain = plain_role(role)
    return ROLES.index(plain) if plain in ROLES else 0


def lay_out(render: Callable[[Chat], str], chat: Chat, text: str, ends: Ends) -> Layout:
    """The owner of each character of `text`, which is the chat as `render` writes it."""
    marks = _Marks()
    marked = [marks.mark(index, message) for index, message in enumerate(chat)]
    spans = None
    if not _MARKS.search(text):
        try:
            spans = marks.find(render(marked), text)
        except Exception:
            # A template may refuse what is marked, for example names of tools that it knows.
            spans = None
    if spans is None:
        spans = list(_by_difference(render, chat, text))
        found = {(span.message, span.part) for span in spans}
        lost = _not_found(chat, text, {message for message, _ in found})
    else:
        found = {(span.message, span.part) for span in spans}
        lost = [one for one in marks.given if one not in found]
    return _segments(text, sorted(spans), chat, ends, dict.fromkeys(lost))


@dataclass(frozen=True, slots=True, order=True)
class _Span:
    start: int
    end: int
    message: int
    part: int


class _Marks:
    """Puts marks around texts, and finds them again."""

    def __init__(self) -> None:
        self.given: list[tuple[int, int]] = []
        self._message = 0

    def mark(self, index: int, message: Mapping[str, Any]) -> dict[str, Any]:
        self._message = index
        made = dict(message)
        is_response = plain_role(message["role"]) == "assistant"
        for key in REASONING_KEYS:
            if made.get(key):
                made[key] = self._value(made[key], REASONING)
        content = made.get("content")
        if isinstance(content, str):
            made["content"] = (
                self._content(content) if is_response else self._around(content, WORDS)
            )
        calls = made.get("tool_calls")
        if isinstance(calls, list):
            made["tool_calls"] = [self._call(call) for call in calls]
        if made.get("function_call"):
            made["function_call"] = self._call(made["function_call"])
        return made

    def _content(self, text: str) -> str:
        pieces = _TAG.split(text)
        closed = [*pieces[1::2], ""]
        for place, tag in zip(range(0, len(pieces), 2), closed, strict=True):
            part = REASONING if tag == "</think>" else WORDS
            pieces[place] = self._around(pieces[place], part)
        return "".join(pieces)

    def _call(self, call: Any) -> Any:
        if not isinstance(call, dict):
            return call
        inner = call.get("function", call)
        if not isinstance(inner, dict):
            return call
        made = dict(inner)
        if isinstance(made.get("name"), str):
            made["name"] = self._around(made["name"], CALLS)
        if "arguments" in made:
            made["arguments"] = self._value(made["arguments"], CALLS)
        return {**call, "function": made} if "function" in call else made

    def _value(self, value: Any, part: int) -> Any:
        if isinstance(value, str):
            return self._around(value, part)
        if isinstance(value, dict):
            left = _NAMES if part == REASONING else ()
            return {
                key: inner if key in left else self._value(inner, part)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._value(inner, part) for inner in value]
        return value

    def _around(self, text: str, part: int) -> str:
        kept = text.strip()
        number = _FIRST + 2 * len(self.given)
        if not kept or number > 0xFFFFD:
            return text
        start = text.index(kept)
        self.given.append((self._message, part))
        marked = f"{chr(number)}{kept}{chr(number + 1)}"
        return f"{text[:start]}{marked}{text[start + len(kept) :]}"

    def find(self, marked: str, text: str) -> list[_Span] | None:
        """The spans in `text`; None if the template writes another text with marks."""
        if _MARKS.sub("", marked) != text:
            return None
        spans, opened = [], {}
        for number, match in enumerate(_MARKS.finditer(marked)):
            which, place = ord(match[0]) - _FIRST, match.start() - number
            if which % 2 == 0:
                opened[which] = place
            elif which - 1 in opened:
                message, part = self.given[which // 2]
                spans.append(_Span(opened.pop(which - 1), place, message, part))
        return spans


def _by_difference(render: Callable[[Chat], str], chat: Chat, text: str) -> Iterator[_Span]:
    """Each message where a text in its place makes a difference."""
    for index, message in enumerate(chat):
        other = [*chat[:index], {"role": message["role"], "content": _STAND_IN}, *chat[index + 1 :]]
        try:
            there = render(other)
        except Exception:
            # The template may want a call here.
            continue
        start = num_common(text, there)
        end = len(text) - num_common(text[start:][::-1], there[start:][::-1])
        if end > start and text[start:end].strip():
            yield _Span(start, end, index, WORDS)


def _not_found(chat: Chat, text: str, found: set[int]) -> list[tuple[int, int]]:
    """The parts of messages that are not in the text as they are."""
    lost = []
    for index, message in enumerate(chat):
        content = message.get("content")
        if isinstance(content, str) and content.strip() and index not in found:
            lost.append((index, WORDS))
        thoughts = [thought for key in REASONING_KEYS for thought in _texts(message.get(key))]
        if thoughts and not any(thought in text for thought in thoughts):
            lost.append((index, REASONING))
        calls = message.get("tool_calls")
        calls = calls if isinstance(calls, list) else []
        for call in (*calls, message.get("function_call")):
            inner = call.get("function", call) if isinstance(call, dict) else {}
            name = inner.get("name") if isinstance(inner, dict) else None
            if isinstance(name, str) and json.dumps(name)[1:-1] not in text:
                lost.append((index, CALLS))
    return lost


def _texts(value: Any) -> Iterator[str]:
    """The texts of a field of thinking."""
    if isinstance(value, str) and value.strip():
        yield value.strip()
    if isinstance(value, dict):
        value = [inner for key, inner in value.items() if key not in _NAMES]
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _segments(
    text: str, spans: Sequence[_Span], chat: Chat, ends: Ends, lost: Mapping[tuple[int, int], None]
) -> Layout:
    made: list[tuple[int, int, int]] = []
    roles = [role_number(message["role"]) for message in chat]

    def add(start: int, end: int, message: int, part: int) -> None:
        if end > start:
            role = roles[message] if message != NO_MESSAGE else 0
            made.append((start, message, code_of(role, part)))

    place, before = 0, None
    for span in spans:
        if span.start < place:
            # A text that stands within another one.
            continue
        if before is not None and before.message == span.message:
            _add_inner(add, text, place, span, before.part)
        else:
            if before is not None:
                place = _add_tail(add, text, place, span.start, before, roles, ends)
            elif stop := _own_turns(text, span.start, ends):
                # Tool schemas, or a system prompt of the template's own.
                made.append((0, NO_MESSAGE, code_of(SYSTEM, WORDS)))
                place = stop
            _add_header(add, text, place, span, roles, ends)
        add(span.start, span.end, span.message, span.part)
        place, before = span.end, span
    if before is not None:
        place = _add_tail(add, text, place, len(text), before, roles, ends)
    add(place, len(text), NO_MESSAGE, TEMPLATE)
    if not made or made[0][0] > 0:
        made.insert(0, (0, NO_MESSAGE, TEMPLATE))
    starts, messages, codes = zip(*made, strict=True)
    return Layout(
        np.asarray(starts, dtype=np.int64),
        np.asarray(messages, dtype=np.int32),
        np.asarray(codes, dtype=np.uint8),
        tuple(Unwritten(message, part) for message, part in lost),
    )


Add = Callable[[int, int, int, int], None]


def _add_inner(add: Add, text: str, place: int, span: _Span, part_before: int) -> None:
    """What the template writes between two texts of one message."""
    closing = _THINKING_END.search(text, place, span.start)
    if part_before == REASONING and closing:
        add(place, closing.end(), span.message, REASONING)
        place = closing.end()
    add(place, span.start, span.message, span.part)


def _add_tail(
    add: Add, text: str, place: int, stop: int, before: _Span, roles: Sequence[int], ends: Ends
) -> int:
    """What closes a turn; returns where it ends."""
    found = [(at, end) for end in ends.texts if (at := text.find(end, place, stop)) >= 0]
    if not found:
        return place
    at, end = min(found)
    is_response = roles[before.message] == ASSISTANT
    add(place, at, before.message, before.part if is_response else TEMPLATE)
    add(at, at + len(end), before.message, END)
    place = at + len(end)
    # ChatML writes a newline after the end of a turn.
    after = place + len(text[place:stop]) - len(text[place:stop].lstrip())
    add(place, after, before.message, TEMPLATE)
    return after


def _own_turns(text: str, stop: int, ends: Ends) -> int:
    """Where the turns end that the template writes before the first message; 0: there are none."""
    at, size = max((text.rfind(end, 0, stop), len(end)) for end in ends.texts or ("",))
    if at <= 0 or not size:
        return 0
    place = at + size
    return place + len(text[place:stop]) - len(text[place:stop].lstrip())


def _add_header(
    add: Add, text: str, place: int, span: _Span, roles: Sequence[int], ends: Ends
) -> None:
    """What stands between turns, and the header of the next one."""
    if roles[span.message] == ASSISTANT and ends.header:
        at = text.rfind(ends.header, place, span.start)
        header = ends.header
        if at < 0:
            # A history is written without the thinking that a generation prompt opens.
            header = re.sub(r"<think>\s*(</think>\s*)?\Z", "", header)
            at = text.rfind(header, place, span.start) if header else -1
        if at >= 0:
            opened = at + len(header)
            add(place, opened, span.message, HEADER)
            inner = text[opened : span.start]
            closing = _THINKING_END.search(inner)
            if closing and span.part != REASONING:
                # An empty block of thinking.
                add(opened, opened + closing.end(), span.message, REASONING)
                opened += closing.end()
            add(opened, span.start, span.message, span.part)
            return
    add(place, span.start, span.message, HEADER)
