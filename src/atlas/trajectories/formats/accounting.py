"""What became of every leaf of a source: `rows, trajectories -> lines and problems`.

A leaf is a text, a number or a boolean. It is carried over if it stands in what the model saw or
wrote (messages, calls, schemas). It is metadata if its path says so, as are fields that name the
task or the outcome. Otherwise it is unread: counted by its path, and so is what looks like
content within metadata. An unread leaf where content is expected makes the trajectories of the rows
a problem. So a new or misspelled field is reported by every format, also by one that does not know
it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.calls import decode_nested, decode_sequence
from atlas.trajectories.formats.carried import Carried
from atlas.trajectories.formats.conventions import DECIDED, DECIDING_PATHS
from atlas.trajectories.formats.metadata import (
    ARGUMENT_KEYS,
    CALL_KEYS,
    CERTAIN_CONTENT_KEYS,
    GENERIC_METADATA,
    NEUTRAL_KEYS,
    OPAQUE_KEYS,
    RESULT_KEYS,
    is_prose,
    means_content,
)
from atlas.trajectories.formats.part_kinds import left_out_of, text_of_part
from atlas.trajectories.formats.rows import Item, Reading, SourceRow, printable
from atlas.trajectories.formats.thinking_tags import split_thinking
from atlas.trajectories.trajectory_lines import TrajectoryLine, line_of

# Further unread leaves of content say nothing new about a row.
MAX_CONTENT_LEAVES = 5
MAX_KEY = 60


class Lost(NamedTuple):
    """An unread leaf where content is expected: its place, and the pattern of its path."""

    place: str
    path: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What a format says about paths. Lists do not count as a level of a path.

    Attributes:
        metadata: paths of metadata; everything below them is metadata too.
        ignored: paths that the user leaves out, with everything below them.
        parsed: whole paths of texts that the format takes apart.
    """

    metadata: _Patterns
    ignored: _Patterns
    parsed: frozenset[str]


class _Patterns:
    """Paths from the root of a row, or `*.` and the end of a path."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rooted = frozenset(one for one in patterns if not one.startswith("*."))
        self._ends: dict[str, tuple[str, ...]] = {}
        for pattern in patterns:
            if pattern.startswith("*."):
                key = pattern.rpartition(".")[2]
                self._ends[key] = (*self._ends.get(key, ()), pattern.removeprefix("*"))

    def match(self, path: str, key: str) -> bool:
        """Whether a path, which ends in `key`, is one of them."""
        if path in self._rooted:
            return True
        ends = self._ends.get(key)
        return ends is not None and f".{path}".endswith(ends)

    def first(self, path: str, key: str) -> str | None:
        """The one that a path is, which ends in `key`."""
        if path in self._rooted:
            return path
        ends = self._ends.get(key, ())
        return next((f"*{end}" for end in ends if f".{path}".endswith(end)), None)


@lru_cache(maxsize=256)
def rules_of(
    metadata: tuple[str, ...], ignored: tuple[str, ...] = (), parsed: tuple[str, ...] = ()
) -> Rules:
    """The rules of a format."""
    return Rules(_Patterns(metadata), _Patterns(ignored), frozenset(parsed))


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
    left_out: set[str] = set()
    for row in rows:
        lost, others = unread_leaves(row.value, carried, rules, left_out)
        if lost:
            yield problem_of_lost(lost[0], row, readings[0].trajectory.task.id)
            return
        unread.update(dict.fromkeys(others))
    for index, (trajectory, remarks) in enumerate(readings):
        try:
            line = line_of(trajectory)
        except RecursionError as error:
            yield Problem(where=rows[0].where, reason=str(error), item=trajectory.task.id)
            continue
        yield line._replace(
            remarks=sorted([*line.remarks, *remarks], key=lambda remark: remark[0]),
            unread=() if index else tuple(unread),
            ignored=() if index else tuple(sorted(left_out)),
        )


def without_ignored(line: TrajectoryLine, ignored: tuple[str, ...]) -> TrajectoryLine:
    """A line that was accounted for elsewhere, without unread paths that the user leaves out."""
    rules = rules_of((), ignored)
    found = {path: _ignored_above(path, rules.ignored) for path in line.unread}
    left = tuple(path for path, pattern in found.items() if pattern is None)
    return line._replace(unread=left, ignored=tuple(sorted({*filter(None, found.values())})))


def _ignored_above(path: str, ignored: _Patterns) -> str | None:
    """The path to ignore that a path is, or lies below."""
    while path:
        if pattern := ignored.first(path, path.rpartition(".")[2]):
            return pattern
        path = path.rpartition(".")[0]
    return None


def problem_of_lost(lost: Lost, row: SourceRow, item: str | None) -> Problem:
    """The problem of a row of which content would be lost."""
    reason = (
        f"'{lost.path}' is not read, but may be a part of what the model saw or wrote. "
        f"If it is not, leave it out with ignore={lost.path}"
    )
    return Problem(where=f"{row.where}, {lost.place}", reason=reason, item=item)


class _Place(NamedTuple):
    """A value within a row.

    What is expected there: "root", "content", "values" of a call, "neutral" data, "metadata" that
    the format names, generic "facts", or within these a "copy" of content.
    """

    value: Any
    place: str
    path: str
    # The key next above.
    key: str
    expected: str
    # The nearest list above, and the position in it.
    parts: Sequence[Any] = ()
    position: int = 0


def unread_leaves(
    value: Any, carried: Carried, rules: Rules, left_out: set[str] | None = None
) -> tuple[list[Lost], list[str]]:
    """The leaves of a row that were neither carried over nor metadata.

    Args:
        left_out: gets the paths to ignore that occur.

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
            if _is_lost_call(at, carried):
                lost.append(Lost(at.place or "the row", at.path or "the row"))
            stack += reversed([*_fields(at, rules, left_out)])
        elif isinstance(at.value, list):
            stack += [
                at._replace(
                    value=child, place=f"{at.place}[{index}]", parts=at.value, position=index
                )
                for index, child in reversed([*enumerate(at.value)])
            ]
        elif not (
            at.value is None
            # Said already.
            or (at.path in others and not _is_content(at))
            or _is_carried(at, carried, rules)
        ):
            nested = _nested(at.value) if str(at.value).startswith(("{", "[")) else None
            if isinstance(nested, dict | list):
                stack.append(at._replace(value=nested))
            elif parts := split_thinking(at.value, decode_nested):
                stack += [at._replace(value=part) for part in parts]
            elif _is_content(at):
                lost.append(Lost(at.place or "the row", at.path or "the row"))
            else:
                others[at.path or "the row"] = None
    return lost, list(others)


def _fields(at: _Place, rules: Rules, ignored: set[str] | None) -> Iterator[_Place]:
    """The fields of an object that may have to be carried over."""
    left_out = left_out_of(at.value) if at.expected == "content" else ()
    for name, child in at.value.items():
        if child is None or child == "" or name in left_out:
            continue
        key = _key(name)
        path = f"{at.path}.{key}" if at.path else key
        if pattern := rules.ignored.first(path, key):
            if ignored is not None:
                ignored.add(pattern)
            continue
        expected = _expected(name, child, at)
        if at.expected not in ("values", "metadata"):
            if rules.metadata.match(path, key):
                expected = "metadata"
            elif name in GENERIC_METADATA:
                expected = "facts"
        if expected in ("metadata", "facts") and (
            name in OPAQUE_KEYS
            or not (isinstance(child, dict | list) or (expected == "facts" and is_prose(child)))
        ):
            continue
        place = f"{at.place}.{key}" if at.place else key
        yield _Place(child, place, path, key, expected, at.parts, at.position)


def _is_lost_call(at: _Place, carried: Carried) -> bool:
    """Whether an object is a call that was not carried over, though its words may occur."""
    if at.expected != "content" or at.value.keys().isdisjoint(CALL_KEYS):
        return False
    name = at.value.get("name")
    if not isinstance(name, str) or not name or carried.has_call(name):
        return False
    # Code in a call is the same as code in the text.
    given = [at.value[key] for key in CALL_KEYS & at.value.keys()]
    return not any(
        isinstance(text, str) and len(text) > 2 and carried.has_text(text, is_content=True)
        for text in given
    )


def unread_fields(
    fields: Mapping[str, Any],
    used: Collection[str],
    metadata: tuple[str, ...],
    texts: Callable[[], Collection[str]],
) -> tuple[str, ...] | None:
    """The unread paths of a row of which only the fields in `used` are carried over.

    None if another field may be content, which `settle` has to look at.

    Args:
        texts: gives the texts that are carried over, if they are needed.
    """
    rest = {
        key: value
        for key, value in fields.items()
        if key not in used and not (key in GENERIC_METADATA and _is_fact(value))
    }
    if not rest:
        return ()
    lost, unread = unread_leaves(rest, Carried(texts()), rules_of(metadata))
    return None if lost else tuple(unread)


def _is_fact(value: Any) -> bool:
    """Whether a value under a generic name is metadata: no object, no list, no sentence."""
    return not isinstance(value, dict | list) and not is_prose(value)


def _expected(name: Any, child: Any, at: _Place) -> str:
    """What is expected below a key of the object at a place."""
    if at.expected in ("metadata", "facts", "copy"):
        return "copy" if name in CERTAIN_CONTENT_KEYS else at.expected
    if at.expected == "values" or (at.expected == "content" and name in ARGUMENT_KEYS):
        return "values"
    if at.expected == "content" and name == "input" and isinstance(child, dict):
        # Of a call, or else of a request.
        return "values" if "name" in at.value else "content"
    if means_content(name, at.expected == "root"):
        return "content"
    return "content" if at.expected == "content" and name not in NEUTRAL_KEYS else "neutral"


def _nested(text: str) -> Any:
    """The value of a JSON text, or those of a text that is several."""
    value = decode_nested(text)
    return decode_sequence(text) or None if isinstance(value, str) else value


def _is_content(at: _Place) -> bool:
    if at.expected == "values":
        return True
    return at.expected == "content" and (isinstance(at.value, str) or at.key in RESULT_KEYS)


def _is_carried(at: _Place, carried: Carried, rules: Rules) -> bool:
    value, is_content = at.value, _is_content(at) or at.expected in ("copy", "facts")
    if at.expected == "metadata" or (at.expected == "copy" and not isinstance(value, str)):
        return True
    if at.path in DECIDING_PATHS and str(value).lower() in DECIDED:
        return True
    if at.expected == "facts" and not is_prose(value):
        return True
    if not isinstance(value, str):
        return carried.has_value(value, at.expected in ("content", "values"))
    if at.path in rules.parsed:
        return carried.has_words(value)
    if not value.strip() or carried.has_text(value, is_content=False):
        return True
    if is_content and text_of_part(at.parts[at.position] if at.parts else None) == value:
        # Before the search, which takes long for many short parts.
        return carried.has_joined(at.parts, at.position) or carried.has_text(value, is_content)
    return carried.has_text(value, is_content)


def _key(name: Any) -> str:
    """A key as a part of a path: short, and without characters that a record cannot hold."""
    text = printable(str(name))
    return text if len(text) <= MAX_KEY else f"{text[:MAX_KEY]}…"
