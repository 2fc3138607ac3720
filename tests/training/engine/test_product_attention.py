"""Gradients of attention as products of bfloat16, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from atlas.training.engine import product_attention
from atlas.training.engine.product_attention import (
    STEP,
    _blocks,
    gradients_by_products,
    takes_products,
)

WIDTH = 24


def attend(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float
) -> tuple[Tensor, Tensor]:
    """[Q, H, D] over [K, G, D] -> output [Q, H, D] and log-sum-exp [H, Q], with one whole mask."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(repeats, 1).transpose(0, 1) for one in (key, value))
    scores = query.transpose(0, 1) @ key.transpose(1, 2) * scaling
    if causal:
        ends = torch.arange(len(query))[:, None] + key.shape[1] - len(query)
        scores = scores.masked_fill(torch.arange(key.shape[1]) > ends, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(0, 1), scores.logsumexp(-1)


@pytest.mark.parametrize(
    ("num_queries", "num_keys", "causal"),
    [
        (1, 1, True),
        (70, 70, True),
        (300, 300, True),
        (33, 90, True),
        (70, 45, False),
        (5, 301, False),
    ],
)
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_the_gradients_are_those_of_float64(
    num_queries: int, num_keys: int, causal: bool, size: float
) -> None:
    torch.manual_seed(num_queries)
    shapes = ((num_queries, 6), (num_keys, 2), (num_keys, 2), (num_queries, 6))
    query, key, value, upstream = (torch.randn(*shape, WIDTH).bfloat16() for shape in shapes)
    # Large scores, all of them far below 0 for some queries.
    query = query * size
    exact = [one.double().requires_grad_() for one in (query, key, value)]
    output, sums = attend(*exact, causal, 0.25)
    wanted = torch.autograd.grad(output, exact, upstream.double())
    given = output.detach().bfloat16(), sums.detach().float()
    found = gradients_by_products(upstream, query, key, value, *given, causal, 0.25)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype is torch.bfloat16
        # The gradient of a single key is 0.
        assert (one.double() - other).norm() <= 0.02 * other.norm() + 1e-3


def test_the_share_of_a_part_of_the_keys_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    query, upstream = (torch.randn(40, 4, WIDTH).bfloat16() for _ in range(2))
    key, value = (torch.randn(90, 2, WIDTH).bfloat16() for _ in range(2))
    exact = [one.double().requires_grad_() for one in (query, key, value)]
    output, sums = attend(*exact, False, 0.2)
    of_query, *of_keys = torch.autograd.grad(output, exact, upstream.double())
    given = output.detach().bfloat16(), sums.detach().float()
    parts = [
        gradients_by_products(upstream, query, key[at], value[at], *given, False, 0.2)
        for at in (slice(0, 37), slice(37, 90))
    ]
    found = (parts[0][0] + parts[1][0], *(torch.cat(pair) for pair in zip(*parts, strict=True)))
    for one, other in zip((found[0], *found[2:]), (of_query, *of_keys), strict=True):
        assert (one.double() - other).norm() <= 0.02 * other.norm()


@pytest.mark.parametrize("causal", [True, False])
def test_few_shapes_occur_over_all_lengths(causal: bool) -> None:
    shapes = {
        (-(-(rows.stop - rows.start) // STEP), seen)
        for length in range(1, 2049, 7)
        for rows, seen, _ in _blocks(length, length, 9, causal)
    }
    assert all(seen % STEP == 0 for _, seen in shapes)
    assert len(shapes) <= 8 * 2048 // STEP


def test_small_pieces_other_types_and_cpus_without_the_instructions_use_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long, short = torch.zeros(300, 4, 8), torch.zeros(5, 4, 8)
    monkeypatch.setattr(product_attention, "_has_products", lambda: True)
    assert takes_products(long.bfloat16(), long.bfloat16())
    assert not takes_products(long, long)
    assert not takes_products(short.bfloat16(), short.bfloat16())
    monkeypatch.setattr(product_attention, "_has_products", lambda: False)
    assert not takes_products(long.bfloat16(), long.bfloat16())
