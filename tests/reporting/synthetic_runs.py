"""Synthetic run folders as the other stages write them: the input of a report."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import create_model

from atlas.config import Config
from atlas.records import (
    CRITICAL_KINDS,
    Annotation,
    CriticalStep,
    Message,
    Outcome,
    Selection,
    Source,
    Step,
    Task,
    Trajectory,
)
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.report import Report
from atlas.store.record_files import write_records
from atlas.store.run_folders import Input, run_input, start_run

# Difficulty of each task group (log-odds), and what each arm adds to the log-odds of success.
GROUPS = {
    "held_in_test": {
        "GoToRedBall": 1.6, "GoToLocal": 1.0, "PickupDist": 0.8, "OpenDoor": 0.9,
        "UnlockLocal": -0.4, "PutNextLocal": -0.9, "FindObj": -0.2, "UnlockPickup": -1.2,
    },
    "held_out_test": {
        "ActionObjDoor": 0.1, "OpenDoorsOrder": -0.7, "GoToSeq": -0.5, "KeyCorridor": -1.6,
        "MiniBoss": -1.9,
    },
}  # fmt: skip
GAINS = {
    "base": {"held_in_test": -2.6, "held_out_test": -1.9},
    "all": {"held_in_test": 0.2, "held_out_test": -0.2},
    "critical": {"held_in_test": 0.95, "held_out_test": 0.15},
    "random": {"held_in_test": 0.1, "held_out_test": -0.25},
    "complement": {"held_in_test": -0.6, "held_out_test": -0.9},
}
LABELS = {
    "base": "Base model",
    "all": "All steps",
    "critical": "Critical 30 %",
    "random": "Random 30 %",
    "complement": "Non-critical 30 %",
}
SENTENCES = {
    "all": "every step, nothing was selected",
    "annotated": "the steps that the expert's own annotations mark as critical",
    "random": "steps drawn at random",
    "complement": "steps drawn at random from those outside the selection of 'annotated'",
}
SELECTORS = {"all": "all", "critical": "annotated", "random": "random", "complement": "complement"}


@dataclass
class RunFolders:
    """Where the made-up runs lie, and the report config that compares them."""

    root: Path
    config: ReportConfig
    paths: dict[str, Path] = field(default_factory=dict)

    def episodes(self, arm: str, split: str, seed: int = 0) -> list[Trajectory]:
        lines = (
            (self.paths[f"evaluate-{arm}-{seed}-{split}"] / "episodes.jsonl")
            .read_text()
            .splitlines()
        )
        return [Trajectory.model_validate_json(line) for line in lines]


def read_built(folders: RunFolders, name: str = "report", **changes: Any) -> Report:
    """The report of `folders`, made in a folder beside them with some settings changed."""
    build_report(folders.config.model_copy(update=changes), folders.root.parent / name)
    return Report.model_validate_json((folders.root.parent / name / "report.json").read_bytes())


def write_run(
    path: Path,
    command: str,
    config: dict[str, Any],
    inputs: dict[str, Input],
    files: Mapping[str, Sequence[Any]],
    summary: dict[str, Any],
) -> Path:
    """A finished run folder; `files` holds records, plain rows or text by file name.

    Every setting of `config` decides the result, as in a stage's Config without marks.
    """
    fields: Any = dict.fromkeys(config, (Any, ...))
    kind = create_model("AnyConfig", __base__=Config, **fields)
    with start_run(path, command, kind(**config), inputs) as run:
        for name, rows in files.items():
            (path / name).parent.mkdir(exist_ok=True)
            if isinstance(rows, str):
                (path / name).write_text(rows)
            elif rows and isinstance(rows[0], dict):
                (path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
            else:
                write_records(path / name, rows)
        run.finish(summary)
    return path


def make_trajectory(
    index: int, task: Task, num_steps: int, outcome: Outcome, annotated: Sequence[int] = ()
) -> Trajectory:
    def step(position: int) -> Step:
        kind = CRITICAL_KINDS[0 if position == 0 else 1 + (index + position) % 3]
        return Step(
            observation=(
                Message(role="user", content=f"You see a red ball {position} steps forward."),
            ),
            response=Message(role="assistant", content="Thought: closer.\nAction: move forward"),
            annotation=Annotation(kinds=(kind,), score=0.8)
            if position in annotated
            else Annotation(),
        )

    return Trajectory(
        id=f"{task.id}#{index}",
        task=task,
        steps=tuple(step(position) for position in range(num_steps)),
        outcome=outcome,
        source=Source(name="expert"),
    )


def make_episodes(
    arm: str,
    split: str,
    seed: int,
    num_tasks: int,
    error_share: float = 0.01,
    group_name: str | None = None,
    leaked_tasks: int = 0,
) -> list[Trajectory]:
    """Episodes whose success depends on the arm, the group and the task."""
    groups = list(GROUPS[split].items())
    episodes = []
    for index in range(num_tasks):
        group, ease = groups[index % len(groups)]
        name = (
            f"babyai/train/{index}" if index < leaked_tasks else f"babyai/{split}/{group}/{index}"
        )
        own = f"{group_name} {index % 2}" if group_name else group
        task = Task(id=name, environment="babyai", group=own, split=split)
        hard = random.Random(f"task {task.id}").gauss(0, 1.0)
        lot = random.Random(f"episode {arm} {seed} {task.id}")
        seed_luck = random.Random(f"training {arm} {seed}").gauss(0, 0.12)
        success = lot.random() < 1 / (1 + math.exp(-(ease + hard + GAINS[arm][split] + seed_luck)))
        draw = lot.random()
        if draw < error_share and arm == "random":
            outcome = Outcome(status="error", reason="the environment broke")
        elif success:
            outcome = Outcome(status="success", score=round(0.75 + 0.24 * lot.random(), 4))
        elif draw < 0.7:
            outcome = Outcome(status="truncated", score=0.0, reason="step limit")
        else:
            outcome = Outcome(status="failure", score=0.0)
        num_steps = 20 if outcome.status == "truncated" else lot.randint(3, 14)
        episodes.append(make_trajectory(index, task, num_steps, outcome))
    return episodes


def _select(trajectory: Trajectory, selector: str) -> Selection:
    num_steps = len(trajectory.steps)
    budget = num_steps if selector == "all" else max(1, int(0.3 * num_steps))
    annotated = [
        index
        for index, step in enumerate(trajectory.steps)
        if step.annotation and step.annotation.kinds
    ]
    lot = random.Random(f"{selector} {trajectory.id}")
    rest = [index for index in range(num_steps) if index not in annotated[:budget]]
    indices = {
        "all": list(range(num_steps)),
        "annotated": annotated[:budget],
        "random": lot.sample(range(num_steps), budget),
        "complement": lot.sample(rest, min(budget, len(rest))),
    }[selector]
    steps = tuple(
        CriticalStep(
            index=index,
            kinds=trajectory.steps[index].annotation.kinds if selector == "annotated" else (),
        )
        for index in sorted(indices)
    )
    return Selection(
        trajectory_id=trajectory.id,
        selector=selector,
        num_steps=num_steps,
        budget=budget,
        critical_steps=steps,
    )


def make_run_folders(
    root: Path,
    arms: Sequence[str] = ("base", "all", "critical", "random", "complement"),
    splits: Sequence[str] = ("held_in_test", "held_out_test"),
    num_seeds: int = 1,
    num_tasks: int = 120,
    num_trajectories: int = 60,
    labels: dict[str, str] | None = None,
    error_share: float = 0.01,
    group_name: str | None = None,
    leaked_tasks: int = 0,
    settings_of: dict[str, dict[str, Any]] | None = None,
    asked_model: str | None = None,
) -> RunFolders:
    """Runs of all stages under `root`, and a config that reports on them."""
    rng = random.Random(0)
    trajectories = []
    for index in range(num_trajectories):
        num_steps = rng.randint(4, 18)
        chosen = {0, num_steps - 1} | {
            position for position in range(num_steps) if rng.random() < 0.12
        }
        task = Task(
            id=f"babyai/train/{index}", environment="babyai", group="GoToLocal", split="train"
        )
        outcome = Outcome(status="success", score=0.9)
        trajectories.append(
            make_trajectory(
                index,
                task,
                num_steps,
                outcome,
                sorted(chosen, key=lambda position: (position % 7, position)),
            )
        )
    paths = {
        "trajectories": write_run(
            root / "trajectories",
            "collect",
            {"seed": 0},
            {},
            {"trajectories.jsonl": trajectories},
            {},
        )
    }
    arm_configs = []
    for arm in arms:
        runs = []
        for seed in range(num_seeds if arm != "base" else 1):
            training = (
                None
                if arm == "base"
                else _train(
                    root,
                    paths,
                    arm,
                    seed,
                    trajectories,
                    (settings_of or {}).get(arm, {}),
                    asked_model,
                )
            )
            evaluations = {}
            for split in splits:
                path = root / f"evaluate-{arm}-{seed}-{split}"
                model = (
                    Input(path="tiny/base-model") if training is None else run_input(training, path)
                )
                episodes = make_episodes(
                    arm, split, seed, num_tasks, error_share, group_name, leaked_tasks
                )
                config = {
                    "environment": "babyai",
                    "split": split,
                    "temperature": 0.0,
                    "model": "given",
                }
                evaluations[split] = write_run(
                    path, "evaluate", config, {"model": model}, {"episodes.jsonl": episodes}, {}
                )
                paths[path.name] = path
            runs.append(ArmRun(training=training, evaluations=evaluations))
        arm_configs.append(ArmConfig(name=arm, label=(labels or LABELS).get(arm), runs=tuple(runs)))
    reference = "all" if "all" in arms else arms[0]
    config = ReportConfig(
        arms=tuple(arm_configs),
        reference=reference,
        base="base" if "base" in arms and reference != "base" else None,
    )
    return RunFolders(root, config.model_copy(update={"resamples": 500}), paths)


def _train(
    root: Path,
    paths: dict[str, Path],
    arm: str,
    seed: int,
    trajectories: list[Trajectory],
    settings: dict[str, Any],
    asked_model: str | None,
) -> Path:
    selector = SELECTORS[arm]
    select = root / f"select-{selector}"
    selections = [_select(trajectory, selector) for trajectory in trajectories]
    if selector not in paths:
        inputs = {"trajectories": run_input(paths["trajectories"], select)}
        if selector == "complement" and "annotated" in paths:
            inputs["of"] = run_input(paths["annotated"], select)
        chosen_by = {
            "selector": selector,
            "sentence": SENTENCES[selector],
            "asks_a_model": asked_model is not None and selector == "annotated",
            "model": asked_model,
            "draws": selector in ("random", "complement"),
        }
        paths[selector] = write_run(
            select,
            "select",
            {"selector": {"name": selector}, "ratio": 0.3},
            inputs,
            {"selections.jsonl": selections},
            {"chosen_by": chosen_by},
        )
    path = root / f"train-{arm}-{seed}"
    num_steps = sum(selection.num_steps for selection in selections)
    supervised = sum(len(selection.critical_steps) for selection in selections)
    rng = random.Random(f"loss {arm} {seed}")
    level = {"all": 0.22, "critical": 0.48, "random": 0.24, "complement": 0.16}[arm]
    rows = [
        {
            "step": step,
            "loss": round(
                level + 2.4 * math.exp(-step / 18) + 0.06 * rng.random() + rng.gauss(0, 0.03), 4
            ),
            "learning_rate": 1e-5,
        }
        for step in range(1, 121)
    ]
    tokens_per_step = {"all": 31.0, "critical": 34.2, "random": 31.4, "complement": 29.8}[arm]
    summary = {
        "num_trajectories": len(trajectories),
        "num_examples": len(trajectories),
        "num_tokens": num_steps * 118,
        "num_steps": num_steps,
        "num_supervised_tokens": round(supervised * tokens_per_step),
        "num_supervised_steps": supervised,
        "num_dropped_steps": 0,
        "optimizer_steps": 120,
        "final_loss": round(sum(row["loss"] for row in rows[-10:]) / 10, 4),
        "train_seconds": 612.4 + 10 * seed,
    }
    if arm == "critical":
        # As with an objective; there are no steps without a kind, and none of one kind.
        shares = dict(zip(CRITICAL_KINDS, (0.5, 0.25, 0.125), strict=False))
        of_kinds = {f"silenced_{kind}": share + 0.01 * seed for kind, share in shares.items()}
        summary |= {"objective": "dft", "silenced": 0.2, "mean_factor": 0.7, **of_kinds}
    inputs = {
        "trajectories": run_input(paths["trajectories"], path),
        "selection": run_input(paths[selector], path),
        "model": Input(path="Qwen/Qwen2.5-0.5B-Instruct"),
    }
    return write_run(
        path,
        "train",
        {"seed": seed, "learning_rate": 1e-5} | settings,
        inputs,
        {"metrics.jsonl": rows},
        summary,
    )
