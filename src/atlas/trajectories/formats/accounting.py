"""What became of every leaf of a source: `rows, trajectories -> lines and problems`.

A leaf is a text, a number or a boolean. It is carried over if it stands in what the model saw or
wrote (messages, calls, schemas), or, outside content, in the other fields of the trajectory. It is
metadata if its path says so. Otherwise it is unread: counted by its path. An unread leaf where
content is expected makes the trajectories of the rows a problem. So a new or misspelled field is
reported by every format, also by one that does not know it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from atlas.records import Message, Problem, Trajectory
from atlas.trajectories.formats.conventions import is_number
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.metadata import (
    ARGUMENT_KEYS,
    CERTAIN_CONTENT_KEYS,
    CONTENT_KEYS,
    GENERIC_METADATA,
    NEUTRAL_KEYS,
    RESULT_KEYS,
    SPEAKERS,
)
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow, printable
from atlas.trajectories.trajectory_lines import line_of

# Characters that the search for texts within longer texts may read, for all rows of a settlement.
MAX_SCANNED = 4_000_000_000
# Further unread leaves of content say nothing new about a row.
MAX_CONTENT_LEAVES = 5
MAX_KEY = 60
_TAG = re.compile(r"<[^<>\n]{1,80}>")
_WORD = re.compile(r"\w+")


class Lost(NamedTuple):
    """An unread leaf where content is expected: its place, and the pattern of its path."""

    place: str
    path: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What a format says about paths. Lists do not count as a level of a path.

    Attributes:
        rooted: whole paths of metadata; everything below them is metadata too.
        anywhere: ends of such paths, by their last key.
        parsed: whole paths of texts that the format takes apart.
    """

    rooted: frozenset[str]
    anywhere: dict[str, tuple[str, ...]]
    parsed: frozenset[str] = frozenset()

    def ends_in_metadata(self, path: str, key: str) -> bool:
        ends = self.anywhere.get(key)
        return ends is not None and any(path == end or path.endswith(f".{end}") for end in ends)


@lru_cache(maxsize=256)
def rules_of(
    metadata: tuple[str, ...], ignored: tuple[str, ...] = (), parsed: tuple[str, ...] = ()
) -> Rules:
    """The rules of a format; a pattern is a path from the root of a row, or `*.` and its end."""
    patterns = (*metadata, *ignored)
    anywhere: dict[str, tuple[str, ...]] = {}
    for pattern in patterns:
        if pattern.startswith("*."):
            end = pattern.removeprefix("*.")
            key = end.rpartition(".")[2]
            anywhere[key] = (*anywhere.get(key, ()), end)
    rooted = frozenset(pattern for pattern in patterns if not pattern.startswith("*."))
    return Rules(rooted, anywhere, frozenset(parsed))


def settle(
    rows: Sequence[SourceRow],
    made: Iterable[Trajectory | Reading],
    metadata: tuple[str, ...],
    ignored: tuple[str, ...] = (),
    parsed: tuple[str, ...] = (),
) -> Iterator[Item]:
    """The lines of the trajectories that were made of `rows`, or one problem instead of them.

    The unread paths are named with the first trajectory.

    Args:
        metadata: paths that no model saw or wrote, from the root of a row.
        ignored: paths that the user leaves out.
        parsed: paths of texts that the format takes apart: their words have to be carried over.
    """
    readings = [one if isinstance(one, Reading) else Reading(one) for one in made]
    if not readings:
        return
    rules = rules_of(metadata, ignored, parsed)
    carried = Carried.of([reading.trajectory for reading in readings])
    unread: dict[str, None] = {}
    for row in rows:
        lost, others = unread_leaves(row.value, carried, rules)
        if lost:
            yield problem_of_lost(lost[0], row, readings[0].trajectory.task.id)
            return
        unread.update(dict.fromkeys(others))
    for index, (trajectory, remarks) in enumerate(readings):
        line = line_of(trajectory)
        yield line._replace(
            remarks=sorted([*line.remarks, *remarks], key=lambda remark: remark[0]),
            unread=() if index else tuple(unread),
        )


def problem_of_lost(lost: Lost, row: SourceRow, item: str | None) -> Problem:
    """The problem of a row of which content would be lost."""
    reason = (
        f"'{lost.path}' is not read, but may be a part of what the model saw or wrote. "
        f"If it is not, leave it out with ignore={lost.path}"
    )
    return Problem(where=f"{row.where}, {lost.place}", reason=reason, item=item)


class Carried:
    """The texts and numbers that came out of a source.

    Args:
        content: texts that a model sees or writes.
        values: numbers and booleans within calls and schemas.
        others: leaves of the other fields of the trajectory.
    """

    def __init__(self, content: set[str], values: set[Any], others: set[Any]) -> None:
        self._content = content
        self._values = values
        self._others = others
        self._whole: str | None = None
        self._words: set[str] | None = None
        self._place = 0
        self._num_scanned = 0

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> Carried:
        content: dict[str, None] = {}
        values: set[Any] = set()
        others: set[Any] = set()
        for trajectory in trajectories:
            for message in (*trajectory.messages, *trajectory.final_observation):
                for text in _texts_of(message):
                    content[text] = None
                for call in message.tool_calls:
                    _add_leaves(decode_nested(call.arguments), content, values)
            _add_leaves(list(trajectory.tools), content, values)
            task, outcome, source = trajectory.task, trajectory.outcome, trajectory.source
            plain = task.model_dump(), outcome.model_dump(), source.details
            texts: dict[str, None] = {}
            _add_leaves(list(plain), texts, others)
            others.update(texts)
            for step in trajectory.steps:
                others.add(step.reward)
                if step.action is not None:
                    content[step.action] = None
                if step.annotation is not None:
                    others.update((step.annotation.score, *step.annotation.kinds))
        return cls(set(content), values, others)

    def has_text(self, text: str, is_content: bool) -> bool:
        """Whether a text was carried over, for content also within a longer text."""
        if text in self._content or (not is_content and text in self._others):
            return True
        if not is_content:
            return False
        stripped = text.strip()
        if not stripped or stripped in self._content:
            return True
        return any(map(self._is_within, _spellings(stripped)))

    def has_value(self, value: Any, is_content: bool) -> bool:
        """Whether a number or boolean was carried over."""
        if value in self._values or (not is_content and value in self._others):
            return True
        return is_content and any(map(self._is_within, {json.dumps(value), str(value)}))

    def has_words(self, text: str) -> bool:
        """Whether all words of a text that was taken apart were carried over."""
        if self._words is None:
            self._words = set(_WORD.findall(self._joined())) | SPEAKERS
        return self._words.issuperset(_WORD.findall(_TAG.sub(" ", text)))

    def _is_within(self, text: str) -> bool:
        """Whether a text is a part of what was carried over.

        Sources and trajectories have the same order, so the search goes on from the last place.
        """
        whole = self._joined()
        place = whole.find(text, self._place)
        self._num_scanned += (len(whole) if place < 0 else place) - self._place
        if place < 0 and self._place:
            place = whole.find(text, 0, self._place + len(text))
            self._num_scanned += self._place if place < 0 else place
        if self._num_scanned > MAX_SCANNED:
            raise BadRowError("it takes too long to find out whether all of it was read")
        if place >= 0:
            self._place = place
        return place >= 0

    def _joined(self) -> str:
        if self._whole is None:
            self._whole = "\0".join(self._content)
        return self._whole


_NOTHING = Carried(set(), set(), set())


class _Place(NamedTuple):
    """A value within a row, and what is expected there: "root", "content", "values", "neutral"."""

    value: Any
    place: str
    path: str
    # The key next above.
    key: str
    expected: str


def unread_leaves(value: Any, carried: Carried, rules: Rules) -> tuple[list[Lost], list[str]]:
    """The leaves of a row that were neither carried over nor metadata.

    Returns:
        Those where content is expected, at most a few, and the paths of the others.
    """
    lost: list[Lost] = []
    others: dict[str, None] = {}
    # A bare list is a chat.
    stack = [_Place(value, "", "", "", "content" if isinstance(value, list) else "root")]
    while stack and len(lost) < MAX_CONTENT_LEAVES:
        at = stack.pop()
        if isinstance(at.value, dict):
            stack += reversed([*_fields(at, rules)])
        elif isinstance(at.value, list):
            stack += [
                at._replace(value=child, place=f"{at.place}[{index}]")
                for index, child in reversed([*enumerate(at.value)])
            ]
        elif at.value is not None and not _is_carried(at, carried, rules):
            nested = decode_nested(at.value) if str(at.value).startswith(("{", "[")) else None
            if isinstance(nested, dict | list):
                stack.append(at._replace(value=nested))
            elif _is_content(at):
                lost.append(Lost(at.place or "the row", at.path or "the row"))
            else:
                others[at.path or "the row"] = None
    return lost, list(others)


def _fields(at: _Place, rules: Rules) -> Iterator[_Place]:
    """The fields of an object that are not metadata."""
    for name, child in at.value.items():
        if child is None or child == "":
            continue
        key = _key(name)
        path = f"{at.path}.{key}" if at.path else key
        if path in rules.rooted:
            continue
        is_argument = at.expected == "values"
        if not is_argument and (name in GENERIC_METADATA or rules.ends_in_metadata(path, key)):
            continue
        place = f"{at.place}.{key}" if at.place else key
        yield _Place(child, place, path, key, _expected(name, child, at))


def unread_fields(
    fields: Mapping[str, Any], used: Collection[str], metadata: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The unread paths of a row whose fields in `used` are carried over, and its plain fields too.

    None if one of them may be content, which `settle` has to look at.
    """
    unread: list[str] = []
    for key, value in fields.items():
        if key in used:
            continue
        if isinstance(value, str | bool) or is_number(value):
            if key in CONTENT_KEYS and value != "":
                return None
            continue
        lost, others = unread_leaves({key: value}, _NOTHING, rules_of(metadata))
        if lost:
            return None
        unread += others
    return tuple(unread)


def _expected(name: Any, child: Any, at: _Place) -> str:
    """What is expected below a key of the object at a place."""
    if at.expected == "values" or (at.expected == "content" and name in ARGUMENT_KEYS):
        return "values"
    if at.expected == "content" and name == "input" and isinstance(child, dict):
        # Of a call, or else of a request.
        return "values" if "name" in at.value else "content"
    if name in (CONTENT_KEYS if at.expected == "root" else CERTAIN_CONTENT_KEYS):
        return "content"
    return "content" if at.expected == "content" and name not in NEUTRAL_KEYS else "neutral"


def _is_content(at: _Place) -> bool:
    if at.expected == "values":
        return True
    return at.expected == "content" and (isinstance(at.value, str) or at.key in RESULT_KEYS)


def _is_carried(at: _Place, carried: Carried, rules: Rules) -> bool:
    value, is_content = at.value, _is_content(at)
    if not isinstance(value, str):
        return carried.has_value(value, is_content)
    if at.path in rules.parsed:
        return carried.has_words(value)
    return not value.strip() or carried.has_text(value, is_content)


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
            values.add(value)


def _spellings(text: str) -> Collection[str]:
    """A text as it may stand within a longer one: as it is, or within a JSON text."""
    return dict.fromkeys(
        (text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1])
    ).keys()


def _key(name: Any) -> str:
    """A key as a part of a path: short, and without characters that a record cannot hold."""
    text = printable(str(name))
    return text if len(text) <= MAX_KEY else f"{text[:MAX_KEY]}…"
