"""What came out of a source: `trajectories -> texts, numbers and calls`, to look leaves up."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from atlas.records import Message, Trajectory
from atlas.trajectories.formats.calls import decode_nested
from atlas.trajectories.formats.conventions import USERS_CALL
from atlas.trajectories.formats.joined_parts import joined_parts
from atlas.trajectories.formats.metadata import SPEAKERS
from atlas.trajectories.formats.rows import BadRowError

# Characters that the search for texts within longer texts may read, for all rows of a settlement.
MAX_SCANNED = 4_000_000_000
# A search begins around the last place. A place within a word costs as much as these characters.
NEARBY = 50_000
COST_OF_A_PLACE = 100
# Marks of a text format: tags, and the number of an observation.
_TAG = re.compile(r"<[^<>\n]{1,80}>|(?<=Observation)[^\S\n]*\d+(?=:)")
_WORD = re.compile(r"\w+")


class Carried:
    """The texts and numbers that came out of a source.

    Args:
        content: texts that a model sees or writes.
        values: numbers and booleans within calls and schemas.
        calls: the names of the calls.
    """

    def __init__(
        self, content: Collection[str], values: set[Any] | None = None, calls: Collection[str] = ()
    ) -> None:
        self._content = content
        self._values = values or set()
        self._calls = calls
        self._whole: str | None = None
        self._words: set[str] | None = None
        self._place = 0
        self._num_scanned = 0
        self._joined_parts: dict[int, tuple[Sequence[Any], set[int]]] = {}

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> Carried:
        # In the order of the trajectories, without a second one of each.
        content: dict[str, None] = {}
        values: set[Any] = set()
        calls: set[str] = set()
        for trajectory in trajectories:
            for message in (*trajectory.messages, *trajectory.final_observation):
                for text in _texts_of(message):
                    content[text] = None
                for call in message.tool_calls:
                    _add_leaves(decode_nested(call.arguments), content, values)
                    calls.add(call.name)
            for step in trajectory.steps:
                if step.action is not None:
                    content[step.action] = None
            _add_leaves(list(trajectory.tools), content, values)
        return cls(content, values, calls)

    def has_call(self, name: str) -> bool:
        """Whether a call was carried over, as a call or as a user's call in a text."""
        return name in self._calls or self._is_within(f"{USERS_CALL} {name} ")

    def has_text(self, text: str, is_content: bool) -> bool:
        """Whether a text was carried over, for content also within a longer text."""
        if text in self._content:
            return True
        if not is_content:
            return False
        stripped = text.strip()
        return stripped in self._content or any(map(self._is_within, _spellings(stripped)))

    def has_joined(self, parts: Sequence[Any], position: int) -> bool:
        """Whether a part of a list was carried over in one text with those beside it.

        Nothing stands between the texts, so one of them may end within a word.
        """
        known = self._joined_parts.get(id(parts))
        if known is None:
            places = {
                place
                for group, text in joined_parts(parts)
                if self.has_text(text, is_content=True)
                for place in group
            }
            # The list is kept, so that its id stays its own.
            known = self._joined_parts[id(parts)] = (parts, places)
        return position in known[1]

    def has_value(self, value: Any, is_content: bool) -> bool:
        """Whether a number or boolean was carried over."""
        # True equals 1, but is another value.
        if (type(value), value) in self._values:
            return True
        return is_content and any(map(self._is_within, {json.dumps(value), str(value)}))

    def has_words(self, text: str) -> bool:
        """Whether all words of a text that was taken apart were carried over."""
        if self._words is None:
            self._words = set(_WORD.findall(self._joined())) | SPEAKERS
        return self._words.issuperset(_WORD.findall(_TAG.sub(" ", text)))

    def _is_within(self, text: str) -> bool:
        """Whether a text is a part of what was carried over.

        Sources and trajectories have nearly the same order: the search begins at the last place.
        """
        length, last = len(text), self._place
        end = len(self._joined())
        near, before = min(end, last + NEARBY + length), max(0, last - NEARBY)
        stretches = (
            (last, near),
            (before, last + length),
            (near - length, end),
            (0, before + length),
        )
        for first, after in stretches:
            place = self._find(text, max(0, first), after)
            if place >= 0:
                self._place = place
                return True
        return False

    def _find(self, text: str, start: int, end: int) -> int:
        """The place of a text in what was carried over, or -1. It begins and ends with words."""
        whole = self._joined()
        begins, ends = text[:1].isalnum(), text[-1:].isalnum()
        while (place := whole.find(text, start, end)) >= 0:
            self._scan(place - start + COST_OF_A_PLACE)
            after = place + len(text)
            if not (begins and whole[place - 1 : place].isalnum()) and not (
                ends and whole[after : after + 1].isalnum()
            ):
                return place
            start = place + 1
        self._scan(end - start)
        return -1

    def _scan(self, number: int) -> None:
        self._num_scanned += number
        if self._num_scanned > MAX_SCANNED:
            raise BadRowError("it takes too long to find out whether all of it was read")

    def _joined(self) -> str:
        if self._whole is None:
            self._whole = "\0".join(self._content)
        return self._whole


def _texts_of(message: Message) -> Iterator[str]:
    if message.reasoning:
        yield message.reasoning
    if message.content:
        yield message.content
    for call in message.tool_calls:
        yield call.name
        yield call.arguments
        if call.id:
            yield call.id
    if message.tool_call_id:
        yield message.tool_call_id
    if message.name:
        yield message.name


def _add_leaves(value: Any, texts: dict[str, None], values: set[Any]) -> None:
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
        elif isinstance(value, str):
            texts[value] = None
        elif value is not None:
            values.add((type(value), value))


def _spellings(text: str) -> Collection[str]:
    """A text as it may stand within a longer one: as it is, or within a JSON text."""
    return dict.fromkeys(
        (text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1])
    ).keys()
