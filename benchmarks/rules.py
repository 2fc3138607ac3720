"""What the offline selectors are worth: their agreement with a large language model's labels.

    python benchmarks/rules.py --data AGENTTRAJ --labels LABELS --out benchmarks/results/rules.json

AGENTTRAJ holds AgentTraj's files (babyai_train.json, …), LABELS a file of answers to the oracle's
prompt for each of them (babyai.jsonl, …): lines with `id` (as `atlas import` gives it) and
`answer`. The labels are split into two halves by a hash of the id: rules are changed by what the
development half shows, and what they are worth is read from the test half. The budget is that of
the labels: floor(0.3 T), at least 1.

kappa is (common - expected) / (mean of both numbers of steps - expected), where the expected
number of common steps is that of a random draw within each trajectory. The interval is a 95 %
bootstrap over trajectories.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from atlas.kinds import Choice
from atlas.records import Trajectory
from atlas.selection.budget import step_budget
from atlas.selection.judging.answer import read_answer
from atlas.selection.selectors.base import SELECTOR, SelectorContext
from atlas.store.readers import read_trajectories
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

HALVES = ("development", "test")
NUM_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Labeled:
    """A trajectory, and the steps that the large language model named."""

    trajectory: Trajectory
    named: frozenset[int]

    @property
    def budget(self) -> int:
        return step_budget(len(self.trajectory.steps), 0.3, "floor", 1)

    @property
    def half(self) -> str:
        digest = hashlib.sha256(self.trajectory.id.encode()).digest()
        return HALVES[digest[0] % 2]


def read_labeled(data: Path, labels: Path) -> Iterator[tuple[str, list[Labeled]]]:
    """Each environment with its labeled trajectories."""
    for file in sorted(labels.glob("*.jsonl")):
        source = data / f"{file.stem}_train.json"
        if not source.exists():
            continue
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        answers = {row["id"]: json.dumps(row["answer"]) for row in rows}
        found = []
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            import_trajectories(ImportConfig(paths=(str(source),)), run)
            for trajectory in read_trajectories(run):
                if (answer := answers.pop(trajectory.id, None)) is not None:
                    num_steps = len(trajectory.steps)
                    named = read_answer(answer, range(num_steps), num_steps)
                    found.append(Labeled(trajectory, frozenset(step.index for step in named)))
        if answers:
            raise SystemExit(f"{file}: {len(answers)} ids are not in {source}")
        yield file.stem, found


def chosen_by(name: str, labeled: Labeled, seed: int = 0) -> frozenset[int]:
    """The steps that a selector chooses under the budget of the labels."""
    selector = SELECTOR.make(Choice(name), SelectorContext(name, seed, Path()))
    selection = selector.select(labeled.trajectory, labeled.budget)
    return frozenset(selection.indices)


def kappa(
    pairs: Sequence[tuple[frozenset[int], frozenset[int], int]],
) -> tuple[float, float, float]:
    """Kappa with its 95 % interval; each pair has the two choices and the number of steps."""
    rows = np.array(
        [
            (len(one & other), len(one) * len(other) / steps, (len(one) + len(other)) / 2)
            for one, other, steps in pairs
        ]
    )

    def value(sums: np.ndarray) -> np.ndarray:
        ratio: np.ndarray = (sums[..., 0] - sums[..., 1]) / (sums[..., 2] - sums[..., 1])
        return ratio

    drawn = np.random.default_rng(0).integers(len(rows), size=(NUM_DRAWS, len(rows)))
    low, high = np.percentile(value(rows[drawn].sum(axis=1)), [2.5, 97.5])
    return float(value(rows.sum(axis=0))), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of AgentTraj's files")
    parser.add_argument("--labels", type=Path, required=True, help="the folder of labels")
    parser.add_argument("--selectors", nargs="+", default=["rules", "random"])
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    given = parser.parse_args()
    table = Table("environment", "selector", "half", "trajectories", "kappa", "95 % interval")
    rows = []
    for environment, found in read_labeled(given.data, given.labels):
        for name in given.selectors:
            for half in (*HALVES, "both"):
                part = [one for one in found if half in (one.half, "both")]
                pairs = [
                    (chosen_by(name, one), one.named, len(one.trajectory.steps)) for one in part
                ]
                value, low, high = kappa(pairs)
                interval = f"[{low:.2f}, {high:.2f}]"
                table.add_row(environment, name, half, str(len(part)), f"{value:.2f}", interval)
                numbers = {"kappa": value, "low": low, "high": high}
                rounded = {key: round(number, 3) for key, number in numbers.items()}
                where = {"environment": environment, "selector": name, "half": half}
                rows.append(where | {"trajectories": len(part)} | rounded)
    Console().print(table)
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"benchmark": "rules", "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
