"""Gradient through the supervised tokens only, or also through a window before them. Not exact.

The loss is exact, its gradient is not. The context runs once without gradient, and its keys and
values are kept. Then the live tokens run again. They attend to the context as constants, and to
each other as usual. So time and memory of the backward pass depend only on the live tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from atlas.training.engine.packed_attention import AttentionPlan
from atlas.training.engine.sequence_mixers import RowInUse


def run_live(
    decoder: Any,
    row: RowInUse,
    input_ids: Tensor,
    position_ids: Tensor,
    plan: AttentionPlan,
    live: Tensor,
    live_plan: AttentionPlan,
) -> Tensor:
    """The last hidden states of the live tokens, shape [1, L, H].

    Args:
        row: the row of the pass.
        input_ids: shape [1, T]; position_ids and plan are those of the same packed row.
        live: shape [L]; positions in the row through which the gradient flows, ascending.
        live_plan: the attention plan of the live tokens.
    """
    tokens = {"input_ids": input_ids, "position_ids": position_ids}
    context = _Context()
    with torch.no_grad():
        decoder(**tokens, plan=plan, past_key_values=context, use_cache=False)
    # The autocast cache holds weights without gradient, which the live tokens must not use.
    torch.clear_autocast_cache()
    tokens = {name: tensor[:, live] for name, tensor in tokens.items()}
    cache = _LiveInContext(context.states, live)
    row.plan = live_plan
    states = decoder(**tokens, plan=live_plan, past_key_values=cache, use_cache=False)
    hidden: Tensor = states.last_hidden_state
    return hidden


@dataclass
class _Context:
    """A cache that keeps the keys and values of each layer."""

    states: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def update(
        self, key: Tensor, value: Tensor, layer_index: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self.states[layer_index] = (key, value)
        return key, value


@dataclass
class _LiveInContext:
    """A cache that puts keys and values of live tokens, with gradient, among those of the context.

    It changes no state, so a layer may be recomputed under gradient checkpointing.
    """

    states: dict[int, tuple[Tensor, Tensor]]
    live: Tensor

    def update(
        self, key: Tensor, value: Tensor, layer_index: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        keys, values = self.states[layer_index]
        return keys.index_copy(2, self.live, key), values.index_copy(2, self.live, value)
