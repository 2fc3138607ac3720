"""Arrays to the device that trains, without making the host wait for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(array: NDArray[Any], device: torch.device | str) -> torch.Tensor:
    """A tensor of `array`. On a GPU the copy is queued behind what already runs: the host goes on preparing."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if torch.device(device).type == "cuda"
        else tensor.to(device)
    )
