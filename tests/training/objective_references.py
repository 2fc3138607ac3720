"""The factor of one token under each objective, in NumPy and float64, from its row of logits.

None of it uses the code of the objectives. `reference_losses` gives the loss with these factors,
one sequence at a time, from all logits, without any code of the engine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.training.examples import TrainingExample

Row = NDArray[np.float64]

# Settings under which random predictions are on both sides of every limit.
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "dft": {},
    "eaft": {"alpha": 0.7, "top_tokens": 11},
    "eksft": {"max_entropy": 2.6, "max_kl": 0.2},
    "clip": {"high": 0.1, "low": 0.3},
    "mask_low_probability": {"min_probability": 0.01},
}
# The same, where a setting chooses another way.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *SETTINGS.items(),
    ("eksft", SETTINGS["eksft"] | {"mask": "both"}),
    ("mask_low_probability", SETTINGS["mask_low_probability"] | {"under": "model"}),
]


def softmax(logits: Row) -> Row:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def entropy(probabilities: Row) -> float:
    likely = probabilities[probabilities > 0]
    return float(-(likely * np.log(likely)).sum())


def divergence(of_model: Row, of_base: Row) -> float:
    likely = of_model > 0
    return float((of_model[likely] * np.log(of_model[likely] / of_base[likely])).sum())


def none(token: int, weight: float, of_model: Row, of_base: Row) -> float:
    return 1.0


def dft(token: int, weight: float, of_model: Row, of_base: Row) -> float:
    return float(of_model[token])


def eaft(
    token: int, weight: float, of_model: Row, of_base: Row, alpha: float, top_tokens: int
) -> float:
    top = np.sort(of_model)[::-1][:top_tokens]
    return float((entropy(top / top.sum()) / np.log(len(top))) ** alpha)


def eksft(
    token: int,
    weight: float,
    of_model: Row,
    of_base: Row,
    max_entropy: float,
    max_kl: float,
    mask: str = "either",
) -> float:
    high = [entropy(of_model) > max_entropy, divergence(of_model, of_base) > max_kl]
    return 0.0 if (any(high) if mask == "either" else all(high)) else 1.0


def clip(token: int, weight: float, of_model: Row, of_base: Row, high: float, low: float) -> float:
    """The slope of PPO's objective, from its value at two ratios."""
    ratio = float(of_model[token] / of_base[token])

    def value(ratio: float) -> float:
        clipped = min(max(ratio, 1 - low), 1 + high)
        objective = min(weight * ratio, weight * clipped)
        return max(objective, 10.0 * weight) if weight < 0 else objective

    step = 1e-7 * ratio
    slope = (value(ratio + step) - value(ratio - step)) / (2 * step)
    return ratio if abs(slope) > 0.5 * abs(weight) else 0.0


def mask_low_probability(
    token: int,
    weight: float,
    of_model: Row,
    of_base: Row,
    min_probability: float,
    under: str = "base",
) -> float:
    return float((of_base if under == "base" else of_model)[token] >= min_probability)


FACTORS: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (none, dft, eaft, eksft, clip, mask_low_probability)
}


def factor(
    name: str, settings: dict[str, Any], token: int, weight: float, logits: Row, base_logits: Row
) -> float:
    rows = softmax(logits.astype(np.float64)), softmax(base_logits.astype(np.float64))
    return FACTORS[name](token, weight, *rows, **settings)


def _rows(
    model: Any, base: Any, one: TrainingExample
) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]:
    """Logits of model and base, shape [T, V], and the places that predict supervised tokens."""
    ids = torch.from_numpy(one.input_ids).long()[None]
    logits = model(input_ids=ids, use_cache=False).logits[0].double()
    with torch.no_grad():
        base_logits = base(input_ids=ids, use_cache=False).logits[0].double()
    return logits, base_logits, np.flatnonzero(one.labels[1:] != -100)


def between(
    name: str,
    settings: dict[str, Any],
    model: Any,
    base: Any,
    examples: Sequence[TrainingExample],
) -> dict[str, Any]:
    """The settings with limits that lie between the values of these tokens."""
    found: dict[str, list[float]] = {"max_entropy": [], "max_kl": [], "min_probability": []}
    for one in examples:
        logits, base_logits, places = _rows(model, base, one)
        for place in places:
            rows = logits[place].detach().numpy(), base_logits[place].numpy()
            of_model, of_base = map(softmax, rows)
            found["max_entropy"].append(entropy(of_model))
            found["max_kl"].append(divergence(of_model, of_base))
            under_base = settings.get("under", "base") == "base"
            found["min_probability"].append(
                (of_base if under_base else of_model)[one.labels[place + 1]]
            )
    limits = {key: _widest_gap(values) for key, values in found.items()}
    return settings | {key: limits[key] for key in limits.keys() & settings.keys()}


def _widest_gap(values: Sequence[float]) -> float:
    """The middle of the widest gap in the middle half, so that rounding moves nothing across."""
    ordered = np.sort(values)[len(values) // 4 : -(len(values) // 4)]
    gap = int(np.diff(ordered).argmax())
    return float(ordered[gap : gap + 2].mean())


def reference_losses(
    model: Any,
    base: Any,
    examples: Sequence[TrainingExample],
    name: str,
    settings: dict[str, Any],
) -> tuple[torch.Tensor, list[float]]:
    """Σ w · factor · (−log π) and Σ KL(base ‖ π), shape [2]; and every factor."""
    sums, factors = torch.zeros(2, dtype=torch.float64), []
    for one in examples:
        logits, base_logits, places = _rows(model, base, one)
        log_probs, of_base = logits.log_softmax(-1), base_logits.log_softmax(-1)
        for place in places:
            token = int(one.labels[place + 1])
            weight = 1.0 if one.weights is None else float(one.weights[place + 1])
            rows = logits[place].detach().numpy(), base_logits[place].numpy()
            factors.append(factor(name, settings, token, weight, *rows))
            sums = sums - torch.stack(
                (weight * factors[-1] * log_probs[place, token], torch.zeros((), dtype=sums.dtype))
            )
        for place in np.flatnonzero(one.anchors):
            divergence = (of_base[place].exp() * (of_base[place] - log_probs[place])).sum()
            sums = sums + torch.stack((torch.zeros((), dtype=sums.dtype), divergence))
    return sums, factors


def with_base_log_probs(base: Any, examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    """The examples with log π of their supervised tokens under `base`."""
    known = []
    for one in examples:
        _, logits, places = _rows(base, base, one)
        of_target = logits.log_softmax(-1)[places, one.labels[1:][places]].numpy()
        known.append(one.with_target_base_log_probs(of_target))
    return known


def frozen_copy(model: Any) -> Any:
    """The model as it is now."""
    return copy.deepcopy(model).requires_grad_(False).eval()
