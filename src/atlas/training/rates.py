"""The learning rate of each optimizer step, as a factor of the peak.

The warm-up of transformers starts at 0 (huggingface/transformers#34754): its first step changes no
weight, and a training of one step returns the base model. Here step k of W warm-up steps has the
factor (k + 1) / (W + 1), so the rate rises in equal parts from the first step to the peak. W leaves
at least one step, so every training reaches the peak. After the warm-up, the schedule is that of
transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from atlas.training.config import TrainConfig


def count_warmup_steps(config: TrainConfig, num_steps: int) -> int:
    """How many of `num_steps` optimizer steps the rate rises in. A constant rate never rises."""
    if config.lr_scheduler == "constant":
        return 0
    return min(math.ceil(config.warmup_ratio * num_steps), num_steps - 1)


def rate_factors(config: TrainConfig, num_steps: int) -> Callable[[int], float]:
    """The function from an optimizer step, the first being 0, to its share of the peak rate."""
    import torch
    from transformers import get_scheduler

    num_warmup_steps = count_warmup_steps(config, num_steps)
    # It is never stepped: only its function is used.
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    schedule = get_scheduler(config.lr_scheduler, optimizer, num_warmup_steps, num_steps)
    (after_warmup,) = schedule.lr_lambdas

    def factor(step: int) -> float:
        if step < num_warmup_steps:
            return (step + 1) / (num_warmup_steps + 1)
        return float(after_warmup(step))

    return factor
