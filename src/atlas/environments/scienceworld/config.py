"""Settings of ScienceWorld; importing them imports neither py4j nor Java."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile
from atlas.environments.paper.items import (
    AGENTEVAL_HELP,
    AGENTTRAJ_HELP,
    DROP_LEAKED_HELP,
    ItemSource,
)

Kind = Literal[
    "boil",
    "melt",
    "freeze",
    "change-the-state-of-matter-of",
    "use-thermometer",
    "measure-melting-point-known-substance",
    "measure-melting-point-unknown-substance",
    "power-component",
    "power-component-renewable-vs-nonrenewable-energy",
    "test-conductivity",
    "test-conductivity-of-unknown-substances",
    "find-living-thing",
    "find-non-living-thing",
    "find-plant",
    "find-animal",
    "grow-plant",
    "grow-fruit",
    "chemistry-mix",
    "chemistry-mix-paint-secondary-color",
    "chemistry-mix-paint-tertiary-color",
    "lifespan-longest-lived",
    "lifespan-shortest-lived",
    "lifespan-longest-lived-then-shortest-lived",
    "identify-life-stages-1",
    "identify-life-stages-2",
    "inclined-plane-determine-angle",
    "inclined-plane-friction-named-surfaces",
    "inclined-plane-friction-unnamed-surfaces",
    "mendelian-genetics-known-plant",
    "mendelian-genetics-unknown-plant",
]
Simplification = Literal[
    "easy",
    "teleportAction",
    "openDoors",
    "openContainers",
    "selfWateringFlowerPots",
    "noElectricalAction",
]


class ScienceWorldConfig(Config):
    """Settings of ScienceWorld."""

    kinds: tuple[Kind, ...] = Field(
        default=(
            "find-living-thing",
            "find-plant",
            "find-non-living-thing",
            "lifespan-longest-lived",
            "power-component",
        ),
        min_length=1,
        description="the kinds of task of the splits train and held_in_test",
    )
    held_out_kinds: tuple[Kind, ...] = Field(
        default=(
            "find-animal",
            "lifespan-shortest-lived",
            "use-thermometer",
            "test-conductivity",
            "chemistry-mix-paint-secondary-color",
        ),
        description="the kinds of task of the split held_out_test",
    )
    simplifications: tuple[Simplification, ...] = Field(
        default=(),
        description="simplifications of the simulator in train, held_in_test and held_out_test; "
        "the splits of the paper have none",
    )
    max_steps: int = Field(
        default=30, ge=1, description="number of turns after which an episode is truncated"
    )
    agenttraj: ItemSource | None = Field(default=None, description=AGENTTRAJ_HELP)
    agenteval: ItemSource | None = Field(default=None, description=AGENTEVAL_HELP)
    drop_leaked: bool = Field(default=False, description=DROP_LEAKED_HELP)
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    @model_validator(mode="after")
    def _is_consistent(self) -> ScienceWorldConfig:
        for field in ("kinds", "held_out_kinds", "simplifications"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(f"{field} has a name twice. Name each once")
        if both := sorted({*self.kinds} & {*self.held_out_kinds}):
            raise ValueError(f"'{both[0]}' is in kinds and in held_out_kinds. Leave it out of one")
        if "easy" in self.simplifications and len(self.simplifications) > 1:
            raise ValueError("simplifications has 'easy', which stands for several. Give it only")
        if "noElectricalAction" in self.simplifications:
            for kind in (*self.kinds, *self.held_out_kinds):
                if is_electrical(kind):
                    raise ValueError(f"'{kind}' needs electricity. Leave out noElectricalAction")
        return self

    def needed_extras(self) -> tuple[str, ...]:
        return ("scienceworld",)


def is_electrical(kind: str) -> bool:
    """Whether a kind of task is about electricity."""
    return "power-component" in kind or "conductivity" in kind
