"""Distil: `trajectories + selection -> learned selector`. A logistic regression on the text and place of each step, and with an
`encoder` on its embeddings of the text.

    OUT/selector.json   the model, readable, with its agreement with the labels on held-out trajectories

Tasks are split, so that no trajectory of a held-out task is trained on. The strength of the regularisation and the calibration
(Platt 1999) come from predictions for folds of tasks that were left out, the agreement from the held-out part alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from rich.progress import track

from atlas.config import BY_CONTENT, Config
from atlas.errors import DataError, DependencyError
from atlas.models.local.load import Precision, model_input
from atlas.records import Problem, Trajectory
from atlas.selection.learned.model import (
    MODEL_FILE,
    LearnedModel,
    best_steps,
    step_probabilities,
    write_model,
)
from atlas.selection.learned.step_features import (
    Words,
    inverse_frequencies,
    step_numbers,
    step_words,
    weigh,
)
from atlas.selection.step_embeddings import Embeds, EncoderPart, center_and_scale, step_embeddings
from atlas.statistics.agreement import Overlap, measure_agreement
from atlas.statistics.bootstrap import bootstrap_ratio
from atlas.store.readers import TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.store.run_folders import Input, Manifest, Run, run_input, start_run

STRENGTHS = (
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
)  # tried by cross-validation: the inverse of the regularisation
CALIBRATION_STRENGTH = (
    10.0  # weak, but so that labels without an exception do not make every probability 0 or 1
)
FOLDS = 5
BINS = 10
DIGITS = 6  # of what is saved: the same file from machines that round differently in the last place

Floats = NDArray[np.float64]


class SelectTrainConfig(Config):
    """How a selector is distilled from labels."""

    held_out: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="the share of the tasks whose labels only measure, never train",
    )
    max_words: int = Field(
        3_000,
        ge=0,
        description="the most frequent words are features; 0: position, lengths and errors alone",
    )
    encoder: Annotated[str | None, BY_CONTENT] = Field(
        None,
        description="a hub id, a model folder or a run folder of train, whose mean hidden states (frozen) are features besides the words",
    )
    precision: Precision = Field(
        "auto", description="of the encoder: fp32, bf16, or auto: bf16 on a GPU that has it"
    )
    seed: int = Field(0, description="which tasks are held out")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled trajectory: what the labels chose, and how many steps they could have chosen."""

    trajectory: Trajectory
    chosen: frozenset[int]
    budget: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A regression with its calibration."""

    weights: dict[str, float]
    encoder_weights: Floats
    intercept: float
    slope: float
    offset: float


def train_selector(
    config: SelectTrainConfig, trajectories: Path, selection: Path, out: Path
) -> Manifest:
    """Train a selector on the selection run `selection` of the run folder `trajectories`, into the run folder `out`.

    Raises:
        DependencyError: scikit-learn is not installed.
        RunError: a run is missing or unfinished, the selection is of other trajectories, or `out` belongs to another run.
        ModelError: the encoder cannot be loaded.
        DataError: the labels choose nothing or everything, or come from too few tasks.
    """
    inputs = {
        "trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES)),
        "selection": run_input(selection, out, ("select",)),
    }
    if config.encoder is not None:
        inputs["encoder"] = model_input(config.encoder, out)
    with start_run(out, "select-train", config, inputs) as run:
        return run.manifest if run.finished else _write(run, config, trajectories, selection)


def _write(run: Run, config: SelectTrainConfig, trajectories: Path, selection: Path) -> Manifest:
    selections = read_selections(selection, trajectories)
    examples: list[Example] = []
    problems: list[Problem] = []
    for trajectory in read_trajectories(trajectories):
        label = selections[trajectory.id]
        if label.problem is not None:
            problems.append(
                Problem(
                    where=f"trajectory {trajectory.id}",
                    reason=f"no labels: {label.problem}",
                    item=trajectory.id,
                )
            )
        elif trajectory.steps:
            examples.append(Example(trajectory, label.indices, label.budget))
    held_out = _held_out_tasks([example.trajectory.task.id for example in examples], config)
    trained = [example for example in examples if example.trajectory.task.id not in held_out]
    measured = [example for example in examples if example.trajectory.task.id in held_out]
    embedder = _load_embedder(config)
    embeddings = (
        None
        if embedder is None
        else np.concatenate([step_embeddings(one.trajectory, embedder) for one in _shown(trained)])
    )
    model = _train(
        trained,
        config,
        selections[examples[0].trajectory.id].selector,
        embeddings,
        run.manifest.inputs.get("encoder"),
    )
    model = _measured(model, measured, config.seed, embedder)
    write_model(run.path / MODEL_FILE, model)
    run.write_problems(problems)
    return run.finish(_summary(model))


def _held_out_tasks(tasks: Sequence[str], config: SelectTrainConfig) -> frozenset[str]:
    """By the hash of each task: more trajectories of the same tasks change nothing."""
    different = sorted(
        set(tasks), key=lambda task: hashlib.sha256(f"{config.seed} {task}".encode()).digest()
    )
    count = max(1, round(config.held_out * len(different)))
    left = max(0, len(different) - count)
    if left < FOLDS:
        raise DataError(
            f"the labels are of {len(different)} tasks; with {count} of them held out, {left} are left to train on, "
            f"expected at least {FOLDS}. Label trajectories of more tasks."
        )
    return frozenset(different[:count])


def _load_embedder(config: SelectTrainConfig) -> Embeds | None:
    if config.encoder is None:
        return None
    from atlas.models.local.embeddings import load_embedder

    return load_embedder(config.encoder, config.precision)


def _shown(examples: Sequence[Example]) -> Iterable[Example]:
    """With a bar, for a large encoder takes its time."""
    console = Console(stderr=True)
    return track(
        examples, "embed", console=console, transient=True, disable=not console.is_terminal
    )


def _train(
    examples: Sequence[Example],
    config: SelectTrainConfig,
    labels: str,
    embeddings: Floats | None,
    encoder: Input | None,
) -> LearnedModel:
    """The model, its agreement not measured yet. `embeddings` [steps, 3 * size] are of all steps in their order."""
    words = [step for example in examples for step in step_words(example.trajectory)]
    numbers = [step for example in examples for step in step_numbers(example.trajectory)]
    chosen = np.array(
        [
            index in example.chosen
            for example in examples
            for index in range(len(example.trajectory.steps))
        ]
    )
    tasks = np.array(
        [example.trajectory.task.id for example in examples for _ in example.trajectory.steps]
    )
    if chosen.all() or not chosen.any():
        raise DataError(
            f"the labels choose {'every' if chosen.all() else 'no'} step of the {len(examples)} trajectories to train on, "
            "so there is nothing to learn from them. Give a selection under a budget."
        )
    frequencies = inverse_frequencies(words, config.max_words)
    rows = [{**weigh(step, frequencies), **more} for step, more in zip(words, numbers, strict=True)]
    center, scale = center_and_scale(embeddings) if embeddings is not None else (np.zeros(0), 1.0)
    center, scale = center.round(DIGITS), round(scale, DIGITS)
    fit = _fit(
        rows,
        np.zeros((len(rows), 0)) if embeddings is None else (embeddings - center) / scale,
        chosen,
        tasks,
    )
    return LearnedModel(
        encoder=None
        if encoder is None
        else EncoderPart(
            name=encoder.path,
            digest=encoder.digest,
            center=tuple(center.tolist()),
            scale=scale,
            weights=tuple(fit.encoder_weights.round(DIGITS).tolist()),
        ),
        labels=labels,
        num_trained_trajectories=len(examples),
        num_trained_steps=len(chosen),
        inverse_frequency={word: round(value, DIGITS) for word, value in frequencies.items()},
        weights={name: round(weight, DIGITS) for name, weight in fit.weights.items()},
        intercept=round(fit.intercept, DIGITS),
        slope=round(fit.slope, DIGITS),
        offset=round(fit.offset, DIGITS),
        agreement=measure_agreement(()),
        brier=bootstrap_ratio(np.zeros(0), np.zeros(0), 0),
        base_brier=0.0,
        calibration_error=0.0,
    )


def _fit(
    rows: Sequence[Words], embedded: Floats, chosen: NDArray[np.bool_], tasks: NDArray[np.str_]
) -> Fit:
    """Regularisation and calibration from left-out folds of tasks, then the weights from all.

    One row of named features a step, and one of `embedded` [steps, 3 * size] (size 0 without an encoder).
    """
    try:
        from scipy.sparse import csr_matrix, hstack
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold
    except ImportError:
        raise DependencyError("scikit-learn", "select") from None

    def regression(strength: float) -> Any:
        return LogisticRegression(C=strength, max_iter=2_000)

    vectorizer = DictVectorizer()
    named = vectorizer.fit_transform(rows)
    features = hstack([named, csr_matrix(embedded)], format="csr") if embedded.size else named
    folds = list(GroupKFold(FOLDS).split(features, chosen, tasks))
    best: tuple[float, float, Floats] | None = None
    for strength in STRENGTHS:
        scores = np.zeros(len(chosen))
        for train, test in folds:
            if chosen[train].all() or not chosen[train].any():
                continue
            scores[test] = (
                regression(strength)
                .fit(features[train], chosen[train])
                .decision_function(features[test])
            )
        loss = float(np.logaddexp(0, np.where(chosen, -scores, scores)).mean())
        if best is None or loss < best[0] - 1e-9:
            best = (loss, strength, scores)
    assert best is not None
    _, strength, scores = best
    calibration = regression(CALIBRATION_STRENGTH).fit(scores[:, np.newaxis], chosen)
    final = regression(strength).fit(features, chosen)
    coefficients: Floats = final.coef_[0]
    weights = dict(
        zip(vectorizer.feature_names_, coefficients[: named.shape[1]].tolist(), strict=True)
    )
    return Fit(
        weights,
        coefficients[named.shape[1] :],
        float(final.intercept_[0]),
        max(1e-3, float(calibration.coef_[0, 0])),
        float(calibration.intercept_[0]),
    )


def _measured(
    model: LearnedModel, examples: Sequence[Example], seed: int, embedder: Embeds | None
) -> LearnedModel:
    """The model with what it does on held-out trajectories, each at the budget that its labels had."""
    shown = examples if embedder is None else _shown(examples)
    probabilities = [step_probabilities(model, example.trajectory, embedder) for example in shown]
    tasks = [example.trajectory.task.id for example in examples]
    agreement = measure_agreement(
        (
            Overlap(task, best_steps(given, example.budget), example.chosen, len(given))
            for task, example, given in zip(tasks, examples, probabilities, strict=True)
        ),
        seed,
    )
    said = np.array([value for given in probabilities for value in given])
    true = np.array(
        [
            float(index in example.chosen)
            for example in examples
            for index in range(len(example.trajectory.steps))
        ]
    )
    task_of_step = [task for task, given in zip(tasks, probabilities, strict=True) for _ in given]
    different = {task: place for place, task in enumerate(dict.fromkeys(tasks))}
    place = np.array([different[task] for task in task_of_step])
    squares: Floats = np.bincount(place, (said - true) ** 2).astype(np.float64)
    counts: Floats = np.bincount(place).astype(np.float64)
    share = agreement.num_second / agreement.num_steps
    return model.model_copy(
        update={
            "agreement": agreement,
            "brier": bootstrap_ratio(squares, counts, seed),
            "base_brier": round(share * (1 - share), DIGITS),
            "calibration_error": round(_calibration_error(said, true), DIGITS),
        }
    )


def _calibration_error(said: Floats, true: Floats) -> float:
    """Mean distance of predicted and observed share over bins of the prediction, weighed by their size."""
    bins = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    return math.fsum(
        abs(float(np.sum((said - true)[bins == number]))) for number in range(BINS)
    ) / len(said)


def _summary(model: LearnedModel) -> dict[str, Any]:
    agreement = model.agreement
    return {
        "trained_trajectories": model.num_trained_trajectories,
        "held_out_trajectories": agreement.num_trajectories,
        "held_out_tasks": agreement.num_units,
        "kappa": agreement.kappa.model_dump(),
        "chance_kappa": agreement.chance_kappa,
        "precision": agreement.precision.model_dump(),
        "chance_precision": agreement.chance_precision,
        "beyond_chance": agreement.beyond_chance.model_dump(),
        "calibration_error": model.calibration_error,
        "better_than_chance": "yes"
        if agreement.is_better_than_chance
        else "no: select refuses it unless allow_chance=true",
    }
