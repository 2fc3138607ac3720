"""Runs modules that mix the tokens of a sequence one sequence at a time, inside a packed row.

Convolutions, state-space layers, linear attention, and attention that a family computes itself know
nothing of the sequences of a row. Such a module runs once for each sequence, from its first token
and with an empty state, while all other modules run once for the row. A prompt that sequences share
is mixed again for each of them, and everything else of it is computed once.

A token mixer is known by its interface: when a model generates text, it needs a cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, ModuleList

from atlas.training.engine.packed_attention import AttentionPlan
from atlas.training.engine.replaced_forwards import ReplacedForwards

# What transformers calls a cache, or the request for one.
_CACHES = frozenset(
    {"past_key_values", "past_key_value", "cache_params", "layer_past", "state", "use_cache"}
)
_ATTENTION_TABLE = "ALL_ATTENTION_FUNCTIONS"


@dataclass
class RowInUse:
    """The packed row of the pass that is running, for the modules of a model."""

    plan: AttentionPlan | None = None


def put_in_mixers(
    decoder: Module, row: RowInUse, own_attention: bool, replaced: ReplacedForwards
) -> bool:
    """Give the token mixers of `decoder` a forward pass that follows the row.

    Args:
        own_attention: whether attention too runs by sequence, as the model computes it, instead of
            through `packed_attention.py`.

    Returns:
        Whether some of them run once for each sequence.
    """
    runs_by_sequence = False
    # Layers may share a module.
    for module in dict.fromkeys(_mixers(decoder)):
        follows = _uses_attention_table(module) and not own_attention
        runs_by_sequence |= not follows
        changed = (_with_plan if follows else _by_sequence)(module, module.forward, row)
        replaced.put_in(module, changed)
    return runs_by_sequence


def _mixers(module: Module) -> Iterator[Module]:
    """The modules inside that use a cache themselves, instead of passing it on."""
    for child in module.children():
        inside = [] if _uses_attention_table(child) else list(_mixers(child))
        # A layer without a mixer, such as a layer of experts only, takes a cache and ignores it.
        if inside or isinstance(module, ModuleList) or not _takes_cache(child):
            yield from inside
        else:
            yield child


def _takes_cache(module: Module) -> bool:
    return bool(_CACHES & inspect.signature(type(module).forward).parameters.keys())


def _uses_attention_table(module: Module) -> bool:
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    return _takes_cache(module) and code is not None and _ATTENTION_TABLE in code.co_names


def _with_plan(module: Module, forward: Callable[..., Any], row: RowInUse) -> Callable[..., Any]:
    """Attention over the row. A few families do not pass the plan on to their attention."""

    def forward_with_plan(*arguments: Any, **options: Any) -> Any:
        return forward(*arguments, **{"plan": row.plan, **options})

    return forward_with_plan


def _by_sequence(module: Module, forward: Callable[..., Any], row: RowInUse) -> Callable[..., Any]:
    def forward_by_sequence(*arguments: Any, **options: Any) -> Any:
        plan = options.pop("plan", None) or row.plan
        caches = (options.get(name) for name in _CACHES)
        if plan is None or plan.queries is not None or any(map(_is_cache, caches)):
            raise RuntimeError(
                f"{type(module).__name__} keeps a state and runs on whole sequences only."
            )
        return run_by_sequence(forward, plan, arguments, options)

    return forward_by_sequence


def _is_cache(option: Any) -> bool:
    return option is not None and not isinstance(option, bool)


def run_by_sequence(
    forward: Callable[..., Any],
    plan: AttentionPlan,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """The output of `forward` for all tokens of the row, [1, T, H], from a call per sequence.

    Args:
        arguments: those of `forward` for the row. What has an entry per token is cut.

    Returns:
        What `forward` returns. Further entries of a tuple, such as the choice of keys that later
        layers use too, are kept for each sequence.
    """
    lengths = [node.end - node.start for node in plan.nodes]
    num_tokens = sum(lengths)
    parts: dict[int, Tensor] = {}
    results: list[Any] = []
    for number, (path, places) in enumerate(plan.sequences):
        cut = _Cut(number, places, sum(lengths[node] for node in path), num_tokens)
        found = forward(*map(cut, arguments), **{name: cut(one) for name, one in options.items()})
        results.append(found)
        states = found[0] if isinstance(found, tuple) else found
        # The sequences of a node agree on its output: none sees what comes later.
        of_nodes = states.split([lengths[node] for node in path], dim=1)
        parts = dict(zip(path, of_nodes, strict=True)) | parts
    joined = torch.cat([parts[node] for node in range(len(lengths))], dim=1)
    if not isinstance(results[0], tuple):
        return joined
    others = zip(*(found[1:] for found in results), strict=True)
    return (joined, *map(_joined, others))


def _joined(results: tuple[Any, ...]) -> Any:
    """What is the same for all sequences, such as None or a parameter; or one for each."""
    return results[0] if all(one is results[0] for one in results) else _OfSequences(results)


@dataclass(frozen=True, slots=True)
class _OfSequences:
    """What a mixer returned for each sequence of the row."""

    results: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Takes what belongs to one sequence of the row.

    Attributes:
        number: which sequence of the row it is.
        places: its places in the row.
        length: its tokens.
        num_tokens: the tokens of the row.
    """

    number: int
    places: slice | Tensor
    length: int
    num_tokens: int

    def __call__(self, given: Any) -> Any:
        if isinstance(given, tuple | list):
            return type(given)(self(one) for one in given)
        if isinstance(given, dict):
            return {name: self(one) for name, one in given.items()}
        if isinstance(given, _OfSequences):
            return given.results[self.number]
        if not isinstance(given, Tensor) or given.dim() < 2:
            return given
        if given.shape[1] == self.num_tokens:
            return given[:, self.places]
        if given.shape[-1] == self.num_tokens == given.shape[-2]:
            return given[..., self.places, :][..., self.places]
        if given.shape[-1] == self.num_tokens:
            # A bias by distance (ALiBi) has one row for all queries, and begins at the first key.
            return given[..., : self.length]
        return given
