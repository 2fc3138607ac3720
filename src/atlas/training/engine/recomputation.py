"""Keeps only matrix products and attention of a layer for its backward pass.

Norms, activations, products, casts and rotary embeddings are computed again, from the results that
are kept. They are more than half of what autograd keeps of a layer, but take little of its time.
(Selective activation recomputation: Korthikanti et al., arXiv 2205.05198, recompute attention too,
which flash attention makes unnecessary.)

PyTorch's `create_selective_checkpoint_contexts` is not used: it counts the calls of every operator,
so it stops where autocast takes a cast from its cache, and it does not support operations in place
on a kept result (a bias that is added to a product of experts).
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

# The operators whose results are kept, by name: some exist only on some devices.
_KEPT = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "_grouped_mm",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_flash_attention_forward",
)


def recompute_cheap_operations(layer: Any, applies: Callable[[Tensor], bool]) -> Callable[..., Any]:
    """A forward pass of `layer` that keeps only matrix products and attention.

    Args:
        applies: whether to do so in a pass with these hidden states, shape [B, T, H].

    Raises:
        ValueError: computing the layer again is not cheap.
    """
    if not is_cheap_again(layer):
        raise ValueError(f"{type(layer).__name__} has a convolution, so computing it again is slow")
    forward = layer.forward
    # Operators whose result was forgotten and computed again.
    lacked: list[Any] = []

    def forward_and_keep_little(*arguments: Any, **options: Any) -> Any:
        checkpoints = getattr(layer, "gradient_checkpointing", False) and layer.training
        states = (*arguments, *options.values())[0]
        if checkpoints or not torch.is_grad_enabled() or not applies(states):
            return forward(*arguments, **options)
        kept = _KeptResults(lacked)
        contexts = functools.partial(_contexts, kept)
        found = checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts, **options)
        if not lacked:
            kept.forget_last()
        return found

    return forward_and_keep_little


def is_cheap_again(layer: Any) -> bool:
    """Whether all but matrix products and attention of `layer` takes little time.

    Layers with a convolution carry a state from token to token, which takes long to compute.
    """
    return not any(isinstance(module, nn.Conv1d | nn.Conv2d) for module in layer.modules())


def _contexts(kept: _KeptResults) -> tuple[TorchDispatchMode, TorchDispatchMode]:
    """The contexts of a forward pass and of its recomputation."""
    return _Keeping(kept), _Giving(kept)


class _KeptResults:
    """The results of the kept operators, in the order of their calls.

    Args:
        lacked: gets the operators whose result was forgotten and has to be computed again.
    """

    def __init__(self, lacked: list[Any]) -> None:
        self._lacked = lacked
        self._calls: deque[_Call] = deque()
        # Where the memory of each result is used. All results are in memory, so no two share it.
        self._users: defaultdict[int, list[_Call]] = defaultdict(list)

    def add(self, operator: Any, found: Any) -> None:
        call = _Call(operator, found)
        self._calls.append(call)
        for result in call.tensors():
            self._users[_memory(result)].append(call)

    def copy_before_change(self, changed: Tensor) -> None:
        """Copy the results that an operation in place is about to change."""
        for call in self._users.pop(_memory(changed), ()):
            call.copy_results()

    def forget_last(self) -> None:
        """Forget what the last call returned.

        Most layers end with a matrix product whose result is only added to the hidden states. So
        their backward pass does not need it, and computing again stops before it.
        """
        if self._calls:
            self._calls[-1].forget()

    def take(self, operator: Any, run: Callable[[], Any]) -> Any:
        """The result of the next call, which is of this operator; `run` makes a forgotten one."""
        self._users.clear()
        if not self._calls:
            raise RuntimeError(
                "a second backward pass through a layer with recomputation: its results are kept "
                "for one. Compute the loss again."
            )
        call = self._calls.popleft()
        if call.operator is not operator:
            raise RuntimeError(
                f"a layer that is computed again calls {operator}, expected {call.operator} as in "
                "its forward pass. Set engine.recompute=false."
            )
        if call.is_forgotten:
            self._lacked.append(operator)
            return run()
        return call.results()


class _Call:
    """A call of an operator, with what it returned: a tensor, or a tuple of tensors and others."""

    def __init__(self, operator: Any, found: Any) -> None:
        self.operator = operator
        self._is_tuple = isinstance(found, tuple)
        # A result that knew its graph would keep itself in memory.
        detached = (
            _detached(one) if isinstance(one, Tensor) else one
            for one in (found if self._is_tuple else (found,))
        )
        self._found: tuple[Any, ...] = tuple(detached)
        self._versions = self._versions_now()
        self.is_forgotten = False

    def forget(self) -> None:
        self._found, self._versions, self.is_forgotten = (), [], True

    def tensors(self) -> Iterator[Tensor]:
        return (one for one in self._found if isinstance(one, Tensor))

    def copy_results(self) -> None:
        copied = (one.clone() if isinstance(one, Tensor) else one for one in self._found)
        self._found = tuple(copied)
        self._versions = self._versions_now()

    def results(self) -> Any:
        if self._versions != self._versions_now():
            raise RuntimeError(
                f"the result of {self.operator} was changed in place after its layer, so it cannot "
                "be used again. Set engine.recompute=false."
            )
        return self._found if self._is_tuple else self._found[0]

    def _versions_now(self) -> list[int]:
        return [one._version for one in self.tensors()]


class _Keeping(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operator and keeps some results."""

    def __init__(self, kept: _KeptResults) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = kept

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        for tensor in _changed(operator, arguments, options or {}):
            self._kept.copy_before_change(tensor)
        found = operator(*arguments, **(options or {}))
        if operator in _kept_operators():
            self._kept.add(operator, found)
        return found


class _Giving(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operator whose result is not kept."""

    def __init__(self, kept: _KeptResults) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = kept

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        if operator in _kept_operators():
            return self._kept.take(operator, lambda: operator(*arguments, **(options or {})))
        return operator(*arguments, **(options or {}))


def _changed(operator: Any, arguments: Any, options: Any) -> Iterator[Tensor]:
    """The tensors that an operator changes in place."""
    schema = getattr(operator, "_schema", None)
    if schema is None or not schema.is_mutable:
        return
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        given = arguments[index] if index < len(arguments) else options.get(argument.name)
        for one in given if isinstance(given, list | tuple) else (given,):
            if isinstance(one, Tensor):
                yield one


def _detached(tensor: Tensor) -> Tensor:
    """The same memory with the same count of changes in place, which autograd's layer shares."""
    with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False):
        return tensor.detach()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@functools.cache
def _kept_operators() -> frozenset[Any]:
    packets = (getattr(torch.ops.aten, name) for name in _KEPT if hasattr(torch.ops.aten, name))
    overloads = ([getattr(packet, name) for name in packet.overloads()] for packet in packets)
    return frozenset(itertools.chain.from_iterable(overloads))
