"""Where in a forward pass the losses are: places in its hidden states, and what stands there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from atlas.training.token_loss import Targets


@dataclass(frozen=True, slots=True)
class Supervised:
    """The positions of the supervised tokens.

    Attributes:
        kept: shape [K]; places in the flat hidden states.
        kept_of_target: shape [N]; the place in `kept` that predicts each target.
        targets: the N tokens.
    """

    kept: Tensor
    kept_of_target: Tensor
    targets: Targets


@dataclass(frozen=True, slots=True)
class BasePass:
    """The pass of the base model, and the positions of the KL to it.

    Attributes:
        kept_of_anchor: shape [M]; the place in `Supervised.kept` that predicts each anchored token.
        base_kept: the places that the base model's pass with `base_options` keeps.
        base_kept_of_anchor: shape [M]; the place in `base_kept` that predicts each anchored token.
        base_kept_of_target: shape [N]; the same of each supervised token, if the objective needs
            the base model's predictions.
    """

    base_options: dict[str, Any]
    kept_of_anchor: Tensor
    base_kept: Tensor
    base_kept_of_anchor: Tensor
    base_kept_of_target: Tensor | None = None
