"""Settings of TextWorld-Express; importing them imports neither py4j nor Java."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile

Game = Literal[
    "cookingworld",
    "twc",
    "coin",
    "mapreader",
    "arithmetic",
    "sorting",
    "peckingorder",
    "simonsays",
]
Difficulty = Literal["easy", "medium", "hard"]
GAMES: tuple[Game, ...] = get_args(Game)

ROOMS = {"numLocations": (1, 50), "includeDoors": (0, 1), "limitInventorySize": (0, 1)}
# game -> its parameters in the simulator, each with its bounds.
PARAMETERS: dict[Game, Mapping[str, tuple[int, int]]] = {
    "cookingworld": ROOMS
    | {"numLocations": (1, 11), "numIngredients": (1, 5), "numDistractorItems": (0, 10)},
    "twc": ROOMS | {"numLocations": (1, 3), "numItemsToPutAway": (1, 4)},
    "coin": ROOMS | {"numLocations": (1, 11), "numDistractorItems": (0, 10)},
    "mapreader": ROOMS | {"maxDistanceApart": (1, 8), "maxDistractorItemsPerLocation": (0, 3)},
    "arithmetic": {},
    "sorting": {},
    "peckingorder": {},
    "simonsays": {"gameLength": (1, 1000), "numDistractors": (0, 5)},
}


def _rooms(locations: int, doors: int, **others: int) -> dict[str, int]:
    return {
        "numLocations": locations,
        "includeDoors": doors,
        "limitInventorySize": 0,
        **others,
    }


# Presets: the number of rooms, whether there are doors, and what else a game has.
PRESETS: dict[Difficulty, dict[Game, dict[str, int]]] = {
    "easy": {
        "cookingworld": _rooms(2, 0, numIngredients=2, numDistractorItems=3),
        "twc": _rooms(2, 0, numItemsToPutAway=2),
        "coin": _rooms(5, 1, numDistractorItems=0),
        "mapreader": _rooms(8, 0, maxDistanceApart=4, maxDistractorItemsPerLocation=0),
        "simonsays": {"gameLength": 5, "numDistractors": 3},
    },
    "medium": {
        "cookingworld": _rooms(4, 1, numIngredients=2, numDistractorItems=5),
        "twc": _rooms(3, 1, numItemsToPutAway=3),
        "coin": _rooms(7, 1, numDistractorItems=3),
        "mapreader": _rooms(12, 0, maxDistanceApart=4, maxDistractorItemsPerLocation=2),
        "simonsays": {"gameLength": 10, "numDistractors": 3},
    },
    "hard": {
        "cookingworld": _rooms(11, 1, numIngredients=3, numDistractorItems=10),
        "twc": _rooms(3, 1, numItemsToPutAway=4),
        "coin": _rooms(11, 1, numDistractorItems=10),
        "mapreader": _rooms(15, 1, maxDistanceApart=5, maxDistractorItemsPerLocation=3),
        "simonsays": {"gameLength": 20, "numDistractors": 5},
    },
}


class TextWorldExpressConfig(Config):
    """Settings of TextWorld-Express."""

    games: tuple[Game, ...] = Field(
        default=("cookingworld", "coin", "mapreader"),
        min_length=1,
        description="the games of the splits train and held_in_test",
    )
    held_out_games: tuple[Game, ...] = Field(
        default=("twc", "sorting", "arithmetic", "peckingorder"),
        description="the games of the split held_out_test",
    )
    difficulty: Difficulty = Field(
        default="easy", description="sizes of the tasks in train and held_in_test"
    )
    held_out_difficulty: Difficulty = Field(
        default="easy",
        description="sizes of the tasks in held_out_test; if it is another one, the games of train "
        "may be among held_out_games",
    )
    parameters: dict[Game, dict[str, int]] = Field(
        default={},
        description="parameters of a game in place of those of its difficulty, in all splits, such "
        "as parameters.coin.numLocations=7",
    )
    show_actions: bool = Field(
        default=False, description="whether each observation lists the possible actions"
    )
    max_steps: int = Field(
        default=50, ge=1, description="number of turns after which an episode is truncated"
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    @model_validator(mode="after")
    def _is_consistent(self) -> TextWorldExpressConfig:
        for field in ("games", "held_out_games"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(f"{field} has a game twice. Name each game once")
        for game, given in self.parameters.items():
            for name, value in given.items():
                if name not in PARAMETERS[game]:
                    known = ", ".join(PARAMETERS[game]) or "none"
                    raise ValueError(f"parameters.{game} has no '{name}'. Known: {known}")
                low, high = PARAMETERS[game][name]
                if not low <= value <= high:
                    raise ValueError(
                        f"parameters.{game}.{name} is {value}, expected {low} to {high}"
                    )
        for game in self.games:
            if game in self.held_out_games and self._same_sizes(game):
                raise ValueError(
                    f"'{game}' is in games and in held_out_games with the same sizes. Leave it out "
                    "of one, or set another held_out_difficulty"
                )
        return self

    def sizes(self, game: Game, difficulty: Difficulty) -> dict[str, int]:
        """The parameters of a game, by name."""
        merged = PRESETS[difficulty].get(game, {}) | self.parameters.get(game, {})
        return dict(sorted(merged.items()))

    def _same_sizes(self, game: Game) -> bool:
        return self.sizes(game, self.difficulty) == self.sizes(game, self.held_out_difficulty)

    def needed_extras(self) -> tuple[str, ...]:
        return ("textworld-express",)


def written(sizes: Mapping[str, Any]) -> str:
    """Parameters in the simulator's own form, such as `includeDoors=0,numLocations=4`."""
    return ",".join(f"{name}={value}" for name, value in sizes.items())
