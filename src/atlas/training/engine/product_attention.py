"""Gradients of attention in bfloat16 on a CPU, as products of matrices.

A CPU with bfloat16 instructions computes such products faster than the backward pass of PyTorch's
flash kernel for CPUs. Scores exist for one block of queries at a time.

No large score is rounded to bfloat16. The log-sum-exp that is subtracted from it is a further
column of the same product, whose sums are in float32. So what is rounded is near 0 wherever the
attention is not. The same holds for the difference in the gradient of the scores.
Attention that is flat over n keys has differences near −log n, so its gradients are up to three
times as rough as the kernel's: 0.9 % against 0.3 % for 900 keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

# Rows and keys of a product are multiples of this, so that few shapes occur: oneDNN keeps code
# for each shape.
STEP = 32
# Entries of one block of scores: what stays in the caches of one core.
BLOCK_SCORES = 2**21
MOST_ROWS = 256
# Below this number of scores, calls cost more than products.
FEWEST_SCORES = 2**15
# A score that no query attends to.
NEVER = -1e30


def takes_products(query: Tensor, key: Tensor) -> bool:
    """Whether these gradients are worth it: on this CPU, for this type and size."""
    scores = query.shape[0] * query.shape[1] * key.shape[0]
    return query.dtype is torch.bfloat16 and scores >= FEWEST_SCORES and _has_products()


@functools.cache
def _has_products() -> bool:
    """Whether this CPU has instructions for products in bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def gradients_by_products(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    logsumexp: Tensor,
    causal: bool,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value. Output and log-sum-exp may be those of more keys."""
    num_queries, heads, width = query.shape
    num_keys, groups = key.shape[:2]
    keys, values = _with_columns(key), _with_columns(value)
    plain_keys = keys[..., :width].contiguous()
    of_query = torch.empty_like(query)
    of_keys = key.new_zeros(2, groups, keys.shape[1], width, dtype=torch.float32)
    # Σ over the keys of share · gradient of share.
    means = (gradient.float() * output.float()).sum(-1).T
    for rows, seen, hidden in _blocks(num_queries, num_keys, heads, causal):
        asked = _folded(query[rows], groups, width + 3)
        asked[..., :width] *= scaling
        asked[..., -1] = 1.0
        _subtract(asked, logsumexp[:, rows], width)
        upstream = _folded(gradient[rows], groups, width + 3)
        _subtract(upstream, means[:, rows], width)
        visible, their_values = (
            one[:, :seen].contiguous().transpose(1, 2) for one in (keys, values)
        )
        shares = _without(hidden, (asked @ visible).exp_())
        of_scores = (upstream @ their_values).mul_(shares)
        plain_asked, plain_upstream = (one[..., :width].contiguous() for one in (asked, upstream))
        of_keys[0, :, :seen] += of_scores.transpose(1, 2) @ plain_asked
        of_keys[1, :, :seen] += shares.transpose(1, 2) @ plain_upstream
        part = (of_scores @ plain_keys[:, :seen]).float() * scaling
        of_query[rows] = _unfolded(part, heads, rows.stop - rows.start)
    of_key, of_value = of_keys[:, :, :num_keys].transpose(1, 2).to(key.dtype)
    return of_query, of_key, of_value


# The first key that a mask is for, and the mask of hidden keys, shape [rows, keys from there].
Hidden = tuple[int, Tensor] | None


def _blocks(
    num_queries: int, num_keys: int, heads: int, causal: bool
) -> Iterator[tuple[slice, int, Hidden]]:
    """Blocks of queries: their rows, how many keys they need, and which of these are hidden."""
    padded_keys = _round_up(num_keys)
    fitting = BLOCK_SCORES // (heads * padded_keys) // STEP * STEP
    most = min(MOST_ROWS, max(STEP, fitting))
    for start in range(0, num_queries, most):
        end = min(num_queries, start + most)
        if not causal:
            yield slice(start, end), padded_keys, None
            continue
        # The last key that the first query sees.
        own = start + num_keys - num_queries
        seen = min(padded_keys, _round_up(own + end - start))
        mask = torch.ones(_round_up(end - start), seen - own, dtype=torch.bool).triu_(1)
        yield slice(start, end), seen, (own, mask)


def _without(hidden: Hidden, shares: Tensor) -> Tensor:
    """Shares [G, R · rows, K], 0 where a key is hidden, in place."""
    if hidden is not None:
        first, mask = hidden
        groups, _, seen = shares.shape
        shares.view(groups, -1, len(mask), seen)[..., first:].masked_fill_(mask, 0.0)
    return shares


def _subtract(rows: Tensor, values: Tensor, width: int) -> None:
    """Write −values [H, rows], in two parts, into the columns of `rows` that keys multiply by 1."""
    groups, _, _ = rows.shape
    minus = -values
    first = minus.to(rows.dtype)
    for column, part in enumerate((first, minus - first.float())):
        whole = rows.view(groups, len(values) // groups, -1, rows.shape[-1])
        whole[:, :, : values.shape[1], width + column] = part.view(groups, -1, values.shape[1]).to(
            rows.dtype
        )


def _with_columns(states: Tensor) -> Tensor:
    """Keys or values [K, G, D] as [G, K padded, D + 3]: two columns of 1, and one that hides."""
    count, groups, width = states.shape
    whole = states.new_zeros(groups, _round_up(count), width + 3)
    whole[:, :count, :width] = states.transpose(0, 1)
    whole[..., width:-1] = 1.0
    whole[:, count:, -1] = NEVER
    return whole


def _folded(states: Tensor, groups: int, columns: int) -> Tensor:
    """[Q, H, D] -> [G, (H / G) · Q padded, columns]: the heads that share keys are rows."""
    count, heads, width = states.shape
    whole = states.new_zeros(groups, heads // groups, _round_up(count), columns)
    own = states.view(count, groups, heads // groups, width).permute(1, 2, 0, 3)
    whole[:, :, :count, :width] = own
    return whole.view(groups, -1, columns)


def _unfolded(rows: Tensor, heads: int, count: int) -> Tensor:
    """[G, (H / G) · Q padded, D] -> [Q, H, D]."""
    return rows.view(heads, -1, rows.shape[-1])[:, :count].transpose(0, 1)


def _round_up(count: int) -> int:
    return -(-count // STEP) * STEP
