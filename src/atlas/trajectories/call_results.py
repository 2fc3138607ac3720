"""Calls and their results: which belong together, and which have no partner.

A result belongs to the call with its id, else to the next call of its name, else to the next call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from atlas.records import Message
from atlas.trajectories.react_turns import Remark

NO_RESULT = "a call without a result"
NO_CALL = "a result without a call"
USED_TWICE = "the id of a call is used twice"


class _Call(NamedTuple):
    """A call, and the step that made it; -1 is the prompt."""

    id: str | None
    name: str
    step: int


def pair_results(
    results: Sequence[tuple[str | None, str | None]],
    calls: Sequence[tuple[str | None, str]],
) -> list[int | None]:
    """For each result, as id and name, the place of its call among `calls`, as id and name."""
    pairs: list[int | None] = [None] * len(results)
    by_id = _places((id_, place) for place, (id_, _) in enumerate(calls) if id_ is not None)
    by_name = _places((name, place) for place, (_, name) in enumerate(calls))
    in_order = deque(range(len(calls)))
    taken: set[int] = set()

    def take(index: int, places: deque[int] | None) -> None:
        while places and pairs[index] is None:
            place = places.popleft()
            if place not in taken:
                pairs[index] = place
                taken.add(place)

    for index, (id_, _) in enumerate(results):
        take(index, by_id.get(id_))
    # A result with an id cannot belong to a call with another one.
    waiting = [index for index, (id_, _) in enumerate(results) if id_ is None or not by_id]
    for index in waiting:
        take(index, by_name.get(results[index][1]))
    for index in waiting:
        if results[index][1] is None:
            take(index, in_order)
    return pairs


def odd_calls(messages: Iterable[tuple[int, Message]]) -> list[Remark]:
    """Step index and remark for calls without a result, and results without a call.

    The calls of the last answer have no results yet, unless one of them has.

    Args:
        messages: a conversation in order, with the step that a message belongs to: as the response,
            or as what was seen before it; -1 for the prompt.
    """
    books = _Books()
    for step, message in messages:
        if message.role == "tool":
            books.results.append((step, message))
        elif message.role == "assistant":
            books.settle()
            books.open(step, message)
    if books.results:
        books.settle()
    remarks = [(call.step, NO_RESULT) for waiting in books.late.values() for call in waiting]
    return [remark for remark in dict.fromkeys((*books.remarks, *remarks)) if remark[0] >= 0]


class _Books:
    """Calls of the last answer, results since then, and earlier calls that still have none."""

    def __init__(self) -> None:
        self.remarks: list[Remark] = []
        self.results: list[tuple[int, Message]] = []
        self.late: dict[str | None, deque[_Call]] = {}
        self._calls: list[_Call] = []
        self._ids: set[str] = set()
        self._answered: set[str | None] = set()
        self._any_calls = False

    def open(self, step: int, message: Message) -> None:
        """Take the calls of an answer."""
        self._calls = [_Call(call.id, call.name, step) for call in message.tool_calls]
        self._any_calls = self._any_calls or bool(self._calls)
        for call in self._calls:
            if call.id is not None:
                if call.id in self._ids:
                    self.remarks.append((step, USED_TWICE))
                self._ids.add(call.id)

    def settle(self) -> None:
        """Give the results to the calls."""
        found = [(each.tool_call_id, each.name) for _, each in self.results]
        pairs = pair_results(found, [(call.id, call.name) for call in self._calls])
        for (step, result), place in zip(self.results, pairs, strict=True):
            id_ = result.tool_call_id
            if place is None and id_ is not None and self.late.get(id_):
                self.late[id_].popleft()
            elif place is None and (id_ is not None or self._any_calls):
                self.remarks.append((step, USED_TWICE if id_ in self._answered else NO_CALL))
            if id_ is not None:
                self._answered.add(id_)
        for place in sorted(set(range(len(self._calls))).difference(pairs)):
            call = self._calls[place]
            self.late.setdefault(call.id, deque()).append(call)
        self.results = []


def _places(pairs: Iterable[tuple[str | None, int]]) -> dict[str | None, deque[int]]:
    places: dict[str | None, deque[int]] = {}
    for key, place in pairs:
        places.setdefault(key, deque()).append(place)
    return places
