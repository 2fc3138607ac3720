"""The fit of the learned selector: `labeled steps -> StepRegression`, by scikit-learn.

Cross-validation over tasks determines the strength of the regularization and the calibration (Platt
1999). The weights are fitted to all steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError
from atlas.records import Trajectory
from atlas.selection.learned.model import StepRegression
from atlas.selection.learned.step_features import step_numbers, step_words, word_vectorizer
from atlas.selection.text_features import feature_extraction

# The inverse strengths of the regularization that cross-validation compares.
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5
# A word must occur in at least this many steps.
MIN_STEPS = 3
# Minimum slope: keeps the order of the scores, although random labels may give a negative slope.
MIN_SLOPE = 1e-3
# Rounded, so that machines with different rounding in the last digit write the same file.
SAVED_DIGITS = 6

Floats = NDArray[np.float64]
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


def split_folds(tasks: Sequence[str], chosen: NDArray[np.bool_]) -> Folds:
    """Split the steps so that the steps of a task are in the same fold.

    Raises:
        DataError: outside one of the folds, the labels choose every step or no step.
    """
    feature_extraction()
    from sklearn.model_selection import GroupKFold

    folds = list(GroupKFold(FOLDS).split(chosen, groups=tasks))
    for train, _ in folds:
        if chosen[train].all() or not chosen[train].any():
            which = "every" if chosen[train].all() else "no"
            raise DataError(
                f"the labels choose {which} step of nearly all tasks to train on, so there is "
                "nothing to learn from them. Give a selection under a budget, of more tasks."
            )
    return folds


def fit_regression(
    trajectories: Sequence[Trajectory],
    chosen: NDArray[np.bool_],
    folds: Folds,
    max_words: int,
    embeddings: Floats | None = None,
) -> StepRegression:
    """Fit the regression to the steps of all trajectories.

    Args:
        chosen: [steps], whether the labels chose the step.
        folds: the steps to fit to and the steps to predict, for each fold.
        embeddings: [steps, 3 * size], from the encoder.
    """
    numbers = feature_extraction().DictVectorizer(sparse=False)
    parts = [numbers.fit_transform(chain.from_iterable(map(step_numbers, trajectories)))]
    words, frequencies = _fit_words(chain.from_iterable(map(step_words, trajectories)), max_words)
    if frequencies:
        parts.append(words)
    center, scale = np.zeros(0), 1.0
    if embeddings is not None:
        center, scale = center_and_scale(embeddings)
        parts.append((embeddings - center) / scale)
    weights, intercept = _fit(parts, chosen, folds)
    names = [*numbers.feature_names_, *frequencies]
    by_name, rest = weights[: len(names)], weights[len(names) :] / scale
    return StepRegression(
        inverse_frequency=frequencies,
        weights=dict(zip(names, by_name.round(SAVED_DIGITS).tolist(), strict=True)),
        embedding_weights=tuple(rest.round(SAVED_DIGITS).tolist()),
        intercept=round(intercept - float(center @ rest), SAVED_DIGITS),
    )


def _fit_words(steps: Iterable[list[str]], max_words: int) -> tuple[Any, dict[str, float]]:
    """The TF-IDF matrix [steps, words], and the inverse document frequency of each word."""
    if max_words == 0:
        return None, {}
    vectorizer = word_vectorizer(min_df=MIN_STEPS, max_features=max_words)
    try:
        matrix = vectorizer.fit_transform(steps)
    except ValueError:
        # scikit-learn refuses an empty vocabulary.
        return None, {}
    frequencies = vectorizer.idf_.round(SAVED_DIGITS).tolist()
    return matrix, dict(zip(vectorizer.get_feature_names_out().tolist(), frequencies, strict=True))


def center_and_scale(embeddings: Floats) -> tuple[Floats, float]:
    """The mean row, and the root mean square distance from it (1 where all rows are equal).

    The vectors of most models have a large common part. After centering and scaling they have about
    the length of the word features, and the fit converges faster.
    """
    scale = math.sqrt(float(embeddings.var(axis=0).sum()))
    return embeddings.mean(axis=0), scale if scale > 1e-9 else 1.0


def _fit(parts: Sequence[Any], chosen: NDArray[np.bool_], folds: Folds) -> tuple[Floats, float]:
    """The calibrated weights and the calibrated intercept of a logistic regression."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, make_scorer
    from sklearn.model_selection import GridSearchCV

    features = hstack([csr_matrix(part) for part in parts], format="csr")
    regression = LogisticRegression(max_iter=2_000)
    loss = make_scorer(
        log_loss, greater_is_better=False, response_method="predict_proba", labels=[False, True]
    )
    search = GridSearchCV(regression, {"C": STRENGTHS}, scoring=loss, cv=folds, refit=False)
    regression.set_params(**search.fit(features, chosen).best_params_)
    calibrated = CalibratedClassifierCV(regression, method="sigmoid", cv=folds, ensemble=False)
    (fit,) = calibrated.fit(features, chosen).calibrated_classifiers_
    (platt,) = fit.calibrators
    slope = max(MIN_SLOPE, -platt.a_)
    weights: Floats = slope * fit.estimator.coef_[0]
    return weights, float(slope * fit.estimator.intercept_[0] - platt.b_)
