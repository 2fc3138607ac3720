"""The JSON file of a learned selector: a regression, and its quality on held-out tasks.

Pickle would run code from the file. skops writes different bytes each time, and requires trust in
private classes of scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from atlas.errors import DataError, ModelError
from atlas.records import Record, Trajectory
from atlas.selection.learned.step_embeddings import Embeds, step_embeddings
from atlas.selection.learned.step_features import (
    FEATURES_VERSION,
    step_numbers,
    step_words,
    word_vectorizer,
)
from atlas.statistics.agreement import Agreement
from atlas.store.record_files import write_text
from atlas.store.run_folders import Input

MODEL_FILE = "selector.json"
# Probabilities that are closer than this are equal, so that rounding errors do not decide.
DIGITS = 9


class StepRegression(Record):
    """A calibrated logistic regression: probability = sigmoid(intercept + features @ weights).

    Attributes:
        inverse_frequency: inverse document frequency of each word, for TF-IDF.
        weights: weight of each word and of each numeric feature, by name.
        embedding_weights: weight of each dimension of `step_embeddings`, if there is an encoder.
    """

    inverse_frequency: dict[str, float]
    weights: dict[str, float]
    embedding_weights: tuple[float, ...] = ()
    intercept: float


class HeldOutQuality(Record):
    """The quality of a learned selector on tasks that it was not trained on.

    Attributes:
        agreement: between its choice (first) and the labels (second), at the budget of the labels.
        brier: mean squared error of the probabilities.
        base_brier: the same, with the share of labeled steps as every probability.
        calibration_error: mean distance between predicted and observed shares in ten bins.
    """

    agreement: Agreement
    brier: float
    base_brier: float
    calibration_error: float


class LearnedModel(HeldOutQuality):
    """A learned selector.

    Attributes:
        labels: the selector that it was trained on.
        encoder: its path is a hub id, or a folder relative to the run folder.
    """

    version: int = 1
    features_version: int = FEATURES_VERSION
    labels: str
    num_trained_trajectories: int
    num_trained_steps: int
    encoder: Input | None
    regression: StepRegression


class StepScorer:
    """A regression in memory, with the vectorizer of scikit-learn restored from its names.

    Raises:
        DependencyError: scikit-learn is not installed.
    """

    def __init__(self, regression: StepRegression) -> None:
        self._regression = regression
        words = regression.inverse_frequency
        self._word_weights = np.array([regression.weights.get(word, 0.0) for word in words])
        self._words = word_vectorizer(vocabulary=list(words))
        # scikit-learn refuses an empty vocabulary.
        if words:
            self._words.idf_ = np.array(list(words.values()))

    def score(self, trajectory: Trajectory, embedder: Embeds | None = None) -> list[float]:
        """The probability for each step that the labels would choose it.

        A regression with weights of embeddings needs its encoder.
        """
        from scipy.special import expit

        if not trajectory.steps:
            return []
        weights = self._regression.weights
        scores = np.full(len(trajectory.steps), self._regression.intercept)
        for index, numbers in enumerate(step_numbers(trajectory)):
            for name, value in numbers.items():
                scores[index] += weights.get(name, 0.0) * value
        if self._word_weights.size:
            scores += self._words.transform(step_words(trajectory)) @ self._word_weights
        if self._regression.embedding_weights:
            assert embedder is not None, "a regression on embeddings needs its encoder"
            embedding_weights = np.array(self._regression.embedding_weights)
            scores += step_embeddings(trajectory, embedder) @ embedding_weights
        probabilities: list[float] = expit(scores).round(DIGITS).tolist()
        return probabilities


def write_model(path: Path, model: LearnedModel) -> None:
    """Write a trained selector as JSON."""
    write_text(path, model.model_dump_json(indent=1) + "\n")


def read_model(path: Path) -> LearnedModel:
    """Read a trained selector.

    Raises:
        DataError: the file is missing or does not hold a trained selector.
        ModelError: it was trained on features of another version.
    """
    try:
        model = LearnedModel.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{path} cannot be read as a learned selector: {error}. "
            "Train it again with 'atlas select-train'."
        ) from None
    if model.features_version != FEATURES_VERSION:
        raise ModelError(
            f"{path} was trained on features of version {model.features_version}, expected "
            f"version {FEATURES_VERSION}. Train it again with 'atlas select-train'."
        )
    return model
