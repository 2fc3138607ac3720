"""Games of ALFWorld in a folder of the user (json_2.1.1), and AgentGym's ids of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.environments.experts import stream
from atlas.environments.splits import check_split, take_tasks
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task

GAME = "game.tw-pddl"
# The folder of each split, in ALFWorld's own division.
FOLDERS = {"train": "train", "held_in_test": "valid_seen", "held_out_test": "valid_unseen"}
# AgentGym serves its test games from the folder of ALFWorld that repeats training games.
MAPPINGS = {
    "paper_train": ("mappings_train.json", "train"),
    "paper_test": ("mappings_test.json", "valid_train"),
}
# The last bytes of a game say whether it can be solved.
TAIL = 400


class FolderGames:
    """The games `<folder>/<part>/<kind …>/<trial>/game.tw-pddl`."""

    def __init__(self, folder: Path, mappings: Path | None) -> None:
        inner = folder / "json_2.1.1"
        self._folder = inner if inner.is_dir() else folder
        self._mappings = mappings
        if not any((self._folder / part).is_dir() for part in FOLDERS.values()):
            expected = ", ".join(FOLDERS.values())
            raise ConfigError(
                f"games={folder}: no folder of games, expected one of {expected} in it, each with "
                f"<kind>/<trial>/{GAME}. Run alfworld-download, or leave games= out."
            )

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """Tasks of ALFWorld's own splits in an order drawn by `seed`, or of AgentGym's lists."""
        check_split("alfworld", split, (*FOLDERS, *MAPPINGS))
        if split in MAPPINGS:
            listed = [(id_, path) for id_, path in self._listed(split) if path.is_file()]
            return [_task(id_, path, split) for id_, path in self._take(split, num_tasks, listed)]
        part = self._folder / FOLDERS[split]
        paths = [path for path in sorted(part.glob(f"*/*/{GAME}")) if _is_plain(path)]
        stream("alfworld tasks", split, seed).shuffle(paths)
        found: list[tuple[str, Path]] = []
        for path in paths:
            if len(found) == num_tasks:
                break
            if _is_solvable(path):
                found.append((_id(path), path))
        return [_task(id_, path, split) for id_, path in self._take(split, num_tasks, found)]

    def load(self, task: Task) -> dict[str, Any]:
        """The game of a task."""
        if task.split in MAPPINGS:
            path = dict(self._listed(task.split)).get(task.id)
        else:
            path = self._folder.joinpath(*task.id.split("/")[1:], GAME)
        try:
            assert path is not None
            game = json.loads(path.read_text(encoding="utf-8"))
            return {key: game[key] for key in ("pddl_domain", "grammar", "pddl_problem")}
        except (AssertionError, OSError, ValueError, KeyError, TypeError) as error:
            raise EpisodeError(
                f"task '{task.id}' has no readable game in {self._folder} "
                f"({type(error).__name__}: {error})"
            ) from None

    def notes(self, split: str) -> Sequence[str]:
        """How many games of AgentGym's list are missing."""
        if split not in MAPPINGS:
            return ()
        listed = self._listed(split)
        missing = sum(not path.is_file() for _, path in listed)
        said = f"alfworld: {missing} of the {len(listed)} games of '{split}' are not in the folder."
        return (said,) if missing else ()

    def _take(
        self, split: str, num_tasks: int, items: Sequence[tuple[str, Path]]
    ) -> Sequence[tuple[str, Path]]:
        return take_tasks("alfworld", split, num_tasks, items)

    def _listed(self, split: str) -> list[tuple[str, Path]]:
        """The ids of AgentGym's list with the path of each game."""
        name, part = MAPPINGS[split]
        if self._mappings is None:
            raise ConfigError(
                f"alfworld: split '{split}' needs AgentGym's {name}. Give its folder "
                "(agentenv-alfworld/configs) with mappings=."
            )
        path = self._mappings / name
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return [
                (
                    # AgentTraj names a training game by its path, AgentEval a test game by number.
                    f"{row['task_type']}_{row['task_id']}"
                    if split == "paper_train"
                    else f"alfworld_{row['item_id']}",
                    self._folder / part / row["task_type"] / row["task_id"] / GAME,
                )
                for row in rows
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"mappings={self._mappings}: {name} cannot be used ({type(error).__name__}: "
                f"{error}). Expected AgentGym's list of item_id, task_type and task_id."
            ) from None


def _task(id_: str, path: Path, split: str) -> Task:
    group = path.parent.parent.name.partition("-")[0]
    return Task(id=id_, environment="alfworld", group=group, split=split)


def _id(path: Path) -> str:
    return "/".join(("alfworld", *path.parts[-4:-1]))


def _is_plain(path: Path) -> bool:
    # As in ALFWorld: these kinds are not supported.
    return not any(word in path.parent.parent.name for word in ("movable", "Sliced"))


def _is_solvable(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return b'"solvable": false' not in file.read()
