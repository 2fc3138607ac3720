"""Attention over a packed row: each node attends to itself causally and to the nodes above it.

A T × T mask of the whole row would make packing slow, so none is made. If the device has a flash
kernel, a few calls of it are joined exactly (`attention_calls.py`, `joined_attention.py`,
`flash_kernels.py`). What the kernel does not support goes node by node (`masked_attention.py`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.training.engine.attention_calls import AttentionCall, plan_calls
from atlas.training.engine.device_arrays import to_device
from atlas.training.engine.flash_kernels import FlashKernels
from atlas.training.engine.joined_attention import attend_jointly
from atlas.training.engine.masked_attention import attend_with_masks
from atlas.training.engine.packed_rows import PackedRow

# The name in transformers' table of attention functions. It gets no mask.
IMPLEMENTATION = "atlas_packed_rows"
GENERAL = "masks, node by node"


class AttentionPlan:
    """Which tokens of a row attend to which, for all layers.

    Arrays for the device are made at the first layer and kept.

    Attributes:
        nodes: the nodes of the packed row; their tokens are the keys.
        queries: for each node the tokens of the row that ask, ascending; None: all do.
        longest: tokens of the longest sequence.
        kernels: the flash kernels to use if they can; None: the general way.
        ways: collects the names of the implementations that are used.
    """

    def __init__(
        self,
        row: PackedRow,
        device: torch.device,
        kernels: FlashKernels | None,
        ways: set[str],
        queries: tuple[NDArray[np.int64], ...] | None = None,
    ) -> None:
        self.nodes = row.nodes
        self.queries = queries
        self.longest = max(node.position + node.end - node.start for node in row.nodes)
        self.kernels = kernels
        self.ways = ways
        self._row = row
        self._device = device
        self._calls: dict[int | None, tuple[AttentionCall, ...]] = {}

    @cached_property
    def positions(self) -> Tensor:
        """Shape [Q]; the place of each query in its sequence."""
        positions = self._row.position_ids
        asked = positions if self.queries is None else positions[np.concatenate(self.queries)]
        return to_device(asked, self._device)

    @cached_property
    def sequences(self) -> tuple[tuple[tuple[int, ...], slice | Tensor], ...]:
        """For each sequence, its nodes and its places in the row.

        A sequence with which another one begins is part of that one.
        """
        inner = {index for node in self.nodes for index in node.ancestors}
        paths = [
            (*node.ancestors, index) for index, node in enumerate(self.nodes) if index not in inner
        ]
        return tuple((path, self._places(path)) for path in paths)

    def _places(self, path: tuple[int, ...]) -> slice | Tensor:
        nodes = [self.nodes[index] for index in path]
        if len(nodes) == 1:
            return slice(nodes[0].start, nodes[0].end)
        places = np.concatenate([np.arange(node.start, node.end) for node in nodes])
        return to_device(places, self._device)

    @property
    def counts(self) -> list[int]:
        """Queries of each node."""
        if self.queries is None:
            return [node.end - node.start for node in self.nodes]
        return [len(places) for places in self.queries]

    def calls(self, window: int | None) -> tuple[AttentionCall, ...]:
        """The calls of a flash kernel under this sliding window."""
        if window not in self._calls:
            self._calls[window] = plan_calls(self.nodes, self.queries, window, self._device)
        return self._calls[window]


def plan_for(
    row: PackedRow,
    places: NDArray[np.int64] | None,
    device: torch.device,
    kernels: FlashKernels | None,
    ways: set[str],
) -> AttentionPlan:
    """The plan with the tokens at `places` (ascending) as queries; None: all tokens."""
    if places is None:
        return AttentionPlan(row, device, kernels, ways)
    edges = np.searchsorted(places, [node.end for node in row.nodes])
    return AttentionPlan(row, device, kernels, ways, tuple(np.split(places, edges[:-1])))


def register() -> None:
    """Make the function known to transformers as IMPLEMENTATION."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, attend)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    plan: AttentionPlan | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function for transformers: [1, H, Q, D] over [1, G, T, D] -> [1, Q, H, D].

    Args:
        s_aux: shape [H]; transformers' name for the scores of attention sinks.
    """
    if plan is None:
        raise RuntimeError(
            "attention over packed rows was called without a plan, expected one: this model does "
            "not pass it on."
        )
    if attention_mask is not None:
        raise RuntimeError(
            f"{type(module).__name__} passes a mask of its own, expected none: attention over "
            "packed rows follows the rows."
        )
    device, dtype = query.device.type, value.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = None if sliding_window is None or sliding_window >= plan.longest else sliding_window
    kernels = plan.kernels
    is_plain = softcap is None and not dropout and query.shape[-1] == value.shape[-1]
    if kernels is not None and is_plain and kernels.takes(query, window):
        plan.ways.add(kernels.name)
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        how = plan.calls(window), kernels, scaling, s_aux
        return attend_jointly(query, key, value, *how)[None], None
    plan.ways.add(GENERAL)
    asked = plan.nodes, plan.counts, plan.positions
    attended = attend_with_masks(
        query, key, value, *asked, scaling, dropout, window, softcap, s_aux
    )
    return attended.transpose(1, 2).contiguous(), None
