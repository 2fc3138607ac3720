"""The design of an experiment: what decides its results, and what is to be claimed.

It is made from checked settings, with their defaults, so neither the form of the recipe nor a
setting that changes only the speed of a run matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.config import Config, result_settings
from atlas.experiments.config import ExperimentConfig
from atlas.reporting.claims.settings import ClaimSettings
from atlas.selection.select_steps import SelectConfig
from atlas.training.train_agent import TrainConfig


def describe_design(
    config: ExperimentConfig,
    collected: Config | None,
    selections: Mapping[str, SelectConfig],
    trainings: Mapping[str, TrainConfig],
    evaluations: Mapping[str, Config],
    *,
    with_defaults: bool = True,
) -> dict[str, Any]:
    """The design as JSON values.

    Args:
        collected: how the trajectories are collected; None if they are given.
        selections: by arm, naming other arms by their names.
        trainings: by arm.
        evaluations: by split, or one for a suite.
        with_defaults: also the settings that have their default.
    """

    def settings(config: Config, *without: str) -> dict[str, Any]:
        """Settings that decide the result, those that name an input by its name."""
        found = result_settings(config, with_names=True, with_defaults=with_defaults)
        return {key: value for key, value in found.items() if key not in without}

    # The order of the arms decides which one the report compares with each control.
    others = [arm for arm in config.arms if arm != config.reference]
    focus = {"focus": others[0]} if others and with_defaults else {}
    return {
        **claims_of(config).model_dump(mode="json", exclude_defaults=not with_defaults),
        "reference": config.reference,
        **focus,
        "trajectories": str(config.trajectories) if collected is None else settings(collected),
        "arms": {
            arm: {
                "seeds": sorted(config.seeds_of(arm)),
                "select": settings(selections[arm], "seed", "retry_problems_of"),
                "train": settings(trainings[arm], "seed"),
            }
            for arm in config.arms
        },
        "models": {name: model.model_dump(mode="json") for name, model in config.models.items()},
        "evaluate": {
            split: settings(evaluation, "model") for split, evaluation in evaluations.items()
        },
    }


def claims_of(config: ExperimentConfig) -> ClaimSettings:
    """The settings that an experiment shares with its report."""
    return ClaimSettings(**{name: getattr(config, name) for name in ClaimSettings.model_fields})
