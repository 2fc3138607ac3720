"""Trains the same model on the same steps with each objective: does it learn, what is silenced.

    python benchmarks/objective_training.py --data AGENTTRAJ --labels LABELS
        [--world babyai] [--model recipes/base/model] [--num 120] [--only dft clip]
        [--settings epochs=4 learning_rate=1e-3] [--out objective_training.json]

AGENTTRAJ holds AgentTraj's files (babyai_train.json, …), LABELS a file of answers to the oracle's
prompt for each of them. Trained on are the steps that the labels name, with their kinds. A fifth of
the trajectories is held out; their loss is the plain −log π, whatever the objective.

Each line: held-out loss before and after, the share of silenced tokens (factor below 0.1) at the
first and the last step and by kind over the whole training, and processor seconds. Each run is a
new process, one after the other, in fp32 on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from atlas.config import Config
from atlas.records import Selection, Trajectory
from atlas.selection.budget import step_budget
from atlas.selection.judging.answer import read_answer
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES, read_trajectories
from atlas.store.record_files import write_records
from atlas.store.run_folders import run_input, start_run
from atlas.training.config import TrainConfig
from atlas.training.objectives.base import OBJECTIVES
from atlas.training.train_agent import train_agent
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

# Also measured: settings that follow a source more closely, or that move less.
VARIANTS = {
    "mask_low_probability, under=model": {
        "name": "mask_low_probability",
        "under": "model",
        "min_probability": 0.1,
    },
    "clip, high=4": {"name": "clip", "high": 4.0},
    "eksft, max_entropy=1": {"name": "eksft", "max_entropy": 1.0},
}
SETTINGS = ("epochs=4", "learning_rate=1e-3", "batch_size=16", "precision=fp32", "max_tokens=1024")


class NoSettings(Config):
    """The runs of this file have none."""


def main() -> None:
    given = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_tokens = make_runs(given, folder)
        print(num_tokens, flush=True)
        rows = []
        choices: dict[str, Any] = {name: {"name": name} for name in OBJECTIVES} | VARIANTS
        for label, choice in choices.items():
            if given.only and not any(part in label for part in given.only):
                continue
            rows.append({"objective": label} | run(given, folder, label, choice))
            print(line_of(rows[-1]), flush=True)
    given.out.write_text(json.dumps(rows, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of AgentTraj's files")
    parser.add_argument("--labels", type=Path, help="the folder of labels")
    parser.add_argument("--world", default="babyai")
    parser.add_argument("--model", default="recipes/base/model")
    parser.add_argument("--num", type=int, default=120, help="trajectories, at most")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names to run")
    parser.add_argument("--settings", nargs="*", default=SETTINGS, help="of atlas train")
    parser.add_argument("--out", type=Path, default=Path("objective_training.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        train(given)
        sys.exit()
    return given


def make_runs(given: argparse.Namespace, folder: Path) -> str:
    """A run of labeled trajectories and one of the steps that the labels name."""
    lines = (given.labels / f"{given.world}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {row["id"]: json.dumps(row["answer"]) for row in map(json.loads, lines)}
    source = given.data / f"{given.world}_train.json"
    import_trajectories(ImportConfig(paths=(str(source),)), folder / "all")
    labeled = [one for one in read_trajectories(folder / "all") if one.id in answers][: given.num]
    with start_run(folder / "trajectories", "collect", NoSettings()) as run:
        write_records(folder / "trajectories" / TRAJECTORY_FILES["collect"], labeled)
        run.finish({})
    inputs = {"trajectories": run_input(folder / "trajectories", folder / "selection")}
    with start_run(folder / "selection", "select", NoSettings(), inputs) as run:
        named = [selection_of(one, answers[one.id]) for one in labeled]
        write_records(folder / "selection" / SELECTION_FILE, named)
        run.finish({})
    steps = sum(len(one.steps) for one in labeled)
    chosen = sum(len(one.indices) for one in named)
    return f"{given.world}: {len(labeled)} trajectories, {steps} steps, {chosen} of them labeled"


def selection_of(trajectory: Trajectory, answer: str) -> Selection:
    num_steps = len(trajectory.steps)
    return Selection(
        trajectory_id=trajectory.id,
        selector="oracle",
        num_steps=num_steps,
        budget=step_budget(num_steps, 0.3, "floor", 1),
        critical_steps=read_answer(answer, range(num_steps), num_steps),
    )


def run(given: argparse.Namespace, folder: Path, label: str, choice: Any) -> dict[str, Any]:
    """The figures of a training in a new process."""
    out = folder / label.replace(" ", "").replace(",", "-").replace("=", "-")
    task = {"folder": str(folder), "out": str(out), "objective": choice}
    command = [sys.executable, __file__, "--one", json.dumps(task)]
    command += ["--model", given.model, "--settings", *given.settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    held_out = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    silenced = [row["silenced"] for row in rows if "silenced" in row]
    return figures | {"held_out": held_out, "silenced_by_step": silenced}


def train(given: argparse.Namespace) -> None:
    task = json.loads(given.one)
    from atlas.config import load_config

    values = {"model": given.model, "objective": task["objective"]}
    settings = [*given.settings, "held_out=0.2", "held_out_every=1000", "log_every=1"]
    config = load_config(TrainConfig, None, settings, values)
    folder = Path(task["folder"])
    inputs = folder / "trajectories", folder / "selection"
    start = time.process_time()
    manifest = train_agent(config, *inputs, Path(task["out"]))
    names = ("silenced", "mean_factor", "num_supervised_tokens", "num_run_tokens")
    kept = {
        name: value
        for name, value in manifest.summary.items()
        if name in names or name.startswith("silenced_")
    }
    print(json.dumps({"cpu": time.process_time() - start, **kept}))


def line_of(row: dict[str, Any]) -> str:
    name = f"{row['objective']:36}"
    if "failed" in row:
        return f"{name}failed: {row['failed']}"
    before, after = row["held_out"][0], row["held_out"][-1]
    text = f"{name}{before:.3f} -> {after:.3f}, {row['cpu']:.0f} s"
    if not row["silenced_by_step"]:
        return text
    first, last = row["silenced_by_step"][0], row["silenced_by_step"][-1]
    by_kind = ", ".join(
        f"{key.removeprefix('silenced_')} {value:.0%}"
        for key, value in row.items()
        if key.startswith("silenced_") and key != "silenced_by_step"
    )
    return (
        f"{text}, silenced {first:.0%} first, {last:.0%} last, {row['silenced']:.0%} in all "
        f"({by_kind}), mean factor {row['mean_factor']:.2f}"
    )


if __name__ == "__main__":
    main()
