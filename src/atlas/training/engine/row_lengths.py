"""Finds what depends on the length of a row: tables of masks, and some rotary embeddings.

Longrope chooses between two sets of factors by the length of the row. Dynamic NTK computes its
factors from the longest sequence that it has seen. So the result of a sequence depends on its
neighbors, and under dynamic NTK also on earlier passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def tokens_of_mask_tables(model: Any) -> int:
    """The number of tokens of the smallest table of masks in the model; 0: it has none."""
    shapes = [buffer.shape for buffer in model.buffers() if buffer.dim() >= 2]
    return min((shape[-1] for shape in shapes if shape[-1] == shape[-2] > 1), default=0)


def length_with_fixed_factors(model: Any) -> int | None:
    """The number of tokens up to which the factors do not change; None: they never change."""
    lengths = []
    for module, prefix in _dynamic_rotaries(model):
        given = module.config.rope_parameters
        given = given.get(prefix.removesuffix("_"), given) if prefix else given
        of_longrope = given.get("original_max_position_embeddings")
        lengths.append(int(of_longrope or module.original_max_seq_len))
    return min(lengths, default=None)


def problem_of_lengths(fixed: int | None, longest: int) -> str | None:
    """Why sequences of up to `longest` tokens may not share a pass; None: they may.

    Args:
        fixed: what `length_with_fixed_factors` gives.
    """
    if fixed is None or longest <= fixed:
        return None
    return (
        "its rotary embedding takes its factors from the longest sequence of a pass "
        f"(beyond {fixed:,} tokens)"
    )


def forget_lengths(model: Any) -> None:
    """Reset dynamic NTK, so that its factors depend on the next pass only."""
    for module, prefix in _dynamic_rotaries(model):
        cached = f"{prefix}max_seq_len_cached"
        seen = getattr(module, cached, None)
        if seen is not None and seen > module.original_max_seq_len:
            original = getattr(module, f"{prefix}original_inv_freq")
            buffer = getattr(module, f"{prefix}inv_freq")
            setattr(module, f"{prefix}inv_freq", original.to(buffer.device))
            setattr(module, cached, module.original_max_seq_len)


def _dynamic_rotaries(model: Any) -> Iterator[tuple[Any, str]]:
    """Each module with such factors, and the prefix of its attributes (a type of layers)."""
    for module in model.modules():
        types = getattr(module, "rope_type", None)
        of_layers = types if isinstance(types, dict) else {"": types}
        for layer_type, rope_type in of_layers.items():
            if isinstance(rope_type, str) and (rope_type == "longrope" or "dynamic" in rope_type):
                yield module, f"{layer_type}_" if layer_type else ""
