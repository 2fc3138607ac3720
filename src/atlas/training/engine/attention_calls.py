"""Plans the attention of a packed row as a few calls of variable-length attention.

A query has disjoint sets of keys in different calls. Queries are grouped in runs of consecutive
tokens of one node. A run attends to itself causally, to earlier tokens of its node, and, together
with its siblings, to the nodes above. Each of these three is one call over all runs of the row; a
call without queries is left out. With a sliding window, one call is enough: a run attends to itself
and to the part of its path within the window.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.training.engine.device_arrays import to_device
from atlas.training.engine.packed_rows import Node

# Tokens [start, end) of the row, or of the queries.
Span = tuple[int, int]
# Spans of queries, and the spans of keys that they attend to.
Piece = tuple[list[Span], list[Span]]


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One attention call. Its i-th piece of queries attends to its i-th piece of keys.

    Attributes:
        queries: the queries of all pieces, one piece after the other; a slice if consecutive.
        keys: likewise, of the row. A token may occur several times.
        query_edges: ends of the pieces among `queries`, from 0; `_there`: on the device, int32.
        longest_query: queries of the largest piece.
        causal: the last query of a piece sees all its keys, each earlier query one key less. If
            false, every query sees all keys.
        window: maximum number of keys that a query sees, including itself; causal.
    """

    queries: slice | Tensor
    keys: slice | Tensor
    query_edges: tuple[int, ...]
    key_edges: tuple[int, ...]
    query_edges_there: Tensor
    key_edges_there: Tensor
    longest_query: int
    longest_key: int
    causal: bool = False
    window: int | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """Queries [first, first + length): tokens [start, start + length) of the row, in one node."""

    first: int
    start: int
    length: int
    node: int

    @property
    def queries(self) -> Span:
        return self.first, self.first + self.length

    @property
    def end(self) -> int:
        return self.start + self.length


def plan_calls(
    nodes: Sequence[Node],
    queries: Sequence[NDArray[np.int64]] | None,
    window: int | None,
    device: torch.device | str,
) -> tuple[AttentionCall, ...]:
    """Plan the calls. The first call has all queries, in order.

    Args:
        queries: for each node the tokens of the row that are queries, ascending; None: all tokens.
    """
    runs = _find_runs(nodes, queries)
    if window is not None:
        pieces = [([run.queries], _reach(nodes, run, window)) for run in runs]
        return (_make_call(pieces, device, window=window),)
    own: list[Piece] = [([run.queries], [(run.start, run.end)]) for run in runs]
    starts = [nodes[run.node].start for run in runs]
    before: list[Piece] = [
        ([run.queries], [(start, run.start)])
        for run, start in zip(runs, starts, strict=True)
        if start < run.start
    ]
    others = [_make_call(pieces, device) for pieces in (before, _families(nodes, runs)) if pieces]
    return (_make_call(own, device, causal=True), *others)


def _find_runs(nodes: Sequence[Node], queries: Sequence[NDArray[np.int64]] | None) -> list[_Run]:
    if queries is None:
        queries = [np.arange(node.start, node.end) for node in nodes]
    runs, first = [], 0
    for index, places in enumerate(queries):
        for part in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            if len(part):
                runs.append(_Run(first, int(part[0]), len(part), index))
                first += len(part)
    return runs


def _families(nodes: Sequence[Node], runs: Sequence[_Run]) -> list[Piece]:
    """Neighboring runs with the same nodes above them, and those nodes."""
    families: list[Piece] = []
    last: tuple[int, ...] = ()
    for run in runs:
        above = nodes[run.node].ancestors
        if above and above == last:
            families[-1][0].append(run.queries)
        elif above:
            keys = [(nodes[index].start, nodes[index].end) for index in above]
            families.append(([run.queries], keys))
        last = above
    return families


def _reach(nodes: Sequence[Node], run: _Run, window: int) -> list[Span]:
    """The tokens of a run's path that its first query sees, and those up to the run's last."""
    node = nodes[run.node]
    above = [(nodes[index].start, nodes[index].end) for index in node.ancestors]
    path = [*above, (node.start, run.end)]
    unseen = max(0, sum(end - start for start, end in path) - run.length - window + 1)
    reached = []
    for start, end in path:
        skipped = min(unseen, end - start)
        unseen -= skipped
        if start + skipped < end:
            reached.append((start + skipped, end))
    return reached


def _make_call(
    pieces: Sequence[Piece],
    device: torch.device | str,
    causal: bool = False,
    window: int | None = None,
) -> AttentionCall:
    queries, query_edges, query_there, longest_query = _measure([one for one, _ in pieces], device)
    keys, key_edges, key_there, longest_key = _measure([one for _, one in pieces], device)
    edges = query_edges, key_edges, query_there, key_there
    return AttentionCall(queries, keys, *edges, longest_query, longest_key, causal, window)


def _measure(
    pieces: Sequence[list[Span]], device: torch.device | str
) -> tuple[slice | Tensor, tuple[int, ...], Tensor, int]:
    """The positions of all pieces, their edges twice, and the length of the longest."""
    sizes = [sum(end - start for start, end in spans) for spans in pieces]
    edges = (0, *itertools.accumulate(sizes))
    places = _places(list(itertools.chain.from_iterable(pieces)), device)
    return places, edges, to_device(np.asarray(edges, dtype=np.int32), device), max(sizes)


def _places(spans: Sequence[Span], device: torch.device | str) -> slice | Tensor:
    if all(before[1] == after[0] for before, after in itertools.pairwise(spans)):
        return slice(spans[0][0], spans[-1][1])
    return to_device(np.concatenate([np.arange(start, end) for start, end in spans]), device)
