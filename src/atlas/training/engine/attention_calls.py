"""A packed row's attention as a few calls of variable-length attention, whose sets of keys are disjoint for each query.

Queries come in runs of consecutive tokens of one node. A run attends to itself causally, to what stands before it in its
node, and, together with its siblings, to the nodes above. Each of the three is one call over all runs of the row, however
many nodes there are; those without anything to do are left out. With a sliding window a run attends to itself and to what of
its path the window reaches, in one call.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.training.engine.device_arrays import to_device
from atlas.training.engine.packed_rows import Node

Piece = tuple[list[tuple[int, int]], list[tuple[int, int]]]  # ranges of queries, ranges of keys


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call: its i-th piece of queries attends to its i-th piece of keys.

    Attributes:
        queries: which queries take part, one piece after the other; a slice where they are consecutive.
        keys: the same of the tokens of the row. A token may come several times.
        query_edges: ends of the pieces among `queries`, from 0; key_edges likewise. Also on the device, as int32.
        longest_query: queries of the largest piece; longest_key likewise.
        causal: the last query of a piece sees its last key, each one before it one key less. Without, all see all.
        window: keys that a query sees at most, itself included; causal.
    """

    queries: slice | torch.Tensor
    keys: slice | torch.Tensor
    query_edges: tuple[int, ...]
    key_edges: tuple[int, ...]
    query_edges_there: torch.Tensor
    key_edges_there: torch.Tensor
    longest_query: int
    longest_key: int
    causal: bool = False
    window: int | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """Queries [first, first + length) are the tokens [start, start + length) of the row, in the node of this index."""

    first: int
    start: int
    length: int
    node: int

    @property
    def queries(self) -> tuple[int, int]:
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
    """The calls of one attention; the first takes all queries in their order.

    Args:
        queries: for each node the tokens of the row that ask, ascending; None where all do.
    """
    runs = _find_runs(nodes, queries)
    if window is not None:
        pieces = [([run.queries], _reach(nodes, run, window)) for run in runs]
        return (_make_call(pieces, device, window=window),)
    own: list[Piece] = [([run.queries], [(run.start, run.end)]) for run in runs]
    before: list[Piece] = [
        ([run.queries], [(nodes[run.node].start, run.start)])
        for run in runs
        if run.start > nodes[run.node].start
    ]
    calls = [_make_call(own, device, causal=True)]
    return (
        *calls,
        *(_make_call(pieces, device) for pieces in (before, _families(nodes, runs)) if pieces),
    )


def _find_runs(nodes: Sequence[Node], queries: Sequence[NDArray[np.int64]] | None) -> list[_Run]:
    if queries is None:
        return [
            _Run(node.start, node.start, node.end - node.start, index)
            for index, node in enumerate(nodes)
        ]
    runs, first = [], 0
    for index, places in enumerate(queries):
        for part in (
            np.split(places, np.flatnonzero(np.diff(places) != 1) + 1) if len(places) else []
        ):
            runs.append(_Run(first, int(part[0]), len(part), index))
            first += len(part)
    return runs


def _families(nodes: Sequence[Node], runs: Sequence[_Run]) -> list[Piece]:
    """Neighbouring runs with the same nodes above them, and those nodes."""
    families: list[Piece] = []
    last: tuple[int, ...] = ()
    for run in runs:
        above = nodes[run.node].ancestors
        if above and above == last:
            families[-1][0].append(run.queries)
        elif above:
            families.append(
                ([run.queries], [(nodes[index].start, nodes[index].end) for index in above])
            )
        last = above
    return families


def _reach(nodes: Sequence[Node], run: _Run, window: int) -> list[tuple[int, int]]:
    """The tokens of the path of a run that its first query sees, and those after it up to the run's last."""
    node = nodes[run.node]
    path = [
        *((nodes[index].start, nodes[index].end) for index in node.ancestors),
        (node.start, run.end),
    ]
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
    query_edges, key_edges = (_edges([piece[side] for piece in pieces]) for side in (0, 1))
    return AttentionCall(
        queries=_places([part for piece in pieces for part in piece[0]], device),
        keys=_places([part for piece in pieces for part in piece[1]], device),
        query_edges=query_edges,
        key_edges=key_edges,
        query_edges_there=to_device(np.asarray(query_edges, dtype=np.int32), device),
        key_edges_there=to_device(np.asarray(key_edges, dtype=np.int32), device),
        longest_query=int(np.diff(query_edges).max()),
        longest_key=int(np.diff(key_edges).max()),
        causal=causal,
        window=window,
    )


def _edges(ranges_of_pieces: Sequence[list[tuple[int, int]]]) -> tuple[int, ...]:
    return (
        0,
        *itertools.accumulate(
            sum(end - start for start, end in ranges) for ranges in ranges_of_pieces
        ),
    )


def _places(ranges: Sequence[tuple[int, int]], device: torch.device | str) -> slice | torch.Tensor:
    if all(before[1] == after[0] for before, after in itertools.pairwise(ranges)):
        return slice(ranges[0][0], ranges[-1][1])
    return to_device(np.concatenate([np.arange(start, end) for start, end in ranges]), device)
