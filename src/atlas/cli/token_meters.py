"""Connects models and objectives with the views of tokens, which import neither stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atlas.kinds import Choice
from atlas.rendering.measured_tokens import Meter
from atlas.training.objectives.base import OBJECTIVE, make_objective
from atlas.viewing.terminal.show import ShowConfig


class ShowTokensConfig(ShowConfig):
    """How the tokens of a trajectory are shown."""

    loss: bool = Field(
        default=False,
        description="show the mean loss of each step under the model that `tokenizer` names",
    )
    objective: Annotated[Choice, OBJECTIVE] = Field(
        default=Choice("none"),
        description="mark the supervised tokens that this objective would silence at the first "
        "step of a training of the model that `tokenizer` names",
    )

    @property
    def needs_model(self) -> bool:
        return self.loss or self.objective.name != "none"


def load_meter(
    model: str, objective: Choice | None = None, chat_template: str | None = None
) -> Meter:
    """What measures tokens under a model: losses and, with an objective, what it silences.

    Raises:
        ModelError: the model cannot be loaded.
        ConfigError: the objective cannot be used.
    """
    made = None if objective is None else make_objective(objective)

    from atlas.models.local.log_probabilities import load_scorer

    scorer = load_scorer(model, "auto", chat_template)
    if made is None:
        return scorer.measure

    from atlas.training.objectives.measure import ObjectiveMeter

    return ObjectiveMeter(scorer, made)
