"""One game in the simulator: load, start by seed, act; the end is final."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace

from atlas.environments.java.process import JavaProgram
from atlas.environments.java.simulators import Simulator
from atlas.errors import EpisodeError

PROGRAM = JavaProgram(
    package="textworld_express",
    extra="textworld-express",
    archive="textworld-express.jar",
    entry="textworldexpress.runtime.PythonInterface",
)
# Possible actions that change nothing, because the rules of the game do not allow them now.
REFUSALS = re.compile(
    r"You can't move there|That is already |Your inventory currently has \d+ items, and is full"
)
# What the generator of mapreader says of a seed that gives no map.
NO_MAP = "No locations could be found"


class NoSuchGameError(EpisodeError):
    """A seed for which the generator finds no game."""


@dataclass(frozen=True, slots=True)
class GameState:
    """What the simulator answers.

    Attributes:
        actions: the actions that are possible now, sorted.
        is_refused: the action was not possible, or changed nothing because it is not allowed now.
    """

    text: str
    actions: tuple[str, ...]
    score: float
    is_won: bool
    is_lost: bool
    is_refused: bool = False

    def refused(self, text: str) -> GameState:
        """The same state after something that is not possible."""
        return replace(self, text=text, is_refused=True)


@dataclass(slots=True)
class ExpressGame:
    """A game that is played in a simulator of the shared Java process."""

    simulator: Simulator = field(default_factory=lambda: Simulator(PROGRAM))
    loaded: tuple[str, str] | None = None
    task: str = ""
    state: GameState | None = None

    def start(self, game: str, parameters: str, fold: str, seed: int) -> GameState:
        """Start a game; its task is then in `task`.

        Raises:
            NoSuchGameError: the seed gives no game with these parameters.
            EpisodeError: the Java process ended.
        """
        if self.loaded != (game, parameters):
            if said := self.simulator.call("load", game, parameters):
                raise EpisodeError(f"textworld-express: {game} with {parameters}: {said}")
            self.loaded = (game, parameters)
        try:
            answer = self.simulator.call("generateNewGameJSON", seed, fold, False)
        except EpisodeError as error:
            # After an error, the simulator answers nothing else until it loads again.
            self.loaded = None
            if NO_MAP in str(error):
                raise NoSuchGameError(f"{game} has no game with seed {seed}") from None
            raise
        self.task = str(self.simulator.call("getTaskDescription")).strip()
        self.state = _read(answer)
        return self.state

    def act(self, action: str) -> GameState:
        """The state after an action; impossible ones change nothing."""
        before = self.state
        assert before is not None, "no game has started"
        known = {possible.lower(): possible for possible in before.actions}
        possible = known.get(" ".join(action.lower().split()))
        if possible is None:
            return before.refused("That is not possible here.")
        answer = self.simulator.call("stepJSON", possible)
        self.state = _read(answer)
        return self.state

    def close(self) -> None:
        """Free the simulator."""
        self.simulator.close()


def _read(answer: str) -> GameState:
    found = json.loads(answer)
    text = "\n".join(line.rstrip() for line in found["observation"].strip().splitlines())
    return GameState(
        text=text,
        actions=tuple(sorted(found["validActions"])),
        score=min(1.0, max(0.0, float(found["score"]))),
        is_won=bool(found["tasksuccess"]),
        is_lost=bool(found["taskfailure"]) and not found["tasksuccess"],
        is_refused=REFUSALS.match(text) is not None,
    )
