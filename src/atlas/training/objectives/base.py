"""Objectives: how much each supervised token counts, given what the model predicts there.

    loss = Σ w · factor · (−log π) / Σ |w|   over the supervised tokens of an optimizer step

The factor of a token comes from the objective and carries no gradient. So an objective sets the
size of each token's gradient, and never its direction. To add an objective, write one file and add
one row to OBJECTIVES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, get_args

from atlas.config import Config
from atlas.errors import ConfigError
from atlas.kinds import Choice, Kind

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES: dict[str, str] = {
    "none": "atlas.training.objectives.none:NoObjective",
    "dft": "atlas.training.objectives.dft:DftObjective",
    "eaft": "atlas.training.objectives.eaft:EaftObjective",
    "eksft": "atlas.training.objectives.eksft:EksftObjective",
    "clip": "atlas.training.objectives.clip:ClipObjective",
    "mask_low_probability": "atlas.training.objectives.mask_low_probability:"
    "MaskLowProbabilityObjective",
}
OBJECTIVE = Kind("objective", OBJECTIVES, methods=("factors",))

# base_probabilities: of the supervised tokens under the model before training. They are computed
# once. base_distribution: over the whole vocabulary; the model before training runs in each pass.
Needs = Literal["nothing", "base_probabilities", "base_distribution"]
# A token whose factor is smaller than this, in absolute value, counts as silenced.
SILENCED = 0.1

ConfigT = TypeVar("ConfigT", bound=Config)


@dataclass(frozen=True, slots=True)
class PredictedTokens:
    """Supervised tokens with the model's predictions, all without gradient.

    Attributes:
        log_probs: shape [N]; log π of each token, in float32 or better.
        logits: shape [N, V], in float32 or better.
        weights: shape [N]; the weight w of each token. It may be negative.
        base_log_probs: shape [N]; log π of each token before training, if the objective needs
            base_probabilities or base_distribution.
        base_logits: shape [N, V]; the logits before training, if the objective needs them.
    """

    log_probs: Tensor
    logits: Tensor
    weights: Tensor
    base_log_probs: Tensor | None = None
    base_logits: Tensor | None = None

    @property
    def log_distribution(self) -> Tensor:
        """Log π of the whole vocabulary, shape [N, V]."""
        return self.logits.log_softmax(-1)

    @property
    def base_log_distribution(self) -> Tensor:
        """Log π of the whole vocabulary before training, shape [N, V]."""
        assert self.base_logits is not None, "the objective does not need base_distribution"
        return self.base_logits.log_softmax(-1)


class Objective(Protocol):
    """Weighs supervised tokens. Made as `Class(config)`."""

    @property
    def needs(self) -> Needs:
        """What it needs of the model before training."""
        ...

    def factors(self, tokens: PredictedTokens) -> Tensor:
        """The factor of each token, shape [N]: finite numbers. It must not change `tokens`.

        The factor of a token must not depend on the other tokens, because a forward pass may hold
        any of them.
        """
        ...


class ObjectiveBase(Generic[ConfigT]):
    """Keeps the settings. Needs nothing of the model before training."""

    needs: Needs = "nothing"

    def __init__(self, config: ConfigT) -> None:
        self.config = config


class CheckedObjective:
    """An objective from outside: what it gives is checked."""

    def __init__(self, name: str, objective: Objective) -> None:
        self._objective, self._name = objective, f"objective '{name}'"
        needs: Any = getattr(objective, "needs", None)
        known = get_args(Needs)
        if needs not in known:
            raise ConfigError(
                f"{self._name} cannot be used: its attribute 'needs' is {needs!r}, expected one of "
                f"{', '.join(known)}."
            )
        self.needs: Needs = needs

    def factors(self, tokens: PredictedTokens) -> Tensor:
        import torch

        given = {
            name: tensor
            for name in PredictedTokens.__slots__
            if (tensor := getattr(tokens, name)) is not None
        }
        before = {name: tensor._version for name, tensor in given.items()}
        found: Any = self._objective.factors(tokens)
        if changed := [name for name, tensor in given.items() if tensor._version != before[name]]:
            # Weights and base probabilities are used after it, and logits may be needed again.
            raise ConfigError(
                f"{self._name}: factors() has changed tokens.{', tokens.'.join(changed)} in place, "
                "expected it to change none of what it is given. Use operations that return a new "
                "tensor, such as exp() for exp_()."
            )
        if not isinstance(found, torch.Tensor) or found.shape != tokens.log_probs.shape:
            shape = getattr(found, "shape", None)
            given_as = (
                f"{type(found).__name__}{'' if shape is None else f' of shape {list(shape)}'}"
            )
            raise ConfigError(
                f"{self._name}: factors() gave a {given_as}, expected a tensor of shape "
                f"{list(tokens.log_probs.shape)}: a factor for each token."
            )
        of_loss = tokens.log_probs
        kinds = {"device": (found.device, of_loss.device), "layout": (found.layout, of_loss.layout)}
        for kind, (of_found, expected) in kinds.items():
            if of_found != expected:
                raise ConfigError(
                    f"{self._name}: factors() gave a tensor with {kind} {of_found}, expected "
                    f"{expected}, that of tokens.log_probs. Make it from tokens.log_probs, for "
                    "example with torch.ones_like."
                )
        if found.is_complex():
            raise ConfigError(
                f"{self._name}: factors() gave complex numbers, expected real ones. Take their "
                "real part or their absolute value."
            )
        # In the type of the loss, in which a very large number is infinite.
        factors = found.detach().to(of_loss.dtype)
        # Predictions that are not numbers are reported as a training that has diverged.
        wrong = ~factors.isfinite() & of_loss.isfinite()
        if wrong.any():
            raise ConfigError(
                f"{self._name}: factors() gave {found[wrong][0].item()} for a token of probability "
                f"{of_loss[wrong][0].exp().item():.3g}, expected a finite number. Limit "
                "what it divides by or takes the logarithm of."
            )
        return factors


def needs_of(choice: Choice) -> Needs:
    """What an objective needs of the model before training."""
    made = make_objective(choice)
    return "nothing" if made is None else made.needs


def make_objective(choice: Choice) -> Objective | None:
    """The objective; None if every token counts the same.

    Raises:
        ConfigError: a class from outside needs something unknown.
    """
    if choice.name == "none":
        return None
    made: Objective = OBJECTIVE.make(choice)
    if choice.name not in OBJECTIVES:
        made = CheckedObjective(choice.name, made)
    return made
