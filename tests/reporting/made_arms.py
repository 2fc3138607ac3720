"""Arms in memory, with the successes that a test gives them: as read from run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlas.reporting.arms import Arm, Evaluation, Repetition, RunFolder, SeedRun, Training
from atlas.reporting.build_report import compute_report
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.report import Report
from atlas.statistics.trajectory_summary import TrajectoryFacts
from atlas.store.run_folders import Input, Manifest

BASE = "base"
STATUSES = {0.0: "failure", 1.0: "success"}
# Successes by split: [R, T], or [R, E, T] with E repetitions; NaN is an episode that broke.
Successes = Mapping[str, Any]


def make_arm(
    name: str,
    successes: Successes,
    num_groups: int = 1,
    environments: int = 1,
    registration: str | None = None,
    rings: Mapping[str, str] | None = None,
) -> Arm:
    """An arm with a training for each row, except for the arm `base`."""
    num_runs = len(next(iter(successes.values())))
    runs = []
    for number in range(1, num_runs + 1):
        training = None
        if name != BASE:
            manifest = Manifest(
                command="train",
                config={"seed": number},
                outputs={"checkpoint/model.safetensors": f"{name} {number}"},
                inputs={"model": Input(path="tiny/base")},
                registration=registration,
            )
            folder = RunFolder(f"{name}/{number}/train", Path(f"train-{name}-{number}"), manifest)
            training = Training(folder, None, None)
        evaluations = {}
        for split, values in successes.items():
            rows = np.atleast_2d(np.asarray(values[number - 1], dtype=float))
            evaluations[split] = Evaluation(
                tuple(
                    _repetition(
                        f"{name}/{number}/evaluate/{split}",
                        place,
                        row,
                        split,
                        num_groups,
                        environments,
                    )
                    for place, row in enumerate(rows)
                ),
                ring=rings[split] if rings else None,
                world=split if rings else None,
            )
        runs.append(SeedRun(training, evaluations, frozenset({f"{name} {number}"})))
    given = tuple(
        ArmRun(
            training=None if name == BASE else Path(f"train-{name}-{number}"),
            evaluations={split: Path(f"{name}-{number}-{split}") for split in successes},
        )
        for number in range(num_runs)
    )
    return Arm(ArmConfig(name=name, label=f"Arm {name}", runs=given), tuple(runs))


def report_on(arms: Sequence[Arm], **settings: Any) -> Report:
    """The report of these arms; the reference is `all`, or the first that is not `base`."""
    names = [arm.name for arm in arms]
    trained = [name for name in names if name != BASE]
    config = ReportConfig(
        arms=tuple(arm.config for arm in arms),
        base=BASE if BASE in names else None,
        **{
            "reference": "all" if "all" in names else trained[0],
            "resamples": 100,
            **settings,
        },
    )
    return compute_report(config, tuple(arms), Path("report"))


def _repetition(
    name: str, place: int, row: Any, split: str, num_groups: int, num_environments: int
) -> Repetition:
    name = f"{name}/{place + 1}"
    manifest = Manifest(command="evaluate", config={}, outputs={"episodes.jsonl": name})
    episodes = {}
    for index, value in enumerate(row):
        task = f"{split}/{index}"
        episodes[task] = TrajectoryFacts(
            task_id=task,
            group=f"level {index % num_groups}",
            status=STATUSES.get(float(value), "error"),  # type: ignore[arg-type]
            score=None if np.isnan(value) else float(value),
            num_steps=3,
            environment=f"world {index % num_environments}",
        )
    return Repetition(RunFolder(name, Path(name), manifest), episodes)
