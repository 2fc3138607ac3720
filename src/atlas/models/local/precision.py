"""On which device and in which precision a model is loaded, and what precisions cost here."""

from __future__ import annotations

import functools
import os
import time
from typing import Literal

from atlas.terminal.progress import say

Precision = Literal["auto", "fp32", "bf16"]

# bf16 that takes this many times as long as fp32 is emulated. Native bf16 is never slower by much.
SLOW = 4

# In bf16 on a CPU, oneDNN and PyTorch's layer above it each keep code for the last 1,024 shapes of
# products, half a megabyte each: sequences of new lengths would fill them. Their environment
# variables are read at the first product of the process. A training pass of SmolLM2 over 8,192
# tokens has about 200 shapes.
PRODUCT_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
CACHED_PRODUCTS = 256


def default_device() -> str:
    """The first GPU, or the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: Precision) -> Literal["fp32", "bf16"]:
    """`auto` is bf16 on a GPU that supports it, else fp32 (many CPUs emulate bf16 slowly)."""
    import torch

    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def dtype_name(precision: Precision) -> str:
    """The name of the torch dtype of a precision. Says so if it is a slow one on this machine."""
    if note := note_of_slow_precision(precision):
        say(f"precision: {note}")
    return "bfloat16" if resolve_precision(precision) == "bf16" else "float32"


def note_of_slow_precision(precision: Precision) -> str | None:
    """What to tell a user who sets bf16 on a CPU without instructions for it; else None.

    Such a CPU emulates bf16: on one with AVX2 only, a product took 45 to 67 times as long.
    """
    if precision != "bf16" or default_device() != "cpu" or (factor := _slower_in_bf16()) < SLOW:
        return None
    return (
        f"bf16 is set, but a product in bf16 takes {factor:.0f} times as long as in fp32 on this "
        "CPU; leave precision out, or set precision=fp32"
    )


@functools.cache
def _slower_in_bf16() -> float:
    """The processor time of a product of matrices in bf16 on this CPU, divided by that in fp32."""
    import torch

    bound_product_caches()

    def timed(dtype: torch.dtype) -> float:
        left, right = (torch.ones(shape, dtype=dtype) for shape in ((128, 512), (512, 512)))
        started = time.process_time()
        left @ right
        return time.process_time() - started

    # The first products prepare their code.
    rounds = [(timed(torch.float32), timed(torch.bfloat16)) for _ in range(4)][1:]
    in_fp32, in_bf16 = (min(column) for column in zip(*rounds, strict=True))
    return float(in_bf16 / max(in_fp32, 1e-9))


def bound_product_caches() -> None:
    """Bound the caches of products. It must be called before the first product of the process."""
    for cache in PRODUCT_CACHES:
        os.environ.setdefault(cache, str(CACHED_PRODUCTS))
