"""The settings of `pivot`, and who is paid for it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.kinds import Choice
from atlas.models.endpoints.endpoint_player import EndpointPlayerConfig
from atlas.models.players import PLAYER
from atlas.rendering.tool_schemas import TOOLS_HELP
from atlas.selection.agreement.base import AGREEMENT
from atlas.selection.judging.judge_config import JudgeConfig


class PivotConfig(Config):
    """Settings of `pivot`: the model, how it is sampled, and what counts as agreement."""

    model: Annotated[str, BY_CONTENT] = Field(
        min_length=1,
        description="the model to be tuned: a hub id, a model folder, or a run folder of train; "
        "for the player `endpoint`, its name at the provider or server",
    )
    player: Annotated[Choice, PLAYER] = Field(
        default=Choice("local"),
        description="how the model is asked: a player, or your own as package.module:Class; it "
        "samples at temperature 1 unless player.temperature is given",
    )
    num_samples: int = Field(
        default=8, ge=1, le=1000, description="number of responses sampled at each step"
    )
    agreement: Annotated[Choice, AGREEMENT] = Field(
        default=Choice("call"),
        description="what counts as the expert's action: a kind of agreement, or your own as "
        "package.module:Class",
    )
    min_variance: float | None = Field(
        default=0.0,
        ge=0,
        lt=0.25,
        description="a step is kept only if the variance of its agreement (0 to 0.25) is above "
        "this, so by default where some samples agree and some do not; if none, any variance",
    )
    max_mean: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="a step is kept only if the mean of its agreement is below this (the paper's "
        "threshold of difficulty); if none, any mean",
    )
    tools: Annotated[str | None, BY_CONTENT] = Field(default=None, description=TOOLS_HELP)
    max_cost_usd: Annotated[float | None, SPEED_ONLY] = Field(
        default=None,
        gt=0,
        description="cost limit of the run in USD, of all remote models together that sample or "
        "judge",
    )

    @field_validator("player", mode="before")
    @classmethod
    def _samples(cls, player: Any) -> Any:
        """A player samples at temperature 1 where none is given; its own default is greedy."""
        owner = PLAYER.settings_class(player)
        if owner is None or "temperature" not in owner.model_fields:
            return player
        return {"temperature": 1.0, **PLAYER.written(player)}

    @model_validator(mode="after")
    def _samples_can_differ(self) -> PivotConfig:
        temperature = getattr(self.player.settings, "temperature", None)
        if self.num_samples > 1 and temperature == 0:
            raise ValueError(
                f"at temperature 0 all {self.num_samples} samples are the same; raise "
                "player.temperature, or set num_samples=1 min_variance=none"
            )
        if self.num_samples == 1 and self.min_variance is not None:
            raise ValueError(
                "num_samples=1 has no variance, so no step would be kept; take 2 or more samples, "
                "or set min_variance=none to rank the steps by their mean"
            )
        return self

    @model_validator(mode="after")
    def _a_limit_has_a_payee(self) -> PivotConfig:
        payees = self.payees()
        if self.max_cost_usd is not None and not payees:
            raise ValueError(
                "max_cost_usd is given, and no remote model is asked, so nothing is paid. Leave it "
                "out"
            )
        if len(payees) > 1 and any(payee.max_cost_usd is not None for payee in payees):
            raise ValueError(
                "agreement.max_cost_usd is given, and two remote models are paid. Give "
                "max_cost_usd, which is the limit of both together"
            )
        return self

    def payees(self) -> list[JudgeConfig]:
        """The remote models that are paid: the one that samples, and the judge."""
        payees = []
        player, judge = self.player.settings, self.agreement.settings
        if isinstance(player, EndpointPlayerConfig):
            try:
                payees.append(
                    JudgeConfig(model=self.model, endpoint=player.endpoint, prices=player.prices)
                )
            except ValidationError as error:
                raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return [*payees, judge] if isinstance(judge, JudgeConfig) else payees
