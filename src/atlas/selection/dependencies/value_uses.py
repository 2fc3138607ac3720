"""Finds where a trajectory's actions take their values from: `trajectory -> uses`.

A use is a value in an action that was first seen in the observation that answers an earlier step.
Values that stand in the task, or that the agent itself said first, are not given by any step. An
observation answers the step before it; the result of a tool call answers the step that made the
call, by its id. All actions are put into a tree of word sequences, and each observation is read
once, so the time grows linearly with the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from atlas.records import Message, Trajectory
from atlas.selection.dependencies.words import ActionText, Word, action_texts, observed_words

# The most words in a value; words that are joined count as one.
LONGEST = 8
# The most words of it, with those that are joined; a longer identifier is not compared.
MOST_WORDS = 32
# The origin of values in the task text.
TASK = -1


@dataclass(frozen=True, slots=True, order=True)
class ValueUse:
    """Step `user` uses `value`, which was first seen in the observation that answers `giver`."""

    giver: int
    user: int
    value: str


class _Node:
    """A sequence of words that some action contains.

    Attributes:
        origin: the step whose observation showed it first, or TASK; None while it is unseen.
        num_seen: the number of observations that showed it before its first use.
        last_seen: the number of the observation that was counted last.
        is_spoken: whether an earlier action contains it.
        is_used: whether an earlier action used it as a value.
        is_numbered: whether a number came next wherever it was seen, as in "door 10".
    """

    __slots__ = (
        "children",
        "is_numbered",
        "is_spoken",
        "is_used",
        "last_seen",
        "num_seen",
        "origin",
    )

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.origin: int | None = None
        self.num_seen = 0
        self.last_seen = -1
        self.is_spoken = False
        self.is_used = False
        self.is_numbered = True


def find_uses(trajectory: Trajectory, common: int) -> list[ValueUse]:
    """The uses of a trajectory, in order.

    Args:
        common: a value that more observations showed before an action used it is too common.
    """
    actions = [list(action_texts(step)) for step in trajectory.steps]
    root = _Node()
    for text in (text for texts in actions for text in texts):
        _plant(root, text.words)
    opening = trajectory.steps[0].observation if trajectory.steps else ()
    goal = Message(role="user", content=trajectory.task.goal or "")
    _see(root, [*trajectory.prompt, goal, *opening], TASK, 0)
    callers: dict[str, int] = {}
    uses: set[ValueUse] = set()
    number = 0
    for index, step in enumerate(trajectory.steps):
        for giver, messages in _answers(step.observation if index else (), callers, index - 1):
            number += 1
            _see(root, messages, giver, number)
        for text in actions[index]:
            for giver, value in _values(root, text, common):
                uses.add(ValueUse(giver, index, value))
        for text in actions[index]:
            for node in _nodes(root, text.words):
                node.is_spoken = True
        callers |= {call.id: index for call in step.response.tool_calls if call.id}
    return sorted(uses)


def _answers(
    observation: Sequence[Message], callers: dict[str, int], before: int
) -> Iterator[tuple[int, list[Message]]]:
    """The messages of an observation by the step that they answer."""
    by_step: dict[int, list[Message]] = {}
    for message in observation:
        giver = callers.get(message.tool_call_id or "", before)
        by_step.setdefault(giver, []).append(message)
    yield from by_step.items()


def _plant(root: _Node, words: Sequence[Word]) -> None:
    """Put every sequence of words that may be a value into the tree."""
    for begin, first in enumerate(words):
        if first.can_begin:
            node = root
            for word in _from(words, begin):
                child = node.children.get(word.text)
                if child is None:
                    child = node.children[word.text] = _Node()
                node = child


def _from(words: Sequence[Word], begin: int) -> Iterator[Word]:
    """The words of at most LONGEST parts from a word on; words that are joined are one part."""
    num_parts = 0
    for index in range(begin, min(len(words), begin + MOST_WORDS)):
        word = words[index]
        num_parts += word.num_joined > 0
        if num_parts > LONGEST:
            return
        yield word


def _nodes(root: _Node, words: Sequence[Word]) -> Iterator[_Node]:
    for begin, first in enumerate(words):
        node = root if first.can_begin else None
        for word in _from(words, begin):
            node = node.children.get(word.text) if node is not None else None
            if node is None:
                break
            yield node


def _see(root: _Node, messages: Iterable[Message], giver: int, number: int) -> None:
    """Note what the observation with this number shows."""
    reading: list[_Node] = []
    words = pairwise(chain(observed_words(messages), [("", True, True)]))
    for (word, can_begin, can_end), (following, _, _) in words:
        begun = root.children.get(word) if can_begin else None
        if begun is None and not reading:
            continue
        reading = [next_ for node in reading if (next_ := node.children.get(word)) is not None]
        if begun is not None:
            reading.append(begun)
        for node in reading if can_end else ():
            node.is_numbered = node.is_numbered and following.isdecimal()
            # What the agent said before is repeated here, not given.
            if node.origin is None and not node.is_spoken:
                node.origin = giver
            if node.last_seen != number and not node.is_used:
                node.last_seen = number
                node.num_seen += 1


def _values(root: _Node, text: ActionText, common: int) -> Iterator[tuple[int, str]]:
    """The values of an action's text, from left to right the longest ones, with their givers."""
    begin = 0
    while begin < len(text.words):
        known = _longest(root, text, begin)
        if known is None:
            begin += 1
            continue
        node, size = known
        if node.origin != TASK and (node.is_used or node.num_seen <= common):
            node.is_used = True
            assert node.origin is not None
            yield node.origin, " ".join(word.text for word in text.words[begin : begin + size])
        begin += size


def _longest(root: _Node, text: ActionText, begin: int) -> tuple[_Node, int] | None:
    """The longest value that begins at a word and was seen before, with its number of words."""
    found = None
    node: _Node | None = root if text.words[begin].can_begin else None
    has_name = not text.needs_names
    for size, word in enumerate(_from(text.words, begin), 1):
        node = node.children.get(word.text) if node is not None else None
        if node is None:
            break
        has_name = has_name or word.is_specific
        # The beginning of a value may be unknown where the agent said it in another one.
        after = begin + size
        is_other = node.is_numbered and after < len(text.words) and text.words[after].is_number
        is_known = node.origin is not None and not is_other
        if is_known and has_name and word.can_end and (size > 1 or word.is_value):
            found = (node, size)
    return found
