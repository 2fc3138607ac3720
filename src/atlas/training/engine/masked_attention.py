"""General attention over a packed row: node by node, with a mask of queries × keys.

It supports all options of models (windows, sinks, capped scores, dropout, any type and device). The
faster implementations must give equal results. Each node needs a mask and a few kernel launches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from atlas.training.engine.packed_rows import Node


def attend_with_masks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    nodes: Sequence[Node],
    counts: list[int],
    positions: Tensor,
    scaling: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Output [1, H, Q, D] of query [1, H, Q, D] over key and value [1, G, T, D].

    Args:
        counts: how many queries each node has, in the order of the nodes.
        positions: shape [Q]; the place of each query in its sequence, on the device of the query.
        sinks: shape [H]; the score of a key without value, which each query of a head sees.
    """
    groups = key.shape[1]
    lengths = [node.end - node.start for node in nodes]
    keys, values = torch.split(key, lengths, dim=2), torch.split(value, lengths, dim=2)
    queries = torch.split(query, counts, dim=2)
    asked_of_node = zip(nodes, queries, torch.split(positions, counts), strict=True)
    pieces = []
    for index, (node, asked, places) in enumerate(asked_of_node):
        if not counts[index]:
            continue
        path = (*node.ancestors, index)
        own_keys = torch.cat([keys[above] for above in path], dim=2)
        own_values = torch.cat([values[above] for above in path], dim=2)
        asks, answers = places[:, None], torch.arange(own_keys.shape[2], device=query.device)[None]
        mask = answers <= asks if window is None else (answers <= asks) & (answers > asks - window)
        # Heads that share keys are folded into the queries.
        repeats = query.shape[1] // groups
        folded = asked.reshape(1, groups, repeats * counts[index], -1)
        own_sinks = None
        if sinks is not None:
            own_sinks = sinks.repeat_interleave(counts[index]).reshape(1, groups, -1, 1)
        options = scaling, dropout, softcap, own_sinks
        piece = _masked(folded, own_keys, own_values, mask.repeat(repeats, 1), *options)
        pieces.append(piece.reshape(1, query.shape[1], counts[index], -1))
    return torch.cat(pieces, dim=2)


def _masked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scaling: float,
    dropout: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attention of [1, G, Q, D] under a mask of [Q, T], with sinks of [1, G, Q, 1]."""
    if softcap is None and sinks is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling
        )
    wide = torch.promote_types(query.dtype, torch.float32)
    scores = query @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores.to(wide), sinks.to(wide)], dim=-1)
    shares = scores.softmax(dim=-1, dtype=wide)[..., : key.shape[2]]
    return functional.dropout(shares.to(query.dtype), dropout) @ value
