"""Finds out which parts of the engine a model supports, by comparison with plain training.

Plain training is one sequence at a time with all logits. A part is used if every logit and gradient
is the same (`checks/equality.py`), no token influences another sequence (`checks/influence.py`),
and sequences longer than what the config names have the same logits. All of it is tried on the
model's own weights and on larger ones (`checks/weights.py`). A part that fails is left out with the
reason, and training continues without it.

The cost is that of about ten short forward and backward passes. If the training has sequences
longer than a length that the config names, there are four more forward passes of such a length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from atlas.errors import ModelError, first_line
from atlas.training.base_model import BaseModel
from atlas.training.config import EngineConfig
from atlas.training.engine.checks.equality import (
    OF_PADDED,
    TOLERANCES,
    Measured,
    difference,
    differing_logits,
    measure_engine,
    measure_plain,
    plain_logits,
)
from atlas.training.engine.checks.influence import (
    MEANT,
    influence_between,
    influence_of_future,
)
from atlas.training.engine.checks.probes import (
    MOST_TOKENS,
    long_probes,
    row_probes,
    short_probes,
)
from atlas.training.engine.checks.training_mode import (
    randomness_of_passes,
    refuse_auxiliary_losses,
)
from atlas.training.engine.checks.weights import enlarged_weights
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.row_lengths import (
    length_with_fixed_factors,
    problem_of_lengths,
    tokens_of_mask_tables,
)
from atlas.training.evaluation_mode import evaluation_mode

NEEDS_PACKING = ("shared_prompts", "last_layer")
PADDED = "it cannot pack rows, and without packing they would be padded"
OWN_ATTENTION = "attention over packed rows is not exact here, so each sequence has its own"


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine that is ready for training.

    Attributes:
        left_out: each requested part that is not used, and the reason.
        flash_problem: why flash attention is not used; None if it is.
        one_by_one: why each sequence has a separate forward pass; None if rows are shared.
    """

    engine: Engine
    left_out: dict[str, str] = field(default_factory=dict)
    flash_problem: str | None = None
    one_by_one: str | None = None


def choose_parts(
    model: Any,
    config: EngineConfig,
    window: int | None = None,
    autocast: torch.dtype | None = None,
    base: BaseModel | None = None,
    longest: int | None = None,
) -> ChosenEngine:
    """Put every requested part that `model` supports into it, and into `base` if given.

    Args:
        window: tokens before each supervised one through which the gradient goes; None: all.
        autocast: the type in which training computes, if it differs from the model's.
        longest: tokens of the longest sequence of the training; None: of any length.

    Raises:
        ModelError: its forward pass fails, or later tokens influence earlier ones, or its config
            asks for an auxiliary loss. Or the gradient is limited to a window, which needs
            `packing`, and the model does not support that.
    """
    engine = Engine(model, window, base)
    refuse_auxiliary_losses(engine.model.config.get_text_config())
    # Weights of lower precision than float32 are checked under the autocast of training.
    engine.recomputes_always = True
    computes_so = autocast is not None and TOLERANCES[engine.model.dtype] == TOLERANCES[autocast]
    computing = torch.autocast(engine.model.device.type, autocast, enabled=computes_so)
    try:
        # The results are equal only without dropout.
        with evaluation_mode(model), computing:
            return _choose(_Trial(engine, model, config, longest), config, autocast)
    finally:
        engine.recomputes_always = False


def _choose(trial: _Trial, config: EngineConfig, autocast: torch.dtype | None) -> ChosenEngine:
    window = trial.engine.window
    wanted = [part for part in PARTS if getattr(config, part)]
    if window is not None and "last_layer" in wanted:
        wanted.remove("last_layer")
    rows_problem = trial.problem_of_rows()
    can = [part for part in wanted if part == "chunked_loss" or not rows_problem]
    chosen, problems, flash_problem = _try_parts(trial, can, flash=autocast is None)
    if "packing" in can and "packing" not in chosen:
        chosen, problems = _try_own_attention(trial, can, chosen, problems)
    left_out = {
        part: problems.get(part, str(rows_problem)) for part in wanted if part not in chosen
    }
    if "packing" in chosen:
        trial.put_in(chosen, flash=flash_problem is None)
        if trial.engine.own_attention:
            return ChosenEngine(trial.engine, left_out)
        if autocast is not None and (flash_problem := _try_flash(trial, autocast)):
            trial.put_in(chosen)
        if flash_problem is not None:
            trial.engine.ways.clear()
        return ChosenEngine(trial.engine, left_out, flash_problem)
    if window is not None:
        reason = left_out.get("packing", "engine.packing is off")
        raise ModelError(
            "context_gradient needs packing, which this model does not support: "
            f"{reason}. Set context_gradient=full."
        )
    one_by_one = rows_problem or (PADDED if "packing" in wanted else trial.problem(chosen))
    if one_by_one and (problem := trial.problem(chosen, one_by_one=True)):
        raise ModelError(
            f"{type(trial.engine.model).__name__} cannot be trained here: {problem}. Use another "
            "model."
        )
    trial.put_in(chosen, one_by_one=one_by_one is not None)
    return ChosenEngine(trial.engine, left_out, None, one_by_one)


def _try_parts(
    trial: _Trial, can: Sequence[str], flash: bool
) -> tuple[Sequence[str], dict[str, str], str | None]:
    """The parts that are exact, why others are not, and why the flash kernels are not."""
    flash_problem = None
    if "packing" in can:
        flash_problem = trial.problem(can, flash=flash)
        if not flash_problem or (flash and not trial.problem(can)):
            return can, {}, flash_problem
    chosen: list[str] = []
    problems: dict[str, str] = {}
    for part in can:
        if part in NEEDS_PACKING and "packing" not in chosen:
            problems[part] = "it needs packing"
        elif problem := trial.problem([*chosen, part], one_by_one=part == "chunked_loss"):
            problems[part] = problem
        else:
            chosen.append(part)
    packs = "packing" in chosen
    return chosen, problems, trial.problem(chosen, flash=True) if packs and flash else None


def _try_own_attention(
    trial: _Trial, can: Sequence[str], chosen: Sequence[str], problems: dict[str, str]
) -> tuple[Sequence[str], dict[str, str]]:
    """The same with the model's own attention for each sequence, if the model can pack so."""
    trial.engine.own_attention = True
    parts = [part for part in can if part != "last_layer"]
    of_own, problems_of_own, _ = _try_parts(trial, parts, flash=False)
    if "packing" in of_own:
        return of_own, {**problems_of_own, "last_layer": OWN_ATTENTION}
    trial.engine.own_attention = False
    return chosen, problems


class _Trial:
    """A model, its probes, and what plain training gives on them."""

    def __init__(
        self, engine: Engine, model: Any, config: EngineConfig, longest: int | None
    ) -> None:
        self.engine = engine
        self.model = model
        self.longest = longest
        self.row_tokens = config.row_tokens
        text = engine.model.config.get_text_config()
        self.probes = short_probes(text)
        self.examples = [one.example for one in self.probes]
        table = tokens_of_mask_tables(engine.model)
        self.long = long_probes(text, longest, config.row_tokens, table)
        self.dtype = _compute_dtype(engine)
        engine.put_in(())
        # Larger weights are used only if the model computes finite numbers with them.
        self.plain = self._measure_plain()
        own_share = self._influence_of_future()
        with enlarged_weights(model):
            larger = self._measure_plain()
            self.enlarges = larger.is_finite
            self.larger = larger if self.enlarges else self.plain
            larger_share = self._influence_of_future() if self.enlarges else 0.0
            self.plain_long = self._run_long()
        self.of_future = max(own_share, larger_share)

    def _measure_plain(self) -> Measured:
        try:
            return measure_plain(self.model, self.examples)
        except Exception as error:
            # Possible causes: a missing kernel, an option of the config, a data type.
            raise ModelError(
                f"{type(self.engine.model).__name__} cannot be trained: its own forward pass on "
                f"token ids fails ({_said(error)}). Use a model that computes text here."
            ) from error

    def _run_long(self) -> list[Tensor]:
        try:
            with torch.no_grad():
                return [plain_logits(self.model, one) for one in self.long]
        except Exception:
            # No training reaches lengths at which the model does not run.
            self.long = []
            return []

    def _fill_a_row(self) -> None:
        """Let the long probes be those of a row, for masks and biases that are made for a row."""
        parts = self.engine.parts
        self.engine.put_in(())
        text = self.engine.model.config.get_text_config()
        self.long = row_probes(text, self.longest, self.row_tokens)
        self.plain_long = self._run_long()
        self.engine.put_in(parts)

    def _influence_of_future(self) -> float:
        share = influence_of_future(self.model, self.probes[0])
        if share > MEANT:
            raise ModelError(
                f"{type(self.engine.model).__name__} is not a causal model here: later tokens "
                "change what it predicts at earlier ones, as in an encoder. Use a causal model; "
                "some become one with is_decoder=true in their config.json."
            )
        return share

    def problem_of_rows(self) -> str | None:
        """Why several sequences may not share a forward pass, as far as it is known in advance."""
        fixed = length_with_fixed_factors(self.engine.model)
        longest = max(self.longest or MOST_TOKENS, *(len(one.labels) for one in self.examples))
        if problem := problem_of_lengths(fixed, longest):
            return problem
        if self.of_future:
            return "later tokens change its results by rounding"
        return randomness_of_passes(self.model, self.examples[0])

    def put_in(
        self, parts: Sequence[str], *, flash: bool = False, one_by_one: bool = False
    ) -> None:
        """Switch on exactly these parts."""
        self.engine.uses_flash, self.engine.one_by_one = flash, one_by_one
        self.engine.put_in(parts)

    def problem(
        self, parts: Sequence[str], *, flash: bool = False, one_by_one: bool = False
    ) -> str | None:
        """The reason why this model does not support these parts; None if it does."""
        try:
            self.put_in(parts, flash=flash, one_by_one=one_by_one)
            self.engine.ways.clear()
            with _without_window(self.engine):
                problem = self._differs(self.plain)
                with enlarged_weights(self.model) if self.enlarges else _own_weights():
                    problem = problem or self._differs(self.larger)
                    with _without_recomputation(self.engine):
                        problem = problem or influence_between(self.engine, self.probes)
                    problem = problem or self._differs_when_long()
            return problem or (self.engine.window is not None and self._differs(self.plain)) or None
        except Exception as error:
            # An architecture without support for a part may raise any error.
            self.put_in(())
            return _said(error)

    def _differs(self, plain: Measured) -> str | None:
        return difference(plain, measure_engine(self.engine, self.model, self.examples), self.dtype)

    def _differs_when_long(self) -> str | None:
        if not self.long and self.engine.mixes_by_sequence:
            self._fill_a_row()
        if not self.long:
            return None
        with torch.no_grad():
            found = self.engine.logits(self.long)
        factor = 1.0 if "packing" in self.engine.parts else OF_PADDED.get(self.dtype, 1.0)
        if problem := differing_logits(self.plain_long, found, self.dtype, factor):
            return f"{problem} in rows of {sum(len(one.labels) for one in self.long):,} tokens"
        return None


def _compute_dtype(engine: Engine) -> torch.dtype:
    """The data type with the most rounding. Quantized layers have a type of their own."""
    own: torch.dtype = engine.model.dtype
    quantization = getattr(engine.model.config, "quantization_config", None)
    of_layers: torch.dtype = getattr(quantization, "bnb_4bit_compute_dtype", None) or own
    return max((own, of_layers), key=lambda dtype: TOLERANCES[dtype])


@contextmanager
def _own_weights() -> Iterator[None]:
    yield


@contextmanager
def _without_recomputation(engine: Engine) -> Iterator[None]:
    """Keep all results, so that several gradients of one pass can be computed."""
    parts = engine.parts
    engine.put_in([part for part in parts if part != "recompute"])
    try:
        yield
    finally:
        engine.put_in(parts)


@contextmanager
def _without_window(engine: Engine) -> Iterator[None]:
    """Check the gradient of all tokens first: that of a window differs from plain training."""
    window, engine.window = engine.window, None
    try:
        yield
    finally:
        engine.window = window


def _try_flash(trial: _Trial, autocast: torch.dtype) -> str | None:
    """The reason why the device's flash kernels cannot be used in training; None if they can.

    Loss and gradient are compared under the precision of training.
    """
    engine, model = trial.engine, trial.model
    trained = [parameter for parameter in engine.model.parameters() if parameter.requires_grad]
    found: list[tuple[Tensor, Tensor]] = []
    for engine.uses_flash in (False, True):
        engine.ways.clear()
        try:
            with torch.autocast(engine.model.device.type, autocast):
                loss = engine.loss(model, trial.examples)
            # The first layers come first: this gradient has been through the attention of all.
            gradient = (
                torch.autograd.grad(loss, min(trained[:16], key=Tensor.numel), allow_unused=True)[0]
                if trained
                else None
            )
        except Exception as error:
            # The kernel was not built for this device, the driver is too old, and so on.
            if not engine.uses_flash:
                raise
            return _said(error)
        none = torch.zeros((), device=loss.device)
        found.append((loss.detach(), none if gradient is None else gradient))
    tolerance = TOLERANCES[autocast]
    for name, (masked, flash), allowed in zip(
        ("loss", "gradient"), zip(*found, strict=True), (tolerance, 5 * tolerance), strict=True
    ):
        if not (flash - masked).norm() <= allowed * masked.norm():
            return f"its {name} would not be the same"
    return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
