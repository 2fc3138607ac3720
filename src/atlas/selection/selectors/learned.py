"""Selects steps with a small model that `atlas select-train` trained on labels.

For example, a model's answers for 1,000 trajectories are enough to label 100,000 trajectories
locally. The scores are calibrated probabilities. They can be compared between trajectories, as
scope "dataset" requires.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from atlas.config import BY_CONTENT, Config
from atlas.errors import ConfigError, ModelError
from atlas.models.local.load import model_input
from atlas.models.local.precision import Precision
from atlas.records import Trajectory
from atlas.selection.learned.model import MODEL_FILE, LearnedModel, StepScorer, read_model
from atlas.selection.learned.step_embeddings import Embeds
from atlas.selection.selectors.base import PRECISIONS, Scores, SelectorContext
from atlas.statistics.jackknife import FEWEST_UNITS
from atlas.store.run_folders import Input, read_manifest


class LearnedConfig(Config):
    """Settings of `learned`."""

    model: Annotated[str, BY_CONTENT] = Field(
        min_length=1, description="a run folder of select-train"
    )
    allow_chance: bool = Field(
        default=False,
        description="use the selector even if it was not better than chance on held-out "
        "trajectories",
    )
    precision: Precision = Field(
        default="auto",
        description=f"precision of the selector's encoder, if it has one: {PRECISIONS}",
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("select",)


class LearnedSelector:
    """The steps that a small model, distilled from labels, finds most likely critical.

    Raises:
        DependencyError: scikit-learn is not installed.
        ConfigError: `model` is not a run folder of select-train.
        ModelError: on held-out trajectories it was not better than chance, and `allow_chance` is
            not set; or its encoder is not the one that it was trained with.
    """

    Config = LearnedConfig

    def __init__(self, config: LearnedConfig, context: SelectorContext) -> None:
        run = Path(config.model)
        if not run.is_dir():
            raise ConfigError(
                f"selector 'learned': model '{config.model}' is not a folder, expected a run of "
                "'atlas select-train'. Give model=RUN."
            )
        self._name = run.name
        self._digest = read_manifest(run, ("select-train",)).digest
        model = read_model(run / MODEL_FILE)
        if not (config.allow_chance or model.agreement.is_better_than_chance):
            raise ModelError(_refusal(config.model, model))
        self._encoder = _encoder(run, model)
        self._precision = config.precision
        self._scorer = StepScorer(model.regression)

    def inputs(self, out: Path) -> dict[str, Input]:
        name = f"select-train run '{self._name}'"
        return {"learned_selector": Input(path=name, digest=self._digest)}

    def score(self, trajectory: Trajectory) -> Scores:
        """The probability for each step that the labels would choose it."""
        return self._scorer.score(trajectory, self._embedder)

    @cached_property
    def _embedder(self) -> Embeds | None:
        if self._encoder is None:
            return None
        from atlas.models.local.embeddings import load_embedder

        return load_embedder(self._encoder, self._precision)


def _encoder(run: Path, model: LearnedModel) -> str | None:
    """The encoder's hub id or folder, after a check that the selector was trained with it."""
    if model.encoder is None:
        return None
    folder = run / model.encoder.path
    if model.encoder.digest is None:
        return model.encoder.path
    if not folder.is_dir():
        raise ModelError(
            f"the encoder of {run} is not at {folder} any more. Put it back there, or train the "
            "selector again."
        )
    if model_input(str(folder), run).digest != model.encoder.digest:
        raise ModelError(
            f"the encoder at {folder} is not the one that {run} was trained with. Put that one "
            "back, or train again."
        )
    return str(folder)


def _refusal(name: str, model: LearnedModel) -> str:
    agreement = model.agreement
    precision, chance = agreement.precision.value or 0.0, agreement.chance_precision or 0.0
    by_position = (agreement.expected_by_position or 0.0) / max(1, agreement.num_first)
    few = ""
    if agreement.num_informative < FEWEST_UNITS:
        few = f" (fewer than {FEWEST_UNITS}, so nothing can be shown)"
    return (
        f"the learned selector in {name} is not better than chance: on "
        f"{agreement.num_trajectories} held-out trajectories of {agreement.num_units} tasks{few}, "
        f"{precision:.0%} of its steps were labeled; by chance {chance:.0%} would be, and "
        f"{by_position:.0%} by their position only. Label trajectories of more tasks and train "
        "again, or set allow_chance=true to use it anyway."
    )
