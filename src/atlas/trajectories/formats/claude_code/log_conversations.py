"""The lines of a log -> its conversations, each as the agent saw it.

A conversation is the path from a root to its last leaf; branches that a rewind abandoned are
counted. A compaction begins a conversation, whose context is the summary and what was preserved.
`/clear` and each sub-agent (a side chain, which names its parent) also begin one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from atlas.trajectories.formats.claude_code.log_lines import ATTACHMENT, SPEAKERS, Line, Thread
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.react_turns import Remark


@dataclass(frozen=True, slots=True)
class LogConversation:
    """The lines of a conversation.

    Attributes:
        lines: in the order in which the agent saw them.
        num_context: of the lines, those that stand in its prompt.
        remarks: on what was left out.
    """

    thread: Thread
    lines: Sequence[Line]
    num_context: int
    remarks: Sequence[Remark]

    @property
    def has_answer(self) -> bool:
        """Whether the agent said something that is not in the prompt."""
        return any(line.kind == "assistant" for line in self.lines[self.num_context :])


def conversations(lines: Sequence[Line]) -> Iterator[LogConversation]:
    """One for each root that was followed by an answer or a question; main ones first."""
    links = _Links(lines)
    trees: dict[str, list[Line]] = {}
    roots: dict[str | None, str] = {}
    for line in links.in_order():
        root = roots[line.uuid] = roots.get(links.parents[line.uuid], line.uuid)
        trees.setdefault(root, []).append(line)
    retracted = _retracted(lines)
    known_turns: dict[Thread, set[str]] = {}
    for root, tree in sorted(trees.items(), key=lambda item: item[1][0].thread.agent is not None):
        told: set[str] = set()
        forks = _forks(tree, links, retracted)
        for number, (leaf, thread) in enumerate(forks, start=1):
            path = _path_to(leaf, tree, links, retracted)
            read = told | {line.uuid for line in path}
            remarks = _remarks_on_left(tree, read, retracted) if number == len(forks) else []
            if not any(line.kind in SPEAKERS for line in path):
                continue
            turns = known_turns.setdefault(thread, set())
            kept = [links.lines[uuid] for uuid in links.kept.get(root, ())]
            path, num_context = _with_context(path, kept, turns, told)
            if root in links.broken:
                reason = "what the compaction preserved is not in the log"
                remarks = [*remarks, (-1, reason)]
            turns |= {line.turn_id for line in path if line.turn_id is not None}
            told = read
            yield LogConversation(thread, path, num_context, remarks)


class _Links:
    """Who follows whom: parents as the log names them, cut and joined where the context changed.

    Attributes:
        parents: of each line.
        kept: by boundary of a compaction, what it preserved, in order.
        broken: boundaries whose preserved lines are not in the log.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = {line.uuid: line for line in lines}
        self.parents = {line.uuid: line.parent for line in lines}
        self.kept: dict[str, list[str]] = {}
        self.broken: set[str] = set()
        self._places = {line.uuid: place for place, line in enumerate(lines)}
        # By thread, the last compaction; by compaction, the line that what follows is joined to.
        boundaries: dict[Thread, str] = {}
        ends: dict[str, str] = {}
        kept_by: dict[str, set[str | None]] = {}
        for line in lines:
            if line.is_boundary:
                boundaries[line.thread] = ends[line.uuid] = line.uuid
                self.parents[line.uuid] = None
                self._keep(line)
                kept_by[line.uuid] = {*self.kept[line.uuid]}
                continue
            boundary = boundaries.get(line.thread)
            kept = set[str | None]() if boundary is None else kept_by[boundary]
            if line.clears or (line.is_summary and not self._follows_boundary(line)):
                self.parents[line.uuid] = None
            elif boundary is not None and line.uuid not in kept:
                if self.parents[line.uuid] in kept:
                    self.parents[line.uuid] = ends[boundary]
                if line.is_summary:
                    ends[boundary] = line.uuid

    def in_order(self) -> Iterator[Line]:
        """The lines as in the file, but a parent above its children."""
        given: set[str] = set()
        for first in self.lines:
            pending: list[str] = []
            at: str | None = first
            while at in self.lines and at not in given:
                pending.append(at)
                given.add(at)
                at = self.parents[at]
            for uuid in reversed(pending):
                yield self.lines[uuid]

    def _keep(self, boundary: Line) -> None:
        """What a compaction preserved: a list of lines, or a segment between two of them."""
        metadata = object_or_empty(boundary.fields.get("compactMetadata"))
        listed = object_or_empty(metadata.get("preservedMessages")).get("uuids")
        segment = object_or_empty(metadata.get("preservedSegment"))
        head, tail = segment.get("headUuid"), segment.get("tailUuid")
        kept: list[str] = []
        if isinstance(listed, list) and all(isinstance(each, str) for each in listed):
            kept = [uuid for uuid in listed if uuid in self.lines]
            is_whole = len(kept) == len(listed)
        else:
            kept, is_whole = self._segment(head, tail)
        if not is_whole:
            self.broken.add(boundary.uuid)
        self.kept[boundary.uuid] = kept
        place = self._places[boundary.uuid]
        for before, uuid in pairwise(kept):
            # A line that was written after the boundary belongs to what was before it.
            if self._places[uuid] > place:
                self.parents[uuid] = before

    def _segment(self, head: Any, tail: Any) -> tuple[list[str], bool]:
        if not isinstance(head, str) or not isinstance(tail, str):
            return [], head is None and tail is None
        found: list[str] = []
        known: set[str] = set()
        at: str | None = tail
        while at is not None and at in self.lines and at not in known:
            found.append(at)
            known.add(at)
            if at == head:
                return found[::-1], True
            at = self.parents[at]
        return [], False

    def _follows_boundary(self, line: Line) -> bool:
        at, known = line.parent, set()
        while at is not None and at in self.lines and at not in known:
            known.add(at)
            if self.lines[at].is_boundary:
                return True
            if self.lines[at].kind in SPEAKERS and not self.lines[at].is_summary:
                return False
            at = self.parents[at]
        return False


def _retracted(lines: Sequence[Line]) -> set[str]:
    """Lines that a later one replaces."""
    found: set[str] = set()
    for line in lines:
        for key in ("retractedMessageUuids", "supersedesUuids"):
            given = line.fields.get(key)
            if isinstance(given, list):
                found |= {uuid for uuid in given if isinstance(uuid, str)}
    return found


def _is_valid(line: Line, retracted: set[str]) -> bool:
    return line.kind in SPEAKERS and not line.is_hidden and line.uuid not in retracted


def _forks(
    tree: Sequence[Line], links: _Links, retracted: set[str]
) -> list[tuple[str | None, Thread]]:
    """The last leaf of each session in a tree: one session may continue another one.

    A session that another one goes on from at its end has no leaf of its own.
    """
    leaves: dict[str, Line] = {}
    for line in tree:
        if _is_valid(line, retracted):
            leaves[line.thread.session] = line
    if len(leaves) < 2:
        return [(next((line.uuid for line in leaves.values()), None), tree[0].thread)]
    above: set[str | None] = set()
    for line in leaves.values():
        at = links.parents[line.uuid]
        while at is not None and at not in above:
            above.add(at)
            at = links.parents.get(at)
    found = [line for line in leaves.values() if line.uuid not in above]
    if len(found) == 1:
        return [(found[0].uuid, tree[0].thread)]
    return [(line.uuid, line.thread) for line in found]


def _path_to(
    leaf: str | None, tree: Sequence[Line], links: _Links, retracted: set[str]
) -> list[Line]:
    """The lines of a leaf's path that the agent saw or wrote, in the order of the file.

    Parallel calls branch the chain. So lines with the message id of a turn on the path, and results
    of its calls, also belong to the path; so does what was attached to a line of the path.
    """
    parents = links.parents
    valid = [line for line in tree if _is_valid(line, retracted)]
    on_path: set[str] = set()
    at = leaf
    while at is not None and at not in on_path:
        on_path.add(at)
        at = parents.get(at)
    turns = {line.turn_id for line in valid if line.uuid in on_path} - {None}
    on_path |= {line.uuid for line in valid if line.turn_id in turns}
    calls = {id_ for line in valid if line.uuid in on_path for id_ in line.ids("tool_use", "id")}
    on_path |= {line.uuid for line in valid if line.ids("tool_result", "tool_use_id") & calls}
    for line in tree:
        # Notices lead from an attachment to its line.
        if line.kind not in SPEAKERS and parents[line.uuid] in on_path:
            on_path.add(line.uuid)
    wanted = {line.uuid for line in valid} | {line.uuid for line in tree if line.is_context}
    return [line for line in tree if line.uuid in on_path and line.uuid in wanted]


def _remarks_on_left(tree: Sequence[Line], read: set[str], retracted: set[str]) -> list[Remark]:
    """Remarks on the messages of a tree that stand in no conversation."""
    spoken = [line for line in tree if line.kind in SPEAKERS and not line.is_hidden]
    valid = [line for line in spoken if line.uuid not in retracted]
    return [
        (-1, f"{number} {text}")
        for number, text in (
            (
                sum(line.uuid not in read for line in valid),
                "messages of abandoned branches are not read, such as those that a rewind left",
            ),
            (len(spoken) - len(valid), "messages are not read that the service retracted"),
            (
                sum(line.kind == "assistant" and line.is_hidden for line in tree),
                "answers of the harness itself are not read, such as errors of the service",
            ),
        )
        if number
    ]


def _with_context(
    path: list[Line], kept: Sequence[Line], known_turns: set[str], told: set[str]
) -> tuple[list[Line], int]:
    """The path with what a compaction preserved, and the number of lines in the prompt.

    The prompt ends with the summary, or with the last line that was copied from an earlier
    conversation.
    """
    start = 0
    for index, line in enumerate(path, start=1):
        if line.is_summary or line.turn_id in known_turns or line.uuid in told:
            start = index
    if not kept:
        return path, start
    place = max((index for index, line in enumerate(path, 1) if line.is_summary), default=0)
    shown = [line for line in kept if line.kind in SPEAKERS or line.kind == ATTACHMENT]
    given = {line.uuid for line in path}
    shown = [line for line in shown if line.uuid not in given and not line.is_hidden]
    return [*path[:place], *shown, *path[place:]], max(start, place) + len(shown)
