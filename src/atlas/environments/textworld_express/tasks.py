"""The tasks: seeds of each game in the folds of the simulator, each task once.

Two seeds may give the same task. Tasks are distinguished by their first text and by the path of a
solver, which depends on nothing but the game. A test task that is also a training task is left out.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from atlas.environments.splits import check_split, too_few
from atlas.environments.textworld_express.config import (
    PARAMETERS,
    Game,
    TextWorldExpressConfig,
    written,
)
from atlas.environments.textworld_express.game import ExpressGame, NoSuchGameError
from atlas.environments.textworld_express.solvers.solve import solve
from atlas.errors import EpisodeError
from atlas.records import Task

WORLD = "textworld-express"
# split -> the fold of the simulator, and its seeds.
FOLDS: dict[str, tuple[str, range]] = {
    "train": ("train", range(1000)),
    "held_in_test": ("test", range(20_000, 21_000)),
    "held_out_test": ("test", range(20_000, 21_000)),
}
# A task in the simulator: parameters, fold, seed.
Place = tuple[str, str, int]


class _Walk:
    """The seeds of a game in a fold, from a start on, each task once; walked on demand.

    Args:
        train_parameters: tasks of the fold train with these parameters are left out.
    """

    def __init__(
        self, game: Game, parameters: str, split: str, start: int, train_parameters: str | None
    ) -> None:
        self._game = game
        self._fold, seeds = FOLDS[split]
        self._parameters = parameters
        start %= len(seeds)
        self._left = [*seeds[start:], *seeds[:start]][::-1]
        self._train_parameters = train_parameters
        # Digest of the first text -> the tasks with that text; paths only where texts agree.
        self._same_text: dict[bytes, list[Place]] = {}
        self._paths: dict[Place, bytes] = {}
        self.found: list[int] = []

    def lacks(self, number: int) -> bool:
        """Whether it has to walk on to have `number` seeds."""
        return len(self.found) < number and bool(self._left)

    def extend(self, number: int, played: ExpressGame) -> None:
        """Walk on until there are `number` seeds, or no more."""
        if self._train_parameters is not None:
            fold, seeds = FOLDS["train"]
            for seed in seeds:
                place = (self._train_parameters, fold, seed)
                if (first := self._first_text(place, played)) is not None:
                    places = self._same_text.setdefault(first, [])
                    if place not in places:
                        places.append(place)
            self._train_parameters = None
        while self.lacks(number):
            seed = self._left[-1]
            is_new = self._is_new((self._parameters, self._fold, seed), played)
            # Only now: if the simulator broke, the next walk starts at this seed.
            self._left.pop()
            if is_new:
                self.found.append(seed)

    def _is_new(self, place: Place, played: ExpressGame) -> bool:
        if (first := self._first_text(place, played)) is None:
            return False
        others = self._same_text.setdefault(first, [])
        if others:
            path = self._path(place, played)
            if any(self._path(other, played) == path for other in others):
                return False
        others.append(place)
        return True

    def _first_text(self, place: Place, played: ExpressGame) -> bytes | None:
        """What an agent sees first; None if the seed gives no game."""
        try:
            state = played.start(self._game, *place)
        except NoSuchGameError:
            return None
        return _digest(f"{played.task}\n{state.text}")

    def _path(self, place: Place, played: ExpressGame) -> bytes:
        if place not in self._paths:
            played.start(self._game, *place)
            self._paths[place] = _digest(solve(self._game, played))
        return self._paths[place]


_walks: dict[tuple[object, ...], _Walk] = {}
_lock = threading.Lock()


def express_tasks(
    config: TextWorldExpressConfig, split: str, num_tasks: int, seed: int
) -> Sequence[Task]:
    """`num_tasks` different tasks of a split, taken from its games in turn.

    Args:
        seed: determines where in the split's range of seeds the tasks start.
    """
    check_split(WORLD, split, list(FOLDS)[: 3 if config.held_out_games else 2])
    is_held_out = split == "held_out_test"
    games = config.held_out_games if is_held_out else config.games
    difficulty = config.held_out_difficulty if is_held_out else config.difficulty
    walks = []
    for game in games:
        parameters = written(config.sizes(game, difficulty))
        trains = split != "train" and game in config.games
        train_parameters = written(config.sizes(game, config.difficulty)) if trains else None
        walks.append((game, parameters, split, seed * 101 % 1000, train_parameters))
    with _lock:
        found = _take(walks, num_tasks)
    if found is None:
        most = sum(len(_walks[walk].found) for walk in walks)
        raise too_few(WORLD, split, num_tasks, most)
    return [
        Task(
            id=f"{WORLD}/{game}/{parameters or 'default'}/{own_seed}",
            environment=WORLD,
            group=game,
            split=split,
            seed=own_seed,
        )
        for game, parameters, own_seed in found
    ]


def parse_task(task: Task) -> tuple[str, str, str, int]:
    """Game, parameters, fold and seed of a task.

    Raises:
        EpisodeError: the task is not one of this world.
    """
    parts = task.id.split("/")
    if len(parts) != 4 or parts[0] != WORLD or parts[1] not in PARAMETERS or task.seed is None:
        raise EpisodeError(
            f"task '{task.id}' with seed {task.seed} is not a task of {WORLD}, expected an id such "
            f"as {WORLD}/coin/numLocations=4/7 and a seed."
        )
    fold = "train" if task.seed in FOLDS["train"][1] else "test"
    return parts[1], parts[2].removeprefix("default"), fold, task.seed


def _take(
    walks: Sequence[tuple[Game, str, str, int, str | None]], num_tasks: int
) -> list[tuple[Game, str, int]] | None:
    """Game, parameters and seed of each task, the games in turn; None if there are too few."""
    taken: list[tuple[Game, str, int]] = []
    with ExitStack() as stack:
        played: ExpressGame | None = None
        for number in range(1, 1001):
            for key in walks:
                walk = _walks.get(key)
                if walk is None:
                    walk = _walks[key] = _Walk(*key)
                if walk.lacks(number):
                    if played is None:
                        played = ExpressGame()
                        stack.callback(played.close)
                    walk.extend(number, played)
                if len(walk.found) >= number:
                    taken.append((key[0], key[1], walk.found[number - 1]))
                if len(taken) == num_tasks:
                    return taken
    return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
