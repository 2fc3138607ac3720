"""What is to be claimed, and how: settings that a recipe fixes before its trainings start."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from atlas.config import Config
from atlas.statistics.group_difference import FEWEST_GROUPS

Average = Literal["tasks", "environments", "groups"]


class PrimaryComparison(Config):
    """The comparison that an experiment is made for."""

    arm: str = Field(description="the arm of the primary comparison")
    against: str = Field(description="the arm that it is compared with")
    split: str | None = Field(default=None, description="the split on which it is made")
    ring: str | None = Field(
        default=None, description="the ring of a suite on which it is made, instead of a split"
    )

    @model_validator(mode="after")
    def _names_one_place(self) -> PrimaryComparison:
        if (self.split is None) == (self.ring is None):
            raise ValueError("expected one of 'split' and 'ring': where the arms are compared")
        if self.arm == self.against:
            raise ValueError(f"'{self.arm}' is compared with itself, expected two arms")
        return self

    @property
    def scope(self) -> str:
        """The split or ring."""
        return self.split or self.ring or ""


class ClaimSettings(Config):
    """What a comparison of arms may claim. Experiments and reports share these settings."""

    margin: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        description="a difference of success, in points, that does not matter: the report then "
        "says which arms are not worse by more, and which are alike; if none, it says neither",
    )
    primary: PrimaryComparison | None = Field(
        default=None,
        description="the comparison that the experiment is made for: {arm, against, split} or "
        "{arm, against, ring}; the report shows it first",
    )
    seed_sd: float | None = Field(
        default=None,
        ge=0,
        lt=100,
        description="an assumption, in points: how much training seeds vary (SD of the success "
        "rate); verdicts on arms with fewer than three trainings then say 'if seeds vary by …'",
    )
    average: Average = Field(
        default="tasks",
        description="what counts alike in the difference that verdicts are about: tasks, "
        "environments, or groups (levels) of tasks",
    )
    generalize_over: Literal["none", "group"] = Field(
        default="none",
        description="group: verdicts are about groups of tasks like these, not only about these "
        f"groups; needs `average: groups` and at least {FEWEST_GROUPS} groups",
    )

    @model_validator(mode="after")
    def _averages_what_it_generalizes_over(self) -> ClaimSettings:
        if self.generalize_over == "group" and self.average != "groups":
            raise ValueError(
                f"'generalize_over' is 'group', but 'average' is '{self.average}': expected "
                "average: groups, because each group is then one unit"
            )
        return self
