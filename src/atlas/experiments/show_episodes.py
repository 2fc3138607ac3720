"""The page of episodes of an experiment: `evaluations + selections -> page`, before the report.

OUT/episodes.html   tasks that one of two arms solved, and trajectories with their selected steps
OUT/shown.jsonl     what the page shows; the report links to it
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import Field

from atlas.config import Config
from atlas.experiments.keep_earlier import keep_earlier
from atlas.records import OutcomeStatus, Selection, Trajectory
from atlas.reporting.shown_episodes import (
    EPISODES_COMMAND,
    EPISODES_PAGE,
    SHOWN_FILE,
    ShownEpisode,
)
from atlas.store.readers import TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.store.record_files import RecordIndex, write_records
from atlas.store.run_folders import Manifest, read_manifest, relative_path, run_input, start_run
from atlas.viewing.web.rows import NamedSelection
from atlas.viewing.web.static_page import StaticEntry, write_static

# Task -> the id of its episode and how that ended.
Played = dict[str, tuple[str, OutcomeStatus]]
FAILED: tuple[OutcomeStatus, ...] = ("failure", "truncated")
DATA = "training data"
# Trajectories among which those with different selections are looked for.
NUM_CANDIDATES = 200


class EpisodesConfig(Config):
    """What the page of episodes shows. Paths of the first training of each arm are enough."""

    title: str = Field(description="the title of the page")
    arms: tuple[str, str] = Field(description="the arms whose episodes are beside each other")
    labels: dict[str, str] = Field(
        default_factory=dict, description="the name of each arm on the page, as arm: name"
    )
    played: dict[str, tuple[Path, Path]] = Field(
        description="the run folders of evaluate of the two arms, by split"
    )
    trajectories: Path = Field(description="the trajectories that arms were trained on")
    selections: dict[str, Path] = Field(
        description="the run folders of select whose steps are lit, by arm"
    )
    num_tasks: int = Field(default=20, ge=0, description="the most tasks that are shown")
    num_trajectories: int = Field(
        default=10, ge=1, description="the most trajectories of the training data that are shown"
    )

    def label(self, arm: str) -> str:
        """The name of an arm on the page."""
        return self.labels.get(arm, arm)

    def named_runs(self) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
        """Every run folder with its name, and the commands that may have written it."""
        for split, runs in self.played.items():
            for arm, path in zip(self.arms, runs, strict=True):
                yield f"{arm}/{split}", path, ("evaluate",)
        yield "trajectories", self.trajectories, tuple(TRAJECTORY_FILES)
        for arm, path in self.selections.items():
            yield f"{arm}/selection", path, ("select",)

    def relative_to(self, folder: Path) -> EpisodesConfig:
        """The same config with paths relative to `folder`, as a run folder stores it."""

        def change(given: Any) -> Any:
            if isinstance(given, Path):
                return Path(relative_path(given, folder))
            if isinstance(given, Mapping):
                return {key: change(value) for key, value in given.items()}
            return tuple(map(change, given)) if isinstance(given, tuple) else given

        return EpisodesConfig(**change(self.model_dump()))


def show_episodes(config: EpisodesConfig, out: Path) -> Manifest:
    """Write the page. An earlier one of other runs or settings is kept beside it.

    Raises:
        RunError: a run is missing or unfinished.
        DataError: a file of a run cannot be read.
    """
    inputs = {name: run_input(path, out, commands) for name, path, commands in config.named_runs()}
    stored = config.relative_to(out)
    keep_earlier("page of episodes", out, EPISODES_COMMAND, stored, inputs)
    with start_run(out, EPISODES_COMMAND, stored, inputs, keeps_unfinished=False) as run:
        if run.finished:
            return run.manifest
        pairs = [*_played(config), *_trained(config)]
        entries = [entry for entry, _ in pairs]
        written = write_static(entries, run.path / EPISODES_PAGE, config.title)
        write_records(run.path / SHOWN_FILE, (shown for _, shown in pairs))
        num_played = sum(shown.arm is not None for _, shown in pairs)
        return run.finish(
            {
                "tasks": num_played // len(config.arms),
                "trajectories": len(pairs) - num_played,
                "bytes": written.num_bytes,
            }
        )


def choose_tasks(played: Mapping[str, tuple[Played, Played]], number: int) -> list[tuple[str, str]]:
    """Split and task of at most `number` tasks that only one of two arms solved.

    Splits and directions take turns, so that neither arm looks better than it is.
    """
    won: list[list[tuple[str, str]]] = []
    for split, (left, right) in played.items():
        for one, other in ((left, right), (right, left)):
            won.append(
                [
                    (split, task)
                    for task, (_, status) in one.items()
                    if status == "success" and task in other and other[task][1] in FAILED
                ]
            )
    in_turn = [one for turn in zip_longest(*won) for one in turn if one is not None]
    chosen = set(in_turn[:number])
    return [
        (split, task)
        for split, (left, _) in played.items()
        for task in left
        if (split, task) in chosen
    ]


def _played(config: EpisodesConfig) -> Iterator[tuple[StaticEntry, ShownEpisode]]:
    """Both episodes of each chosen task."""
    played = {
        split: (_read_played(left), _read_played(right))
        for split, (left, right) in config.played.items()
    }
    files = {path: _index(path) for runs in config.played.values() for path in runs}
    for split, task in choose_tasks(played, config.num_tasks):
        for place, arm in enumerate(config.arms):
            trajectory = files[config.played[split][place]][played[split][place][task][0]]
            run = f"{config.label(arm)}, {split}"
            yield StaticEntry(trajectory, run=run), _shown(trajectory, run, arm=arm, split=split)


def _trained(config: EpisodesConfig) -> Iterator[tuple[StaticEntry, ShownEpisode]]:
    """Trajectories of the training data, with the selections of the arms."""
    selections: dict[str, Mapping[str, Selection]] = {
        arm: read_selections(path, config.trajectories) for arm, path in config.selections.items()
    }
    # A selection may be limited to the first trajectories.
    trajectories = _index(config.trajectories)
    ids = [one for one in trajectories if all(one in chosen for chosen in selections.values())]
    for name in _choose_trajectories(ids, selections, config.num_trajectories):
        trajectory = trajectories[name]
        named = {arm: chosen[name] for arm, chosen in selections.items()}
        shown = tuple(
            NamedSelection(config.label(arm), arm, selection) for arm, selection in named.items()
        )
        num_selected = {arm: len(one.critical_steps) for arm, one in named.items()}
        yield (
            StaticEntry(trajectory, shown, run=DATA),
            _shown(trajectory, DATA, num_selected=num_selected),
        )


def _choose_trajectories(
    ids: Sequence[str], selections: Mapping[str, Mapping[str, Selection]], number: int
) -> list[str]:
    """Some ids in the order of the file, those about which the arms disagree first.

    The digests of ids order the candidates: files often have environments or levels in turn.
    """
    drawn = sorted(ids, key=lambda name: hashlib.sha256(name.encode("utf-8", "replace")).digest())
    drawn = drawn[: max(NUM_CANDIDATES, number)]

    def agree(name: str) -> bool:
        return len({chosen[name].indices for chosen in selections.values()}) <= 1

    chosen = set(sorted(drawn, key=agree)[:number])
    return [name for name in ids if name in chosen]


def _read_played(run: Path) -> Played:
    return {one.task.id: (one.id, one.outcome.status) for one in read_trajectories(run)}


def _index(run: Path) -> RecordIndex[Trajectory]:
    name = TRAJECTORY_FILES[read_manifest(run, tuple(TRAJECTORY_FILES)).command]
    return RecordIndex(run / name, Trajectory, "id")


def _shown(trajectory: Trajectory, run: str, **more: Any) -> ShownEpisode:
    return ShownEpisode(
        run=run,
        episode=trajectory.id,
        task=trajectory.task.id,
        status=trajectory.outcome.status,
        num_steps=len(trajectory.steps),
        **more,
    )
