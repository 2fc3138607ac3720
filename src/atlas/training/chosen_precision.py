"""Which precision `precision: auto` stands for. It is chosen once and kept with the run.

On a GPU it is bf16 where the GPU supports it. On a CPU a short pass is timed: one layer of the
model's config with random weights, forward and backward, in fp32 and under autocast to bf16. A
model with small layers gains little, and a timing could fall either way. It always gets fp32, so
that the same command gives the same bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atlas.errors import first_line
from atlas.models.local.load import read_config
from atlas.models.local.precision import default_device, note_of_slow_precision, resolve_precision
from atlas.store.run_folders import CHOICE_SUFFIX
from atlas.training.config import TrainConfig
from atlas.training.kept_choice import KeptChoice

# bf16 must be faster by this factor to be worth its rounding.
WORTHWHILE = 1.5
# A layer with fewer weights is not timed. SmolLM2-135M has 3.5 million in a layer.
FEWEST_WEIGHTS = 2**20
KEPT_FILE = f"precision{CHOICE_SUFFIX}"
ROUNDS = 3
TOKENS = 1024
# Tokens times weights of the timed layer, about two seconds of a core.
MOST_PRODUCTS = 2**33
VOCABULARY = 512


@dataclass(frozen=True, slots=True)
class ChosenPrecision:
    """A precision and how it was chosen.

    Attributes:
        reason: for people; None: the config or the kind of device sets the precision, and nothing
            speaks against it.
    """

    precision: Literal["fp32", "bf16"]
    reason: str | None = None


def kept_precision(folder: Path | None, shared: Path | None = None) -> KeptChoice[ChosenPrecision]:
    """Where the precision of a run is kept."""
    return KeptChoice(ChosenPrecision, KEPT_FILE, folder, shared)


def keep_precision(
    config: TrainConfig, location: str, folder: Path, shared: Path | None = None
) -> ChosenPrecision:
    """The precision of a run, chosen now or when the run was started.

    Args:
        location: where the files of the model are.
        folder: the folder of the states to resume from.
        shared: the folder that has the choice of all runs that are compared, if there are others.
    """
    if config.precision != "auto":
        return choose_precision(config, location)
    return kept_precision(folder, shared).read_or_make(lambda: choose_precision(config, location))


def choose_precision(config: TrainConfig, location: str) -> ChosenPrecision:
    """What the config asks for; for `auto` on a CPU, what a short pass shows to be faster."""
    if config.precision != "auto" or default_device() != "cpu":
        note = note_of_slow_precision(config.precision)
        return ChosenPrecision(resolve_precision(config.precision), note)
    import torch

    try:
        # Random weights must not change the random numbers of the training.
        with torch.random.fork_rng(devices=[]):
            layer = _one_layer(read_config(location))
        weights = sum(one.numel() for one in layer.parameters())
        if weights < FEWEST_WEIGHTS:
            return ChosenPrecision("fp32", f"its layers are small ({weights:,} weights)")
        seconds = _time_layer(layer, weights)
    except Exception as error:
        # Some architectures cannot be made with one layer. Their own code raises anything.
        reason = f"one layer cannot be timed ({type(error).__name__}: {first_line(error)})"
        return ChosenPrecision("fp32", reason)
    ratio = seconds["fp32"] / seconds["bf16"]
    reason = (
        f"one layer takes {seconds['fp32']:.3f} s in fp32 and {seconds['bf16']:.3f} s in bf16, "
        f"which is {ratio:.1f} times as fast ({WORTHWHILE:g} times is needed)"
    )
    return ChosenPrecision("bf16" if ratio >= WORTHWHILE else "fp32", reason)


def _time_layer(model: Any, weights: int) -> dict[str, float]:
    """Processor seconds of a pass in each precision, the least of a few rounds in turn."""
    import numpy as np
    import torch

    from atlas.training.engine.exact_engine import PARTS, Engine
    from atlas.training.examples import TrainingExample

    length = min(TOKENS, max(64, MOST_PRODUCTS // weights))
    ids = np.arange(length) % VOCABULARY
    example = TrainingExample("timed", ids.astype(np.int32), ids.astype(np.int64))
    engine = Engine(model)
    engine.put_in(PARTS)

    def run(enabled: bool) -> float:
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = engine.loss(model, [example])
        torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        return time.process_time() - started

    try:
        run(True)
    except Exception:
        # A family that does not support the parts is timed without them.
        engine.put_in(())
        run(True)
    rounds = [(run(False), run(True)) for _ in range(ROUNDS)]
    least = (min(column) for column in zip(*rounds, strict=True))
    return dict(zip(("fp32", "bf16"), least, strict=True))


def _one_layer(settings: Any) -> Any:
    """A model of this config with one layer and a small vocabulary, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    text = settings.get_text_config()
    text.num_hidden_layers, text.vocab_size = 1, VOCABULARY
    text.pad_token_id = text.bos_token_id = text.eos_token_id = None
    if getattr(text, "layer_types", None):
        # The last one: the first may be a special case.
        text.layer_types = list(text.layer_types)[-1:]
    with torch.device("cpu"):
        model: Any = AutoModelForCausalLM.from_config(
            settings, trust_remote_code=False, dtype=torch.float32
        )
    return model.train()
