"""General attention over a packed row: node by node, with a mask of queries × keys.

It supports all options of models (windows, capped scores, dropout, any type, any device), and the
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
) -> Tensor:
    """Output [1, H, Q, D] of query [1, H, Q, D] over key and value [1, G, T, D].

    Args:
        counts: how many queries each node has, in the order of the nodes.
        positions: shape [Q]; the place of each query in its sequence, on the device of the query.
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
        piece = _masked(
            folded, own_keys, own_values, mask.repeat(repeats, 1), scaling, dropout, softcap
        )
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
) -> Tensor:
    if softcap is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling
        )
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scaling / softcap)
    wide = torch.promote_types(query.dtype, torch.float32)
    shares = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1, dtype=wide)
    return functional.dropout(shares.to(query.dtype), dropout) @ value
