"""The data of the benchmark `selector_agreement`: labeled trajectories as run folders.

    oracle:WORLD    AgentTraj's trajectories with the answers of a large language model
    expert:WORLD    trajectories of atlas's experts (`atlas collect`) with the steps that they mark

Run folders are made once and read again by the next start.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from label_server import Answer

from atlas.kinds import Choice
from atlas.records import Trajectory
from atlas.selection.budget import best_indices, step_budget
from atlas.store.readers import read_trajectories
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from atlas.trajectories.write_trajectories import write_trajectories

FOLDS = 5
# Positions between the first and the last step are counted in this many bins.
POSITION_BINS = 10
SECOND_READING = "second_reading"


@dataclass(frozen=True)
class Labeled:
    """Trajectories of one world, and the labeled steps of each.

    Attributes:
        name: `oracle:textcraft`, `expert:babyai`.
        labels: trajectory id -> labeled steps.
        answers: trajectory id -> the whole answer, for labels of a language model.
        second: the same of a second reader, for some trajectories.
    """

    name: str
    folder: Path
    trajectories: Sequence[Trajectory]
    labels: Mapping[str, frozenset[int]]
    answers: Mapping[str, Answer] = field(default_factory=dict)
    second: Mapping[str, Answer] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """A run folder of all trajectories."""
        return self.part("all", self.trajectories)

    def part(self, name: str, trajectories: Iterable[Trajectory]) -> Path:
        """A run folder of some of the trajectories."""
        path = self.folder / name
        if not (path / "manifest.json").exists():
            write_trajectories(trajectories, path)
        return path

    def drawn(self, size: int, seed: int) -> list[Trajectory]:
        """Some trajectories, in order; a larger draw includes a smaller one."""
        chosen = sorted(self.trajectories, key=lambda one: lot(f"subset {seed} {one.id}"))[:size]
        kept = {one.id for one in chosen}
        return [one for one in self.trajectories if one.id in kept]

    @cached_property
    def by_position(self) -> dict[str, frozenset[int]]:
        """What a control chooses that knows only where labels lie in other trajectories.

        The trajectories are in five folds by task. A position's score is the share of steps there
        that are labeled in the other folds; of equal scores the earlier step is taken.
        """
        counts: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        for one in self.trajectories:
            for index in range(len(one.steps)):
                cell = counts[fold_of(one)][position(index, len(one.steps))]
                cell[0] += index in self.labels[one.id]
                cell[1] += 1
        chosen = {}
        for one in self.trajectories:
            others = [counts[fold] for fold in counts if fold != fold_of(one)]
            scores = []
            for index in range(len(one.steps)):
                place = position(index, len(one.steps))
                cells = [cell[place] for cell in others if place in cell]
                steps = sum(cell[1] for cell in cells)
                scores.append(sum(cell[0] for cell in cells) / steps if steps else 0.0)
            chosen[one.id] = frozenset(best_indices(scores, budget_of(one)))
        return chosen


def lot(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def fold_of(trajectory: Trajectory) -> int:
    return int.from_bytes(lot(f"fold {trajectory.task.id}")[:4], "big") % FOLDS


def budget_of(trajectory: Trajectory) -> int:
    """The budget of the labels: floor(0.3 T), at least 1."""
    return step_budget(len(trajectory.steps), 0.3, "floor", 1)


def position(index: int, num_steps: int) -> int:
    """The bin of a step: the first, one of ten between, or the last."""
    if index in (0, num_steps - 1):
        return 0 if index == 0 else POSITION_BINS + 1
    return 1 + min(POSITION_BINS - 1, POSITION_BINS * index // num_steps)


def read_oracle_labels(labels: Path, sources: Path, work: Path) -> list[Labeled]:
    """AgentTraj's worlds that have a file of labels."""
    second = _answers_in(labels / f"{SECOND_READING}.jsonl")
    found = []
    for file in sorted(labels.glob("*.jsonl")):
        source = sources / f"{file.stem}_train.json"
        if file.stem == SECOND_READING or not source.exists():
            continue
        answers = _answers_in(file)
        imported = work / "imported" / file.stem
        import_trajectories(ImportConfig(paths=(str(source),)), imported)
        kept = [one for one in read_trajectories(imported) if one.id in answers]
        if len(kept) < len(answers):
            raise SystemExit(f"{file}: {len(answers) - len(kept)} ids are not in {source}")
        name = f"oracle:{file.stem.removeprefix('lmrlgym_')}"
        steps = {
            id_: frozenset(step["index"] for step in answer["critical_steps"])
            for id_, answer in answers.items()
        }
        folder = work / name.replace(":", "-")
        found.append(Labeled(name, folder, kept, steps, answers, second))
    return found


def play_experts(worlds: Sequence[str], episodes: int, seed: int, work: Path) -> list[Labeled]:
    """Episodes of experts; every step that an expert marks is labeled."""
    found = []
    for world in worlds:
        run = work / "collected" / world
        config = CollectConfig(environment=Choice(world), episodes=episodes, seed=seed, workers=1)
        collect_experts(config, run)
        kept = [one for one in read_trajectories(run) if len(one.steps) >= 3]
        labels = {
            one.id: frozenset(
                index
                for index, step in enumerate(one.steps)
                if step.annotation is not None and step.annotation.is_marked
            )
            for one in kept
        }
        found.append(Labeled(f"expert:{world}", work / f"expert-{world}", kept, labels))
    return found


def _answers_in(file: Path) -> dict[str, Answer]:
    if not file.exists():
        return {}
    rows: list[dict[str, Any]] = list(
        map(json.loads, file.read_text(encoding="utf-8").splitlines())
    )
    return {row["id"]: row["answer"] for row in rows}
