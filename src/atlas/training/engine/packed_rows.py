"""Packs sequences into one row without padding; a common prompt is stored only once.

The row is a forest. A node is a run of tokens. It attends to itself causally and to all of the
nodes above it, so each path from a root to a leaf is one sequence, exactly as if it ran separately.
Siblings are neighbors.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.loss_mask import IGNORED_LABEL

# A shorter common beginning of two sequences saves less than the extra attention calls cost.
MIN_SHARED_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Node:
    """Tokens [start, end) of the row.

    Attributes:
        position: of the first token in its sequences.
        ancestors: node indices, root first.
    """

    start: int
    end: int
    position: int
    ancestors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PackedRow:
    """The inputs of a forward pass over several sequences.

    Attributes:
        token_ids: shape [T].
        position_ids: shape [T]; each token's place in the sequences that hold it.
        nodes: in the order of the row.
        kept: shape [K]; the places whose hidden states predict a token with loss, ascending. Never
            empty, because kernels do not accept attention without a query.
        kept_of_target: shape [N]; for each supervised token the place in `kept` that predicts it.
            Two sequences may differ after a shared token and supervise different ones, so N may
            exceed K.
        targets: shape [N]; the supervised tokens.
        kept_of_anchor: shape [M]; for each token that is held to the base model the place in
            `kept` that predicts it.
        order: the sequences in their order in `targets`.
        live: shape [L]; the places that carry gradient, ascending: those kept and, in each
            sequence, a window of tokens before them. Without a window, all.
    """

    token_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    nodes: tuple[Node, ...]
    kept: NDArray[np.int64]
    kept_of_target: NDArray[np.int64]
    targets: NDArray[np.int64]
    kept_of_anchor: NDArray[np.int64]
    order: tuple[int, ...]
    live: NDArray[np.int64]


def pack_row(
    sequences: Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]],
    share_prompts: bool,
    window: int | None = None,
    anchors: Sequence[NDArray[np.bool_]] | None = None,
) -> PackedRow:
    """One row of all sequences.

    Args:
        sequences: token ids and unshifted labels, each of shape [T]; the first label is ignored.
        anchors: for each sequence the positions that predict a token held to the base model, shape
            [T - 1]; None: none.
    """
    tokens = [ids for ids, _ in sequences]
    order = lexicographic_order(tokens) if share_prompts else list(range(len(tokens)))
    ordered = [tokens[index] for index in order]
    common = common_beginnings(ordered) if share_prompts else [0] * len(tokens)
    nodes, paths = _build_forest(ordered, common)
    token_ids = np.empty(nodes[-1].end, dtype=np.int64)
    position_ids = np.empty(nodes[-1].end, dtype=np.int64)
    predicts, targets, anchored, live = [], [], [], []
    for path, index in zip(paths, order, strict=True):
        ids, labels = sequences[index]
        places = np.concatenate([np.arange(nodes[node].start, nodes[node].end) for node in path])
        token_ids[places] = ids
        position_ids[places] = np.arange(len(ids))
        # Position t predicts token t + 1.
        supervised = np.flatnonzero(labels[1:] != IGNORED_LABEL)
        held = supervised[:0] if anchors is None else np.flatnonzero(anchors[index])
        predicts.append(places[supervised])
        targets.append(labels[1:][supervised])
        anchored.append(places[held])
        if window is not None:
            places = places[_within(window, np.concatenate([supervised, held]), len(ids))]
        live.append(places)
    all_predicts, all_anchored = np.concatenate(predicts), np.concatenate(anchored)
    kept = np.unique(np.concatenate([all_predicts, all_anchored]))
    kept = kept if len(kept) else np.zeros(1, dtype=np.int64)
    return PackedRow(
        token_ids,
        position_ids,
        tuple(nodes),
        kept,
        kept_of_target=np.searchsorted(kept, all_predicts),
        targets=np.concatenate(targets).astype(np.int64),
        kept_of_anchor=np.searchsorted(kept, all_anchored),
        order=tuple(order),
        live=np.union1d(np.concatenate(live), kept),
    )


def count_row_tokens(tokens: Sequence[NDArray[np.integer]], share_prompts: bool) -> int:
    """The length of the row that `pack_row` makes."""
    if not share_prompts:
        return sum(map(len, tokens))
    ordered = [tokens[index] for index in lexicographic_order(tokens)]
    return _build_forest(ordered, common_beginnings(ordered))[0][-1].end


def lexicographic_order(tokens: Sequence[NDArray[np.integer]]) -> list[int]:
    """Indices in the order of their tokens: sequences with a common beginning are neighbors."""
    keys = [ids.astype(">u4").tobytes() for ids in tokens]
    return sorted(range(len(tokens)), key=lambda index: keys[index])


def common_beginnings(tokens: Sequence[NDArray[np.integer]]) -> list[int]:
    """How many tokens each sequence shares with the one before it; 0 below MIN_SHARED_TOKENS."""
    lengths = [0]
    for before, after in itertools.pairwise(tokens):
        shorter = min(len(before), len(after))
        differs = np.flatnonzero(before[:shorter] != after[:shorter])
        length = int(differs[0]) if len(differs) else shorter
        lengths.append(length if length >= MIN_SHARED_TOKENS else 0)
    return lengths


def _within(window: int, ends: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Which of `length` places lie at one of `ends` or up to `window` before it."""
    edges = np.zeros(length + 1, dtype=np.int64)
    np.add.at(edges, np.maximum(ends - window, 0), 1)
    np.add.at(edges, ends + 1, -1)
    return np.asarray(edges.cumsum()[:-1] > 0)


def _build_forest(
    tokens: Sequence[NDArray[np.integer]], common: Sequence[int]
) -> tuple[list[Node], list[list[int]]]:
    """Nodes level by level, so that siblings are neighbors, and each sequence's path of nodes."""
    paths: list[list[int]] = [[] for _ in tokens]
    nodes: list[Node] = []
    waiting: deque[tuple[range, int, tuple[int, ...]]] = deque(
        (group, 0, ()) for group in _split(range(len(tokens)), common, 0)
    )
    end = 0
    while waiting:
        group, position, ancestors = waiting.popleft()
        stop = min((common[index] for index in group[1:]), default=len(tokens[group[0]]))
        if stop == position:
            # A sequence that is complete: others go on where it ends.
            continue
        path = (*ancestors, len(nodes))
        nodes.append(Node(end, end + stop - position, position, ancestors))
        end += stop - position
        for index in group:
            paths[index].append(path[-1])
        if len(group) > 1:
            waiting += [(part, stop, path) for part in _split(group, common, stop)]
    return nodes, paths


def _split(group: range, common: Sequence[int], position: int) -> list[range]:
    """The parts of a group of sorted sequences that share at least a token after `position`.

    So the tokens of a row are those of its first sequence and, of each other one, those after what
    it shares with the one before it. There are never more than twice as many nodes as sequences.
    """
    starts = [group[0], *(index for index in group[1:] if common[index] <= position), group[-1] + 1]
    return [range(start, stop) for start, stop in itertools.pairwise(starts)]
