"""One row of the sweep: what training with the engine computes, against plain training.

The reference shares no code with the engine: the model's own forward in float64, one sequence at a
time, all logits, and a masked cross-entropy of five lines. Training is one step of the Trainer of
`atlas train`, with the parts that `choose_parts` chooses.

A gradient may differ from the reference by what rounding does to plain training in the same
precision, times `TOLERATED`, and by a floor. So no bound depends on the size of the weights.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from family_configs import MOST_PARAMETERS, RANDOM, config_of
from family_tables import POSITIONS, VOCABULARY, WINDOW
from torch import Tensor

from atlas.errors import AtlasError
from atlas.training.config import EngineConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS
from atlas.training.examples import TrainingExample
from atlas.training.trainer import CriticalStepTrainer, collate

# Name -> the type of the weights, and the type in which training computes.
PRECISIONS: dict[str, tuple[torch.dtype, torch.dtype | None]] = {
    "float32": (torch.float32, None),
    "bf16": (torch.float32, torch.bfloat16),
    "bf16 weights": (torch.bfloat16, torch.bfloat16),
}
# Weights of bf16, as below adapters, hide small faults only where weights are small.
SETTINGS = (
    ("usual", "float32"),
    ("usual", "bf16"),
    ("usual", "bf16 weights"),
    ("rescaled", "float32"),
)
OF_DRAWS = (("rescaled", "float32"),)
# How much of the rounding error of plain training is allowed, then of the gradient's own size, then
# of the size of all gradients.
TOLERATED = {
    "float32": (6.0, 2e-4, 3e-7),
    # In bf16 a token may go to another expert in a padded row.
    "bf16": (4.0, 0.2, 1e-4),
    "bf16 weights": (4.0, 0.2, 1e-4),
}
NUM_DRAWS = 24
RECOMPUTES = "recompute"
# What follows the parts of a family whose sequences have separate passes.
ALONE = ", one by one"

Gradients = dict[str, Tensor]
# Some samples -> loss and gradients.
Training = Callable[[Sequence[TrainingExample]], tuple[float, Gradients]]


@dataclass(frozen=True, slots=True)
class Row:
    """What a family gets, and whether it is right.

    Attributes:
        gets: the parts in use or "plain", with "one by one" if no sequences share a pass; or
            "refused". Without `recompute`, which depends on other properties.
        recomputes: whether `recompute` is used.
        said: the reasons for what is not used.
        wrong: each setting (weights, precision) whose loss or gradient is not the reference's.
    """

    name: str
    gets: str
    recomputes: bool = False
    said: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def samples() -> list[TrainingExample]:
    """Two that begin alike, one beyond every length that a config names, and two short ones."""
    rng = np.random.default_rng(7)
    prompt = rng.integers(3, VOCABULARY, WINDOW - 20)
    tails = [rng.integers(3, VOCABULARY, length) for length in (12, WINDOW + 11)]
    alone = [rng.integers(3, VOCABULARY, length) for length in (POSITIONS + 21, 33, 9)]
    made = []
    for ids in [*(np.concatenate([prompt, tail]) for tail in tails), *alone]:
        chosen = rng.random(len(ids)) < 0.3
        chosen[0], chosen[-1] = False, True
        labels = np.where(chosen, ids, -100).astype(np.int64)
        weights = np.where(chosen, rng.uniform(0.5, 2.0, len(ids)), 0.0)
        made.append(TrainingExample("sweep", ids.astype(np.int32), labels, weights=weights))
    return made


def make_model(row: str, weights: str, experts: str | None = None) -> Any:
    """A random model in training mode, the same for each call."""
    config = config_of(row)
    with torch.device("meta"):
        shape = transformers.AutoModelForCausalLM.from_config(config)
    count = sum(parameter.numel() for parameter in shape.parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"{row} has {count:,} parameters, expected at most {MOST_PARAMETERS:,}.")
    torch.manual_seed(0)
    options = {} if experts is None else {"experts_implementation": experts}
    model = transformers.AutoModelForCausalLM.from_config(config_of(row), **options).float()
    return (rescale(model) if weights == "rescaled" else model).train()


@torch.no_grad()
def rescale(model: Any) -> Any:
    """Weights of the size of a trained model's: matrices large, vectors off their first value."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn_like(parameter)
        if parameter.dim() < 2:
            parameter += 0.05 * noise
        elif parameter.std() > 0:
            parameter *= 0.2 / parameter.std()
        else:
            parameter += 0.2 * noise
    return model


def plain_loss(model: Any, one: TrainingExample) -> Tensor:
    """Σ w · −log π of one sequence, from all logits of the model's own forward."""
    ids = torch.from_numpy(one.input_ids).long()
    places = torch.from_numpy(np.flatnonzero(one.labels != -100))
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    weights = torch.ones(len(ids)) if one.weights is None else torch.from_numpy(one.weights)
    loss: Tensor = -(weights[places] * log_probs[places - 1, ids[places]]).sum()
    return loss


def plain_training(
    model: Any, examples: Sequence[TrainingExample], autocast: torch.dtype | None = None
) -> tuple[float, Gradients]:
    """Loss and gradients of all samples, each alone."""
    model.zero_grad()
    total = 0.0
    for one in examples:
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            loss = plain_loss(model, one) + router_loss(model, one)
        torch.autograd.backward(loss)
        total += float(loss.detach())
    return total, gradients_of(model)


def router_loss(model: Any, one: TrainingExample) -> Tensor | float:
    """What plain training adds for balanced experts, if the config asks for it."""
    config = model.config.get_text_config()
    if not getattr(config, "output_router_logits", False):
        return 0.0
    ids = torch.from_numpy(one.input_ids).long()[None]
    weight: float = config.router_aux_loss_coef
    return weight * model(input_ids=ids, use_cache=False).aux_loss  # type: ignore[no-any-return]


def gradients_of(model: Any) -> Gradients:
    return {
        name: parameter.grad.double().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def reference(row: str, weights: str, dtype: torch.dtype) -> tuple[float, Gradients]:
    """Plain training in float64, of weights rounded to `dtype`.

    An architecture that fixes float32 for some of its tensors is computed in float32.
    """
    model = make_model(row, weights, experts="eager").to(dtype).float()
    try:
        return plain_training(copy.deepcopy(model).double(), samples())
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return plain_training(model, samples())


class TrainedStep:
    """A model, the engine chosen for it, and the Trainer around both."""

    def __init__(self, model: Any, autocast: torch.dtype | None, folder: str) -> None:
        self.examples = samples()
        longest = max(len(one.input_ids) for one in self.examples)
        chosen = choose_parts(model, EngineConfig(), None, autocast, None, longest)
        self.said = tuple(f"{part}: {reason}" for part, reason in chosen.left_out.items())
        self.recomputes = RECOMPUTES in chosen.engine.parts
        # These models are too small for it.
        chosen.engine.recomputes_always = True
        used = (part for part in PARTS if part in chosen.engine.parts and part != RECOMPUTES)
        parts = " ".join(used) or "plain"
        self.gets = parts
        if chosen.one_by_one:
            self.gets = f"{parts}{ALONE}"
            self.said += (f"one by one: {chosen.one_by_one}",)
        self.trainer = CriticalStepTrainer(
            model=model,
            args=transformers.TrainingArguments(
                folder,
                use_cpu=True,
                bf16=autocast is not None,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=[tuple(self.examples)],
            data_collator=collate,
            engine=chosen.engine,
            max_tokens=8192,
        )
        # It computes under autocast from here on.
        self.model = self.trainer.accelerator.prepare_model(model)

    def run(self, examples: Sequence[TrainingExample]) -> tuple[float, Gradients]:
        """Loss and gradients of an optimizer step over these samples."""
        self.model.zero_grad()
        inputs = collate([tuple(examples)])
        loss = self.trainer.training_step(self.model, inputs, torch.ones(2, dtype=torch.float64))
        return float(loss), gradients_of(self.model)


def check_row(row: str) -> Row:
    """Compare under all weights and precisions."""
    torch.set_num_threads(1)
    found: dict[str, None] = {}
    recomputes: list[bool] = []
    said: dict[str, None] = {}
    wrong: list[str] = []
    draws = row.rsplit(", ", 1)[-1] in RANDOM
    expected: dict[tuple[str, torch.dtype], tuple[float, Gradients]] = {}
    for weights, precision in OF_DRAWS if draws else SETTINGS:
        dtype, autocast = PRECISIONS[precision]
        with _quiet() as folder:
            try:
                rounded = plain_training(make_model(row, weights).to(dtype), samples(), autocast)
            except Exception as error:
                said[f"{precision}: plain training fails: {_first_line(error)}"] = None
                continue
            try:
                step = TrainedStep(make_model(row, weights).to(dtype), autocast, folder)
                said |= dict.fromkeys(step.said)
                found[step.gets] = None
                recomputes.append(step.recomputes)
                if draws:
                    problem = compare_draws(row, step)
                else:
                    if (weights, dtype) not in expected:
                        expected[weights, dtype] = reference(row, weights, dtype)
                    trained = step.run(step.examples)
                    problem = difference(trained, expected[weights, dtype], rounded, precision)
            except AtlasError as error:
                found["refused"] = None
                said[str(error)] = None
                continue
            except Exception as error:
                problem = _first_line(error)
        if problem:
            wrong.append(f"{weights}, {precision}: {problem}")
    gets = least_of(found)
    if gets is None:
        wrong.append("whether it packs or is refused depends on weights or precision")
    always = bool(recomputes) and all(recomputes)
    return Row(row, gets or " or ".join(found), always, tuple(said), tuple(wrong))


def least_of(found: Collection[str]) -> str | None:
    """The parts that a family gets in all settings; None: the settings do not agree.

    In bf16 rounding can send a token to another expert. Then plain training is far from itself in
    float32, and the check leaves out parts that are exact. A family that has separate passes in one
    setting has them in the table.
    """
    if "refused" not in found and (alone := [one for one in found if one.endswith(ALONE)]):
        return alone[0] if len(alone) == 1 else None
    least = min(found, key=len, default="error")
    parts = set(least.split())
    return least if all(parts <= set(one.split()) for one in found) else None


def difference(
    trained: tuple[float, Gradients],
    expected: tuple[float, Gradients],
    rounded: tuple[float, Gradients],
    precision: str,
) -> str | None:
    """What is further from the reference than rounding explains; None if nothing is."""
    factor, share, floor = TOLERATED[precision]
    off = abs(trained[0] - expected[0])
    allowed = factor * abs(rounded[0] - expected[0]) + share * 0.1 * abs(expected[0])
    if not off <= allowed:
        return f"loss {trained[0]:.6g}, reference {expected[0]:.6g}"
    everything = math.sqrt(sum(float(grad.norm()) ** 2 for grad in expected[1].values()))
    worst = (0.0, "")
    for name in sorted(expected[1].keys() | trained[1].keys()):
        right = expected[1].get(name)
        plain = rounded[1].get(name)
        ours = trained[1].get(name)
        some = next(one for one in (right, ours) if one is not None)
        zero = torch.zeros_like(some)
        right, ours = zero if right is None else right, zero if ours is None else ours
        plain = right if plain is None else plain
        off = float((ours - right).norm())
        size = float(right.norm())
        allowed = factor * float((plain - right).norm()) + share * size + floor * everything
        if not off <= allowed:
            worst = max(worst, (off / max(size, 1e-30), name))
    if worst[1]:
        return f"gradient of {worst[1]} off by {worst[0]:.2g} of its size"
    return None


def compare_draws(row: str, step: TrainedStep) -> str | None:
    """The same draws of one sequence give the same, or else draws have the same means.

    Masks of dropout have another shape in a packed row, so the same seed draws others. A mean over
    draws of the loss, and of the gradient along a fixed direction, is still that of plain training.
    """
    trainings: tuple[Training, ...] = (
        step.run,
        partial(plain_training, make_model(row, "rescaled")),
    )
    one = step.examples[1]
    differ = None
    for seed in range(4):
        ours, plain = (_draw(training, [one], seed) for training in trainings)
        differ = differ or difference(ours, plain, plain, "float32")
    if differ is None or row.endswith("LayerDrop"):
        return differ
    few = [step.examples[index] for index in (0, 1, 4)]
    directions = {name: torch.randn_like(each) for name, each in plain[1].items()}
    figures = []
    for number, training in enumerate(trainings):
        seeds = range(number * NUM_DRAWS, (number + 1) * NUM_DRAWS)
        drawn = [_draw(training, few, seed) for seed in seeds]
        figures.append(np.array([_along(directions, each) for each in drawn]))
    ours_table, plain_table = figures
    error = np.sqrt((ours_table.var(0) + plain_table.var(0)) / NUM_DRAWS) + 1e-9
    distance = float((np.abs(ours_table.mean(0) - plain_table.mean(0)) / error).max())
    if not distance <= 5:
        return f"means over {NUM_DRAWS} draws are {distance:.0f} standard errors apart"
    if not (ours_table.std(0) >= 0.2 * plain_table.std(0)).all():
        return "training draws nothing at random, and plain training does"
    return None


def _draw(
    training: Training, examples: Sequence[TrainingExample], seed: int
) -> tuple[float, Gradients]:
    torch.manual_seed(seed)
    return training(examples)


def _along(directions: Gradients, trained: tuple[float, Gradients]) -> list[float]:
    """Loss, and the gradients of the first and last parameters and of all, along directions."""
    along = [float((directions[name] * each).sum()) for name, each in trained[1].items()]
    return [trained[0], along[0], along[-1], sum(along)]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().split(chr(10), 1)[0]}"


@contextlib.contextmanager
def _quiet() -> Iterator[str]:
    """A folder for the Trainer; what libraries print is not shown."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield folder
