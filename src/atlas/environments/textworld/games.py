"""Makes games of TextWorld by kind, level and seed, and keeps the compiled ones in a folder.

The generator of TextWorld keeps global state, so one game is made at a time. A file appears in the
folder under its name only when it is complete, so several processes may share the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import textworld
import textworld.challenges
from textworld.generator import QuestGenerationError, compile_game

from atlas.environments.experts import stream
from atlas.environments.story_text import unknown_stories_allowed
from atlas.errors import ConfigError
from atlas.store.record_files import write_text

_LOCK = threading.Lock()
GAME = "game.z8"


@dataclass(frozen=True, slots=True)
class GameKind:
    """One kind of game: a challenge of TextWorld and its settings for a seed."""

    challenge: str
    settings: Callable[[int], Mapping[str, Any]]


def _cooking(split: str, **more: bool | int) -> Callable[[int], Mapping[str, Any]]:
    plain: dict[str, Any] = {"recipe": 1, "take": 1, "go": 1}
    plain |= dict.fromkeys(("open", "cook", "cut", "drop"), False)
    return lambda seed: {**plain, "split": split, "recipe_seed": seed, **more}


def _of_levels(low: int, high: int) -> Callable[[int], Mapping[str, Any]]:
    return lambda seed: {"level": stream("textworld level", low, seed).randint(low, high)}


LEVELS: dict[str, GameKind] = {
    "coin": GameKind("tw-coin_collector", _of_levels(2, 8)),
    "treasure": GameKind("tw-treasure_hunter", _of_levels(3, 10)),
    "cooking": GameKind("tw-cooking", _cooking("train")),
    # More rooms; doors and boxes; a recipe that has to be cooked, in six rooms.
    "coin-far": GameKind("tw-coin_collector", _of_levels(10, 15)),
    "treasure-doors": GameKind("tw-treasure_hunter", _of_levels(13, 18)),
    "cooking-heat": GameKind("tw-cooking", _cooking("test", cook=True, open=True, go=6)),
}


class GameFolder:
    """The games that were made before, one folder a game."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"textworld-{textworld.__version__}"

    def content(self, level: str, seed: int) -> str:
        """What the player is given and the solution: equal for games that are the same task.

        It is empty if TextWorld cannot make a game of this level from this seed.
        """
        return "\n".join(self._told(level, seed))

    def solution(self, level: str, seed: int) -> list[str]:
        """The commands that win the game."""
        return self._told(level, seed)[1:]

    def _told(self, level: str, seed: int) -> list[str]:
        """The objective and the solution."""
        path = self._folder / f"{level}-{seed}.json"
        found = _read(path)
        if found is None:
            found = []
            with suppress(QuestGenerationError):
                game = _make(level, seed)
                found = [game.objective, *game.metadata["walkthrough"]]
            self._make_folder()
            write_text(path, json.dumps(found))
        return found

    def path(self, level: str, seed: int) -> Path:
        """The compiled game."""
        folder = self._folder / f"{level}-{seed}"
        if not (folder / GAME).is_file():
            self._make_folder()
            made = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                game = _make(level, seed)
                options = textworld.GameOptions()
                options.path = str(made / GAME)
                options.force_recompile = True
                compile_game(game, options)
                # What the game was compiled from.
                (made / GAME).with_suffix(".ni").unlink(missing_ok=True)
                try:
                    made.rename(folder)
                except OSError:
                    # Another process was faster.
                    if not (folder / GAME).is_file():
                        raise
            finally:
                shutil.rmtree(made, ignore_errors=True)
        return folder / GAME

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(self._folder, os.W_OK)
            reason = "" if writable else "permission denied"
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            raise ConfigError(
                f"textworld: its games cannot be kept in '{self._folder}' ({reason}). Name a "
                "folder that can be written with cache=."
            )


def _read(path: Path) -> list[str] | None:
    """The texts in a file; None if there is none, or it is not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_texts = isinstance(found, list) and all(isinstance(text, str) for text in found)
    return found if is_texts else None


def _make(level: str, seed: int) -> Any:
    kind = LEVELS[level]
    options = textworld.GameOptions()
    options.seeds = int(stream("textworld game", level, seed).getrandbits(31))
    make = textworld.challenges.CHALLENGES[kind.challenge][1]
    # A cooking game is played by jericho as it is made.
    with _LOCK, unknown_stories_allowed():
        return make(dict(kind.settings(seed)), options)
