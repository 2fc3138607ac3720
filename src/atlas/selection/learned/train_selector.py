"""Distill: `trajectories + selection -> learned selector`.

    OUT/selector.json the model, and its agreement with the labels on held-out tasks

The split is by task, so that no trajectory of a held-out task is trained on. A logistic regression
is fitted to the words and numeric features of each step and, with an `encoder`, to embeddings of
its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field

from atlas.config import BY_CONTENT, Config, StrPath
from atlas.errors import DataError
from atlas.models.local.load import model_input
from atlas.models.local.precision import Precision
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.learned.fit_regression import FOLDS, fit_regression, split_folds
from atlas.selection.learned.measure_quality import LabeledTrajectory, measure_quality
from atlas.selection.learned.model import MODEL_FILE, LearnedModel, StepScorer, write_model
from atlas.selection.learned.step_embeddings import step_embeddings
from atlas.selection.selectors.base import PRECISIONS, problem_with
from atlas.store.readers import TRAJECTORY_FILES, read_selected
from atlas.store.run_folders import Manifest, Run, run_input, start_run
from atlas.terminal.progress import show_progress

ResultT = TypeVar("ResultT")

# The summary's `better_than_chance` for a selector that was not better than chance.
REFUSED = "no: select refuses it unless allow_chance=true"


class SelectTrainConfig(Config):
    """How a selector is distilled from labels."""

    held_out: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="share of the tasks that are not trained on, to measure the selector on them",
    )
    max_words: int = Field(
        default=3_000,
        ge=0,
        description="how many of the most frequent words are features; 0: use only "
        "position, lengths and errors",
    )
    encoder: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="a hub id, a model folder, or a run folder of train; its mean hidden "
        "states are added to the features, and it is not trained",
    )
    precision: Precision = Field(
        default="auto", description=f"precision of the encoder: {PRECISIONS}"
    )
    seed: int = Field(default=0, description="seed for the choice of held-out tasks")

    def needed_extras(self) -> tuple[str, ...]:
        return ("select",) if self.encoder is None else ("select", "train")


def train_selector(
    config: SelectTrainConfig, trajectories: StrPath, selection: StrPath, out: StrPath
) -> Manifest:
    """Train a selector on a selection run of `trajectories`, and write it to the run folder `out`.

    Raises:
        DependencyError: scikit-learn is not installed.
        RunError: a run is missing or unfinished, the selection is of other trajectories, or `out`
            belongs to another run.
        ModelError: the encoder cannot be loaded.
        DataError: the labels choose nothing or everything, or come from too few tasks.
    """
    trajectories, selection, out = map(Path, (trajectories, selection, out))
    inputs = {
        "trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES)),
        "selection": run_input(selection, out, ("select",)),
    }
    if config.encoder is not None:
        inputs["encoder"] = model_input(config.encoder, out)
    with start_run(out, "select-train", config, inputs) as run:
        if run.finished:
            return run.manifest
        return _write_model(run, config, read_selected(selection, trajectories))


def _write_model(
    run: Run, config: SelectTrainConfig, pairs: Iterable[tuple[Trajectory, Selection]]
) -> Manifest:
    examples, problems = _join_labels(pairs)
    held_out = _held_out_tasks([example.task for example in examples], config)
    trained = [example for example in examples if example.task not in held_out]
    measured = [example for example in examples if example.task in held_out]
    chosen = np.concatenate([example.is_chosen for example in trained])
    tasks = [example.task for example in trained for _ in example.trajectory.steps]
    folds = split_folds(tasks, chosen)
    embedder = embeddings = None
    if config.encoder is not None:
        from atlas.models.local.embeddings import load_embedder

        embedder = load_embedder(config.encoder, config.precision)
        embed = partial(step_embeddings, embedder=embedder)
        embeddings = np.concatenate(_with_bar("embed", embed, trained))
    regression = fit_regression(
        [example.trajectory for example in trained], chosen, folds, config.max_words, embeddings
    )
    score = partial(StepScorer(regression).score, embedder=embedder)
    quality = measure_quality(measured, _with_bar("measure", score, measured))
    model = LearnedModel(
        labels=trained[0].label.selector,
        num_trained_trajectories=len(trained),
        num_trained_steps=len(chosen),
        encoder=run.manifest.inputs.get("encoder"),
        regression=regression,
        **dict(quality),
    )
    write_model(run.path / MODEL_FILE, model)
    run.write_problems(problems)
    return run.finish(_summary(model))


def _join_labels(
    pairs: Iterable[tuple[Trajectory, Selection]],
) -> tuple[list[LabeledTrajectory], list[Problem]]:
    examples, problems = [], []
    for trajectory, label in pairs:
        if label.problem is not None:
            problems.append(problem_with(trajectory.id, f"no labels: {label.problem}"))
        elif trajectory.steps:
            examples.append(LabeledTrajectory(trajectory, label))
    return examples, problems


def _held_out_tasks(tasks: Sequence[str], config: SelectTrainConfig) -> frozenset[str]:
    """Choose them by hash, so that more trajectories of the same tasks do not change the choice."""
    different = sorted(
        set(tasks), key=lambda task: hashlib.sha256(f"{config.seed} {task}".encode()).digest()
    )
    count = max(1, round(config.held_out * len(different)))
    left = max(0, len(different) - count)
    if left < FOLDS:
        raise DataError(
            f"the labels cover {len(different)} tasks; {count} of them are held out and {left} "
            f"are left to train on, expected at least {FOLDS}. Label trajectories of more tasks."
        )
    return frozenset(different[:count])


def _with_bar(
    title: str, compute: Callable[[Trajectory], ResultT], examples: Sequence[LabeledTrajectory]
) -> list[ResultT]:
    results = []
    with show_progress(title, len(examples)) as bar:
        for example in examples:
            results.append(compute(example.trajectory))
            bar.advance()
    return results


def _summary(model: LearnedModel) -> dict[str, Any]:
    agreement = model.agreement
    measures = {"kappa", "chance_kappa", "precision", "chance_precision"}
    measures |= {"beyond_chance", "beyond_position"}
    is_better = agreement.is_better_than_chance
    return {
        "trained_trajectories": model.num_trained_trajectories,
        "held_out_trajectories": agreement.num_trajectories,
        "held_out_tasks": agreement.num_units,
        **agreement.model_dump(include=measures),
        "calibration_error": model.calibration_error,
        "better_than_chance": "yes" if is_better else REFUSED,
    }
