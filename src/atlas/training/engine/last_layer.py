"""Computes the last decoder layer only at positions that predict a supervised token.

Its other outputs are not used. But its keys and values are needed at all positions, so the layer
runs twice, unchanged. The first run is over all tokens and stops when keys and values are written
to a cache. The second run is over the kept tokens, with a cache that returns these keys and values.
So it works for any layer that follows transformers' cache interface.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from atlas.training.engine.packed_attention import AttentionPlan
from atlas.training.engine.sequence_mixers import RowInUse


def prune_layer(layer: Any, row: RowInUse) -> Callable[..., Any]:
    """A forward pass of `layer` that returns [1, K, H] for `kept` (indices, shape [K]).

    Args:
        row: the row of the pass.
    """
    # Without gradient checkpointing: recomputing this layer would save nothing, because the
    # backward pass begins with it.
    own = layer.__dict__.get("forward")
    forward = partial(inspect.unwrap(type(layer).forward), layer) if own is None else own

    def forward_kept(
        hidden_states: Tensor,
        *arguments: Any,
        kept: Tensor,
        kept_plan: AttentionPlan,
        plan: AttentionPlan,
        **options: Any,
    ) -> Any:
        options.pop("past_key_values", None)
        states = _Reader()
        try:
            forward(hidden_states, *arguments, past_key_values=states, plan=plan, **options)
            raise RuntimeError(
                f"{type(layer).__name__} wrote no keys and values, expected one call of "
                "past_key_values.update."
            )
        except _HasRead:
            pass
        length = hidden_states.shape[1]
        chosen = {name: _choose(option, kept, length) for name, option in options.items()}
        chosen |= {"past_key_values": _Giver(states.given), "plan": kept_plan}
        row.plan = kept_plan
        try:
            return forward(hidden_states[:, kept], *arguments, **chosen)
        finally:
            row.plan = plan

    return forward_kept


class _HasRead(Exception):
    """Raised when keys and values are written, to stop the layer."""


class _Reader:
    """A cache that keeps what it is given and stops the layer."""

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.given = key, value
        raise _HasRead


@dataclass
class _Giver:
    """A cache that returns the keys and values of all tokens, whatever it is given."""

    states: tuple[Tensor, Tensor]

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self.states


def _choose(option: Any, kept: Tensor, length: int) -> Any:
    """The kept entries of an option with one per token (position ids, rotary, [1, T, …])."""
    if isinstance(option, Tensor) and option.dim() >= 2 and option.shape[1] == length:
        return option[:, kept]
    if isinstance(option, tuple):
        return tuple(_choose(part, kept, length) for part in option)
    return option
