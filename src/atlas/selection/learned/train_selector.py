"""Distill: `trajectories + selection -> learned selector`.

    OUT/selector.json   the model, readable, with its agreement with the labels on held-out tasks

Tasks are split, so that no trajectory of a held-out task is trained on. A logistic regression is
fitted to the words and numbers of each step, and with an `encoder` to embeddings of its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.progress import track

from atlas.config import BY_CONTENT, Config
from atlas.errors import DataError
from atlas.models.local.load import Precision, model_input
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.learned.fit_regression import FOLDS, fit_regression, split_folds
from atlas.selection.learned.measure_quality import LabeledTrajectory, measure_quality
from atlas.selection.learned.model import MODEL_FILE, LearnedModel, StepScorer, write_model
from atlas.selection.learned.step_embeddings import Embeds, step_embeddings
from atlas.store.readers import TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.store.run_folders import Manifest, Run, run_input, start_run


class SelectTrainConfig(Config):
    """How a selector is distilled from labels."""

    held_out: float = Field(
        0.25, gt=0, lt=1, description="the share of the tasks that are measured on, not trained on"
    )
    max_words: int = Field(
        3_000,
        ge=0,
        description="the most frequent words are features; 0: only position, lengths and errors",
    )
    encoder: Annotated[str | None, BY_CONTENT] = Field(
        None,
        description="a hub id, a model folder or a run folder of train; its mean hidden states "
        "(frozen) are features besides the words",
    )
    precision: Precision = Field(
        "auto", description="of the encoder: fp32, bf16, or auto: bf16 on a GPU that has it"
    )
    seed: int = Field(0, description="which tasks are held out")


def train_selector(
    config: SelectTrainConfig, trajectories: Path, selection: Path, out: Path
) -> Manifest:
    """Train a selector on a selection run of `trajectories`, into the run folder `out`.

    Raises:
        DependencyError: scikit-learn is not installed.
        RunError: a run is missing or unfinished, the selection is of other trajectories, or `out`
            belongs to another run.
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
        if run.finished:
            return run.manifest
        selections = read_selections(selection, trajectories)
        return _write_model(run, config, read_trajectories(trajectories), selections)


def _write_model(
    run: Run,
    config: SelectTrainConfig,
    trajectories: Iterable[Trajectory],
    selections: dict[str, Selection],
) -> Manifest:
    examples, problems = _join_labels(trajectories, selections)
    held_out = _held_out_tasks([example.trajectory.task.id for example in examples], config)
    trained = [example for example in examples if example.trajectory.task.id not in held_out]
    measured = [example for example in examples if example.trajectory.task.id in held_out]
    chosen = np.concatenate([example.is_chosen for example in trained])
    tasks = [one.trajectory.task.id for one in trained for _ in one.trajectory.steps]
    folds = split_folds(tasks, chosen)
    embedder = _load_embedder(config)
    embeddings = None
    if embedder is not None:
        rows = [step_embeddings(one.trajectory, embedder) for one in _with_bar(trained, "embed")]
        embeddings = np.concatenate(rows)
    regression = fit_regression(
        [one.trajectory for one in trained], chosen, folds, config.max_words, embeddings
    )
    scorer = StepScorer(regression, embedder)
    probabilities = [scorer.score(one.trajectory) for one in _with_bar(measured, "measure")]
    model = LearnedModel(
        labels=selections[trained[0].trajectory.id].selector,
        num_trained_trajectories=len(trained),
        num_trained_steps=len(chosen),
        encoder=run.manifest.inputs.get("encoder"),
        regression=regression,
        **dict(measure_quality(measured, probabilities, config.seed)),
    )
    write_model(run.path / MODEL_FILE, model)
    run.write_problems(problems)
    return run.finish(_summary(model))


def _join_labels(
    trajectories: Iterable[Trajectory], selections: dict[str, Selection]
) -> tuple[list[LabeledTrajectory], list[Problem]]:
    examples, problems = [], []
    for trajectory in trajectories:
        label = selections[trajectory.id]
        if label.problem is not None:
            where, reason = f"trajectory {trajectory.id}", f"no labels: {label.problem}"
            problems.append(Problem(where=where, reason=reason, item=trajectory.id))
        elif trajectory.steps:
            examples.append(LabeledTrajectory(trajectory, label.indices, label.budget))
    return examples, problems


def _held_out_tasks(tasks: Sequence[str], config: SelectTrainConfig) -> frozenset[str]:
    """By the hash of each task, so that more trajectories of the same tasks change nothing."""
    different = sorted(
        set(tasks), key=lambda task: hashlib.sha256(f"{config.seed} {task}".encode()).digest()
    )
    count = max(1, round(config.held_out * len(different)))
    left = max(0, len(different) - count)
    if left < FOLDS:
        raise DataError(
            f"the labels are of {len(different)} tasks; {count} of them are held out and {left} "
            f"are left to train on, expected at least {FOLDS}. Label trajectories of more tasks."
        )
    return frozenset(different[:count])


def _load_embedder(config: SelectTrainConfig) -> Embeds | None:
    if config.encoder is None:
        return None
    from atlas.models.local.embeddings import load_embedder

    return load_embedder(config.encoder, config.precision)


def _with_bar(examples: Sequence[LabeledTrajectory], title: str) -> Iterable[LabeledTrajectory]:
    console = Console(stderr=True)
    return track(examples, title, console=console, transient=True, disable=not console.is_terminal)


def _summary(model: LearnedModel) -> dict[str, Any]:
    agreement = model.agreement
    measures = ("kappa", "chance_kappa", "precision", "chance_precision", "beyond_chance")
    return {
        "trained_trajectories": model.num_trained_trajectories,
        "held_out_trajectories": agreement.num_trajectories,
        "held_out_tasks": agreement.num_units,
        **agreement.model_dump(include=set(measures)),
        "calibration_error": model.calibration_error,
        "better_than_chance": "yes"
        if agreement.is_better_than_chance
        else "no: select refuses it unless allow_chance=true",
    }
