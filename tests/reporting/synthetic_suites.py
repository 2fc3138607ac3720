"""Synthetic runs of many arms on a suite of many environments, with budgets and base skills."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.records import CriticalStep, Outcome, Selection, Source, Task, Trajectory
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.store.run_folders import Input, run_input
from tests.reporting.synthetic_runs import (
    RunFolders,
    make_trajectory,
    write_run,
)

WORLDS = ("maze", "textcraft", "babyai", "blocks", "sokoban", "grid", "kitchen", "sql")
RINGS = ("held_in", "held_out_tasks", "held_out_sizes", "held_out_families")
SKILLS = ("arithmetic", "grammar")


@dataclass(frozen=True)
class MadeArm:
    """An arm: which share of the steps a selector takes, and what that adds to the log-odds."""

    name: str
    selector: str = "random"
    ratio: float = 0.3
    gain: float = 0.0
    label: str | None = None
    seeds: int = 3
    forgets: float = 0.0


BASE = MadeArm("base", "", 0.0, -1.6, "Base model", seeds=1)
ALL = MadeArm("all", "all", 1.0, 0.0, "All steps", forgets=0.3)
CURVES = (
    BASE,
    ALL,
    *(
        MadeArm(f"{selector}-{share}", selector, share / 100, gain, f"{selector} {share} %")
        for selector, gains in (("oracle", (0.0, 0.1, 0.3, 0.2)), ("random", (-0.9, -0.5, -0.3, 0)))
        for share, gain in zip((10, 20, 30, 50), gains, strict=True)
    ),
)


def make_suite_runs(
    root: Path,
    arms: Sequence[MadeArm] = CURVES,
    num_entries: int = 6,
    num_tasks: int = 20,
    has_skills: bool = True,
    reasons: Sequence[str] = ("the server broke after 3 s",),
    crash_share: float = 0.02,
    settings: Mapping[str, Any] | None = None,
) -> RunFolders:
    """Runs of all arms under `root`, and a config that reports on them."""
    trajectories = [_expert(index) for index in range(12)]
    shared = {"trajectories.jsonl": trajectories}
    data = write_run(root / "trajectories", "collect", {"seed": 0}, {}, shared, {})
    made = []
    for arm in arms:
        runs = []
        for seed in range(arm.seeds):
            training = None
            if arm.selector:
                selection = _select(root / f"select-{arm.name}", arm, trajectories, data)
                training = _train(root / f"train-{arm.name}-{seed}", arm, seed, selection, data)
            evaluations = _play(
                root, arm, seed, training, num_entries, num_tasks, reasons, crash_share
            )
            skills = _ask(root, arm, seed, training) if has_skills else None
            runs.append(ArmRun(training=training, evaluations=evaluations, skills=skills))
        made.append(ArmConfig(name=arm.name, label=arm.label, runs=tuple(runs)))
    names = [arm.name for arm in arms]
    reference = "all" if "all" in names else names[-1]
    config = ReportConfig(
        arms=tuple(made),
        reference=reference,
        base="base" if "base" in names and reference != "base" else None,
        resamples=200,
        **(settings or {}),
    )
    return RunFolders(root, config)


def _expert(index: int) -> Trajectory:
    task = Task(id=f"train/{index}", environment="maze", split="train")
    return make_trajectory(index, task, 10, Outcome(status="success", score=1.0), (0, 4))


def _select(path: Path, arm: MadeArm, trajectories: Sequence[Trajectory], data: Path) -> Path:
    if path.exists():
        return path
    selections = []
    for trajectory in trajectories:
        num_steps = len(trajectory.steps)
        budget = max(1, int(arm.ratio * num_steps))
        lot = random.Random(f"{arm.name} {trajectory.id}")
        steps = sorted(lot.sample(range(num_steps), budget))
        selections.append(
            Selection(
                trajectory_id=trajectory.id,
                selector=arm.selector,
                num_steps=num_steps,
                budget=budget,
                critical_steps=tuple(CriticalStep(index=step) for step in steps),
            )
        )
    chosen = {
        "selector": arm.selector,
        "sentence": f"steps by {arm.selector}",
        "asks_a_model": False,
        "model": None,
    }
    return write_run(
        path,
        "select",
        {"selector": {"name": arm.selector}, "ratio": arm.ratio},
        {"trajectories": run_input(data, path)},
        {"selections.jsonl": selections},
        {"chosen_by": chosen},
    )


def _train(path: Path, arm: MadeArm, seed: int, selection: Path, data: Path) -> Path:
    steps = 120
    supervised = max(12, int(arm.ratio * steps))
    summary = {
        "num_trajectories": 12,
        "num_examples": 12,
        "num_tokens": steps * 118,
        "num_steps": steps,
        "num_supervised_tokens": round(supervised * 31 * (1.1 if arm.selector == "oracle" else 1)),
        "num_supervised_steps": supervised,
        "num_dropped_steps": 0,
        "optimizer_steps": 40,
        "final_loss": 0.4,
        "train_seconds": 300 + 400 * arm.ratio + seed,
    }
    inputs = {
        "trajectories": run_input(data, path),
        "selection": run_input(selection, path),
        "model": Input(path="tiny/base-model"),
    }
    luck = random.Random(f"loss {path.name}").random()
    rows = [{"step": step, "loss": 2 / step + 0.1 * luck} for step in range(1, 41)]
    files = {"metrics.jsonl": rows}
    return write_run(path, "train", {"seed": seed, "learning_rate": 1e-5}, inputs, files, summary)


def _play(
    root: Path,
    arm: MadeArm,
    seed: int,
    training: Path | None,
    num_entries: int,
    num_tasks: int,
    reasons: Sequence[str],
    crash_share: float,
) -> dict[str, Path]:
    folder = root / f"evaluate-{arm.name}-{seed}"
    entries: dict[str, dict[str, str]] = {}
    for place in range(num_entries):
        world, ring = WORLDS[place % len(WORLDS)], RINGS[place % len(RINGS)]
        entries[f"{world}-{ring}-{place}"] = {"ring": ring, "world": f"{world}-{place}"}
    figures = json.dumps({"entries": entries})
    suite = write_run(folder, "evaluate --suite", {"title": "made"}, {}, {}, {})
    (suite / "metrics.json").write_text(figures)
    evaluations = {}
    for place, (name, entry) in enumerate(entries.items()):
        path = suite / name
        model = Input(path="tiny/base-model") if training is None else run_input(training, path)
        episodes = [
            _episode(arm, seed, name, entry["world"], place, index, reasons, crash_share)
            for index in range(num_tasks)
        ]
        config = {"environment": entry["world"], "split": entry["ring"], "model": "given"}
        files = {"episodes.jsonl": episodes}
        evaluations[name] = write_run(path, "evaluate", config, {"model": model}, files, {})
    return evaluations


def _episode(
    arm: MadeArm,
    seed: int,
    entry: str,
    world: str,
    place: int,
    index: int,
    reasons: Sequence[str],
    crash_share: float,
) -> Trajectory:
    task = Task(id=f"{entry}/{index}", environment=world, group=f"level {index % 3}")
    hard = random.Random(f"task {task.id}").gauss(0, 1) - 0.25 * (place % 4)
    lot = random.Random(f"{arm.name} {seed} {task.id}")
    luck = random.Random(f"{arm.name} {seed}").gauss(0, 0.15)
    is_success = lot.random() < 1 / (1 + math.exp(-(0.4 + hard + arm.gain + luck)))
    draw, num_steps = lot.random(), lot.randint(3, 12)
    if draw < crash_share:
        outcome = Outcome(status="error", reason=lot.choice(list(reasons)))
    elif is_success:
        outcome = Outcome(status="success", score=1.0)
    elif draw < 0.7:
        num_steps, outcome = 15, Outcome(status="truncated", score=0.0, reason="step limit")
    else:
        outcome = Outcome(status="failure", score=0.0)
    made = make_trajectory(index, task, num_steps, outcome)
    is_bad = outcome.status == "truncated" and draw < 0.5
    steps = tuple(
        step.model_copy(update={"action": "go" if is_bad else f"go {number}", "is_invalid": is_bad})
        for number, step in enumerate(made.steps)
    )
    details = {"cut_steps": [0] if draw > 0.9 else []}
    source = Source(name="agent", details=details)
    return made.model_copy(update={"steps": steps, "source": source})


def _ask(root: Path, arm: MadeArm, seed: int, training: Path | None) -> Path:
    path = root / f"skills-{arm.name}-{seed}"
    model = Input(path="tiny/base-model") if training is None else run_input(training, path)
    items = [
        {
            "task": task,
            "item": item,
            "score": float(random.Random(f"{task} {item} {arm.name} {seed}").random() > share),
        }
        for task in SKILLS
        for item in range(60)
        for share in (0.2 + arm.forgets,)
    ]
    config = {"tasks": list(SKILLS), "model": "given"}
    return write_run(
        path, "evaluate --skills", config, {"model": model}, {"items.jsonl": items}, {}
    )
