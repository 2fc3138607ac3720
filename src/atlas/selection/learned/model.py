"""The learned selector as data: weights of named features, a calibration, and how it did on held-out trajectories.

One readable JSON file without code in it: loading one from a stranger runs nothing.
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import ValidationError

from atlas.errors import DataError, ModelError
from atlas.records import Record, Trajectory
from atlas.selection.learned.step_features import FEATURES_VERSION, step_numbers, step_words, weigh
from atlas.selection.step_embeddings import Embeds, EncoderPart, step_embeddings
from atlas.statistics.agreement import Agreement
from atlas.statistics.estimate import Estimate
from atlas.store.record_files import write_text

MODEL_FILE = "selector.json"
DIGITS = 9  # scores closer than that are equal: rounding in the last place must not decide


class LearnedModel(Record):
    """A logistic regression: probability = sigmoid(slope * (intercept + features @ weights + encoder's score) + offset).

    `agreement` is with the labels of trajectories that it was not trained on: its own choice first, the labels second.
    `calibration_error` is the mean distance between predicted and observed shares there, in ten bins; `brier` the mean
    squared error of the probabilities, `base_brier` that of always saying the labels' share.
    """

    version: int = 1
    features_version: int = FEATURES_VERSION
    labels: str
    num_trained_trajectories: int
    num_trained_steps: int
    inverse_frequency: dict[str, float]
    weights: dict[str, float]
    encoder: EncoderPart | None = None
    intercept: float
    slope: float
    offset: float
    agreement: Agreement
    brier: Estimate
    base_brier: float
    calibration_error: float


def step_probabilities(
    model: LearnedModel, trajectory: Trajectory, embedder: Embeds | None = None
) -> list[float]:
    """How likely each step is one that the labels would choose. `embedder` is the model's encoder, where it has one."""
    of_encoder = [0.0] * len(trajectory.steps)
    if model.encoder is not None and trajectory.steps:
        assert embedder is not None, "a model with an encoder needs it loaded"
        of_encoder = model.encoder.score(step_embeddings(trajectory, embedder))
    probabilities = []
    for words, numbers, more in zip(
        step_words(trajectory), step_numbers(trajectory), of_encoder, strict=True
    ):
        features = {**weigh(words, model.inverse_frequency), **numbers}
        score = (
            model.intercept
            + more
            + math.fsum(value * model.weights.get(name, 0.0) for name, value in features.items())
        )
        probabilities.append(round(sigmoid(model.slope * score + model.offset), DIGITS))
    return probabilities


def best_steps(probabilities: list[float], budget: int) -> frozenset[int]:
    """The `budget` most likely steps, the earlier of equals."""
    return frozenset(
        sorted(range(len(probabilities)), key=lambda index: (-probabilities[index], index))[:budget]
    )


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow.

    >>> [sigmoid(value) for value in (-1e9, 0, 1e9)]
    [0.0, 0.5, 1.0]
    """
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    grown = math.exp(value)
    return grown / (1 + grown)


def write_model(path: Path, model: LearnedModel) -> None:
    write_text(path, model.model_dump_json(indent=1) + "\n")


def read_model(path: Path) -> LearnedModel:
    """A trained selector.

    Raises:
        DataError: the file is missing or no such model.
        ModelError: it was trained on features that this version does not make.
    """
    try:
        model = LearnedModel.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{path} cannot be read as a learned selector: {error}. Train it again with atlas select-train."
        ) from None
    if model.features_version != FEATURES_VERSION:
        raise ModelError(
            f"{path} was trained on features of version {model.features_version}, this is version {FEATURES_VERSION}. Train it again."
        )
    return model
