"""Makes games of TextWorld by kind, level and seed, and keeps the compiled ones in a folder.

The generator of TextWorld keeps global state, so one game is made at a time. A file appears in the
folder under its name only when it is complete, so several processes may share the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import textworld
import textworld.challenges
from textworld.generator import compile_game

from atlas.environments.experts import stream

_LOCK = threading.Lock()
GAME = "game.z8"


@dataclass(frozen=True, slots=True)
class Level:
    """One kind of game: a challenge of TextWorld and its settings for a seed."""

    challenge: str
    settings: Callable[[int], Mapping[str, Any]]


def _cooking(split: str, **more: bool | int) -> Callable[[int], Mapping[str, Any]]:
    plain: dict[str, Any] = {"recipe": 1, "take": 1, "go": 1}
    plain |= dict.fromkeys(("open", "cook", "cut", "drop"), False)
    return lambda seed: {**plain, "split": split, "recipe_seed": seed, **more}


def _of_levels(low: int, high: int) -> Callable[[int], Mapping[str, Any]]:
    return lambda seed: {"level": stream("textworld level", low, seed).randint(low, high)}


LEVELS: dict[str, Level] = {
    "coin": Level("tw-coin_collector", _of_levels(2, 8)),
    "treasure": Level("tw-treasure_hunter", _of_levels(3, 10)),
    "cooking": Level("tw-cooking", _cooking("train")),
    # More rooms; doors and boxes; a recipe that has to be cooked, in six rooms.
    "coin-far": Level("tw-coin_collector", _of_levels(10, 15)),
    "treasure-doors": Level("tw-treasure_hunter", _of_levels(13, 18)),
    "cooking-heat": Level("tw-cooking", _cooking("test", cook=True, open=True, go=6)),
}


class GameFolder:
    """The games that were made before, one folder a game."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"textworld-{textworld.__version__}"

    def content(self, level: str, seed: int) -> str:
        """What the player is told and the solution: equal for games that are the same task."""
        path = self._folder / f"{level}-{seed}.txt"
        if not path.is_file():
            game = _make(level, seed)
            text = "\n".join((game.objective, *game.metadata["walkthrough"]))
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self._folder, delete=False
            ) as file:
                file.write(text)
            Path(file.name).replace(path)
        return path.read_text(encoding="utf-8")

    def path(self, level: str, seed: int) -> Path:
        """The compiled game."""
        folder = self._folder / f"{level}-{seed}"
        if not folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                game = _make(level, seed)
                options = textworld.GameOptions()
                options.path = str(made / GAME)
                options.force_recompile = True
                compile_game(game, options)
                try:
                    os.rename(made, folder)
                except OSError:
                    # Another process was faster.
                    if not (folder / GAME).is_file():
                        raise
            finally:
                shutil.rmtree(made, ignore_errors=True)
        return folder / GAME


def _make(level: str, seed: int) -> Any:
    kind = LEVELS[level]
    options = textworld.GameOptions()
    options.seeds = int(stream("textworld game", level, seed).getrandbits(31))
    make = textworld.challenges.CHALLENGES[kind.challenge][1]
    with _LOCK:
        return make(dict(kind.settings(seed)), options)
