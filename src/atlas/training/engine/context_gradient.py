"""Gradient through the supervised tokens only, or through a window before them. Not exact.

The loss is exact, its gradient is not. The context runs once without gradient and leaves its keys
and values. The live tokens then run again; they attend to those as constants and to each other as
usual. So the cost of the backward pass, and all that is kept for it, depends on the live tokens.
"""

from __future__ import annotations

from typing import Any

import torch

from atlas.training.engine.packed_attention import AttentionPlan


def run_live(
    decoder: Any,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    plan: AttentionPlan,
    live: torch.Tensor,
    live_plan: AttentionPlan,
) -> torch.Tensor:
    """The last hidden states of the live tokens, shape [1, L, H].

    Args:
        input_ids: shape [1, T]; position_ids and plan are those of the same packed row.
        live: shape [L]; places of the row through which the gradient goes, ascending.
        live_plan: the plan by which they attend.
    """
    context = _Context()
    with torch.no_grad():
        decoder(
            input_ids=input_ids,
            position_ids=position_ids,
            plan=plan,
            past_key_values=context,
            use_cache=False,
        )
    # The cache holds weights that were cast without gradient, which the live tokens must not get.
    torch.clear_autocast_cache()
    states = decoder(
        input_ids=input_ids[:, live],
        position_ids=position_ids[:, live],
        plan=live_plan,
        past_key_values=_LiveInContext(context, live),
        use_cache=False,
    )
    hidden: torch.Tensor = states.last_hidden_state
    return hidden


class _Context:
    """A cache that keeps the keys and values of each layer."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_index: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.states[layer_index] = (key, value)
        return key, value


class _LiveInContext:
    """A cache that puts keys and values of live tokens, with gradient, among those of the context.

    It changes no state, so a layer may be recomputed under gradient checkpointing.
    """

    def __init__(self, context: _Context, live: torch.Tensor) -> None:
        self._context = context
        self._live = live

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_index: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._context.states[layer_index]
        return keys.index_copy(2, self._live, key), values.index_copy(2, self._live, value)
