"""Every way of attention over packed rows, against one softmax per token over the keys it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.training.engine.attention_calls import plan_calls
from atlas.training.engine.flash_kernels import (
    CpuFlash,
    CudaFlash,
    FlashKernels,
    KernelInputs,
    kernels_for,
)
from atlas.training.engine.joined_attention import attend_jointly
from atlas.training.engine.packed_attention import GENERAL, AttentionPlan, attend, plan_for
from atlas.training.engine.packed_rows import Node, PackedRow

CPU = torch.device("cpu")
HEADS, GROUPS, WIDTH = 4, 2, 8


@dataclass(frozen=True)
class PlainVarlen:
    """What a GPU's variable-length flash attention is documented to compute, in plain lines.

    Causal and windowed pieces are aligned at their last query and key.
    """

    name: str = "plain"

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        return True

    def _pieces(self, given: KernelInputs) -> Any:
        query, key, call = given.query, given.key, given.call
        starts, key_starts = call.query_edges_there.tolist(), call.key_edges_there.tolist()
        assert starts[-1] == len(query)
        assert key_starts[-1] == len(key)
        for first, last, key_first, key_last in zip(
            starts, starts[1:], key_starts, key_starts[1:], strict=False
        ):
            assert 0 < last - first <= call.longest_query
            assert 0 < key_last - key_first <= call.longest_key
            wide_key = key[key_first:key_last].repeat_interleave(
                query.shape[1] // key.shape[1], dim=1
            )
            scores = torch.einsum("qhd,khd->hqk", query[first:last], wide_key) * given.scaling
            own = torch.arange(key_last - key_first - (last - first), key_last - key_first)[:, None]
            keys = torch.arange(key_last - key_first)[None]
            if call.causal or call.window is not None:
                scores = scores.masked_fill(keys > own, float("-inf"))
            if call.window is not None:
                scores = scores.masked_fill(keys <= own - call.window, float("-inf"))
            yield slice(first, last), slice(key_first, key_last), scores

    def forward(self, given: KernelInputs) -> tuple[torch.Tensor, torch.Tensor]:
        query, key, value = given.query, given.key, given.value
        output, sums = torch.empty_like(query), query.new_empty(query.shape[1], len(query))
        for asked, keys, scores in self._pieces(given):
            wide_value = value[keys].repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            output[asked], sums[:, asked] = (
                torch.einsum("hqk,khd->qhd", scores.softmax(-1), wide_value),
                scores.logsumexp(-1),
            )
        return output, sums

    def backward(
        self,
        given: KernelInputs,
        gradient: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The published equations (arXiv 2205.14135, algorithm 4)."""
        query, key, value = given.query, given.key, given.value
        of_query, of_key, of_value = (
            torch.zeros_like(query),
            torch.zeros_like(key),
            torch.zeros_like(value),
        )
        repeats = query.shape[1] // key.shape[1]
        for asked, keys, scores in self._pieces(given):
            shares = (scores - logsumexp[:, asked, None]).exp()
            grad, wide_key, wide_value = (
                gradient[asked],
                *(each[keys].repeat_interleave(repeats, dim=1) for each in (key, value)),
            )
            delta = (grad * output[asked]).sum(-1).T[..., None]
            of_scores = shares * (torch.einsum("qhd,khd->hqk", grad, wide_value) - delta)
            of_scores = of_scores * given.scaling
            of_query[asked] = torch.einsum("hqk,khd->qhd", of_scores, wide_key)
            for whole, part in (
                (of_key, torch.einsum("hqk,qhd->khd", of_scores, query[asked])),
                (of_value, torch.einsum("hqk,qhd->khd", shares, grad)),
            ):
                whole[keys] = part.unflatten(1, (-1, repeats)).sum(2)
        return of_query, of_key, of_value


def forest(shapes: list[tuple[int, int]]) -> PackedRow:
    """A row of nodes (length, which node before it is its parent, 0: none), level by level."""
    parents = [choice % (index + 1) - 1 for index, (_, choice) in enumerate(shapes)]
    paths: list[tuple[int, ...]] = []
    for index, parent in enumerate(parents):
        paths.append((*(paths[parent] if parent >= 0 else ()), index))
    order = sorted(range(len(paths)), key=lambda index: (len(paths[index]), paths[index]))
    place = {index: number for number, index in enumerate(order)}
    nodes: list[Node] = []
    for index in order:
        above = tuple(place[each] for each in paths[index][:-1])
        position = sum(nodes[each].end - nodes[each].start for each in above)
        start = nodes[-1].end if nodes else 0
        nodes.append(Node(start, start + shapes[index][0], position, above))
    positions = np.concatenate([np.arange(node.end - node.start) + node.position for node in nodes])
    nothing = np.zeros(0, dtype=np.int64)
    return PackedRow(
        token_ids=nothing,
        position_ids=positions,
        nodes=tuple(nodes),
        kept=nothing,
        kept_of_target=nothing,
        targets=nothing,
        kept_of_anchor=nothing,
        order=(),
        live=nothing,
    )


def sees(row: PackedRow, window: int | None) -> NDArray[np.bool_]:
    """Which key (second axis) each token of the row sees, [T, T], from the definition only."""
    node_of = np.concatenate(
        [np.full(node.end - node.start, index) for index, node in enumerate(row.nodes)]
    )
    mask = np.zeros((len(node_of), len(node_of)), dtype=bool)
    for asks, node in enumerate(node_of):
        for answers, other in enumerate(node_of):
            on_the_path = other in row.nodes[node].ancestors or (other == node and answers <= asks)
            mask[asks, answers] = on_the_path and (
                window is None or row.position_ids[asks] - row.position_ids[answers] < window
            )
    return mask


def brute_force(
    query: Any,
    key: Any,
    value: Any,
    mask: torch.Tensor,
    scaling: float,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """[1, Q, H, D] from one dense mask [Q, T]."""
    wide_key, wide_value = (
        each.repeat_interleave(query.shape[1] // each.shape[1], dim=1) for each in (key, value)
    )
    scores = query @ wide_key.transpose(2, 3) * scaling
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    shares = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        column = sinks[None, :, None, None].expand(*scores.shape[:-1], 1)
        shares = torch.cat([column, shares], dim=-1)
    attended: torch.Tensor = shares.softmax(-1)[..., -scores.shape[-1] :] @ wide_value
    return attended.transpose(1, 2)


def states(
    num_queries: int, num_tokens: int, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(num_tokens)
    shapes = (
        (1, HEADS, num_queries, WIDTH),
        (1, GROUPS, num_tokens, WIDTH),
        (1, GROUPS, num_tokens, WIDTH),
    )
    query, key, value = (torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes)
    return query, key, value


rows = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=7).map(forest)
windows = st.sampled_from([None, 1, 3, 7])


@st.composite
def asked_places(draw: Any, row: PackedRow) -> NDArray[np.int64] | None:
    chosen = draw(st.none() | st.sets(st.integers(0, row.nodes[-1].end - 1), min_size=1))
    return None if chosen is None else np.asarray(sorted(chosen), dtype=np.int64)


def plan_of(
    row: PackedRow, places: NDArray[np.int64] | None, kernels: FlashKernels | None
) -> AttentionPlan:
    return plan_for(row, places, CPU, kernels, set())


@settings(max_examples=120, deadline=None)
@given(data=st.data(), row=rows, window=windows)
def test_the_calls_show_each_query_each_key_that_it_sees_once(
    data: Any, row: PackedRow, window: int | None
) -> None:
    places = data.draw(asked_places(row))
    plan, mask = plan_of(row, places, None), sees(row, window)
    expected = mask if places is None else mask[places]
    seen = np.zeros(expected.shape, dtype=int)
    calls = plan.calls(window)
    for call in calls:
        everything = slice(0, len(row.position_ids))
        queries, keys = (
            np.arange(everything.stop)[at] if isinstance(at, slice) else at.numpy()
            for at in (call.queries, call.keys)
        )
        for asked, answering in zip(
            np.split(queries, call.query_edges[1:-1]),
            np.split(keys, call.key_edges[1:-1]),
            strict=True,
        ):
            for number, each in enumerate(asked):
                last = len(answering) - (
                    len(asked) - 1 - number if call.causal or call.window else 0
                )
                seen[each, answering[max(0, last - (call.window or last)) : last]] += 1
    np.testing.assert_array_equal(seen, expected.astype(int))
    assert len(calls) <= 3, "however many nodes there are"
    assert plan.calls(window) is calls, "made once for all layers"


@settings(max_examples=120, deadline=None)
@given(
    data=st.data(),
    row=rows,
    window=windows,
    softcap=st.sampled_from([None, 2.0]),
    has_sinks=st.booleans(),
    kernels=st.sampled_from([None, CpuFlash(), PlainVarlen()]),
)
def test_every_way_has_the_output_and_the_gradients_of_one_dense_mask(
    data: Any,
    row: PackedRow,
    window: int | None,
    softcap: float | None,
    has_sinks: bool,
    kernels: FlashKernels | None,
) -> None:
    places = data.draw(asked_places(row))
    mask = torch.from_numpy(sees(row, window))
    given_states = states(
        len(row.position_ids) if places is None else len(places), len(row.position_ids)
    )
    plan = plan_of(row, places, kernels)
    sinks = torch.linspace(-2, 3, HEADS, dtype=torch.float64).requires_grad_()
    s_aux = sinks if has_sinks else None
    options = {"sliding_window": window, "softcap": softcap, "s_aux": s_aux, "plan": plan}
    output, _ = attend(None, *given_states, None, 0.3, **options)
    dense = mask if places is None else mask[places]
    expected = brute_force(*given_states, dense, 0.3, softcap, s_aux)
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn_like(expected)
    inputs = (*given_states, sinks) if has_sinks else given_states
    found, wanted = (torch.autograd.grad(each, inputs, upstream) for each in (output, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_a_plan_remembers_which_ways_were_used() -> None:
    row = forest([(5, 0), (4, 1)])
    plan = plan_for(row, None, CPU, CpuFlash(), set())
    attend(None, *states(9, 9), None, plan=plan)
    assert plan.ways == {CpuFlash.name}
    attend(None, *states(9, 9), None, softcap=3.0, plan=plan)
    assert plan.ways == {CpuFlash.name, GENERAL}


@pytest.mark.parametrize(("window", "num_calls"), [(None, 2), (3, 1)])
def test_the_gpu_kernels_take_their_arguments_and_give_their_shapes(
    window: int | None, num_calls: int
) -> None:
    """On the meta device, which checks the operators of the installed version without a GPU."""
    meta = torch.device("meta")
    row = forest([(5, 0), (4, 1), (3, 1)])
    query, key, value = (
        torch.empty(12, heads, WIDTH, dtype=torch.bfloat16, device=meta, requires_grad=True)
        for heads in (HEADS, GROUPS, GROUPS)
    )
    kernels, calls = CudaFlash(), plan_calls(row.nodes, None, window, meta)
    assert len(calls) == num_calls
    assert kernels.takes(query, window)
    assert not kernels.takes(query.float(), window), "flash attention supports half precision only"
    output = attend_jointly(query, key, value, calls, kernels, 0.3)
    gradients = torch.autograd.grad(output, (query, key, value), torch.empty_like(output))
    assert [gradient.shape for gradient in gradients] == [query.shape, key.shape, value.shape]
    assert {gradient.dtype for gradient in gradients} == {torch.bfloat16}


def test_each_device_has_its_kernels() -> None:
    assert isinstance(kernels_for(CPU), CpuFlash)
    assert kernels_for(torch.device("meta")) is None
