"""Solves a game with what can be known, without detours: a path that identifies the task."""

from __future__ import annotations

from atlas.environments.experts import stream
from atlas.environments.textworld_express.game import ExpressGame
from atlas.environments.textworld_express.knowledge import ExpressKnowledge
from atlas.environments.textworld_express.solvers.base import Solver
from atlas.environments.textworld_express.solvers.cooking import CookSolver
from atlas.environments.textworld_express.solvers.puzzles import (
    ArithmeticSolver,
    PeckingSolver,
    SimonSolver,
    SortingSolver,
)
from atlas.environments.textworld_express.solvers.rooms import (
    CoinSolver,
    MapSolver,
    TidySolver,
)
from atlas.errors import EpisodeError

SOLVERS: dict[str, type[Solver]] = {
    "cookingworld": CookSolver,
    "twc": TidySolver,
    "coin": CoinSolver,
    "mapreader": MapSolver,
    "arithmetic": ArithmeticSolver,
    "sorting": SortingSolver,
    "peckingorder": PeckingSolver,
    "simonsays": SimonSolver,
}
MAX_MOVES = 200


def solve(game: str, played: ExpressGame) -> str:
    """The actions and texts from the start of a game to its end, one a line.

    The same game gives the same path, whatever its seed is.
    """
    assert played.state is not None
    known = ExpressKnowledge(played.task)
    known.see("", played.state)
    solver = SOLVERS[game](known, stream("textworld-express path"))
    lines: list[str] = []
    while len(lines) < MAX_MOVES and not (played.state.is_won or played.state.is_lost):
        try:
            action = solver.move().action
        except EpisodeError:
            break
        known.see(action, played.act(action))
        lines.append(f"{action} -> {known.text}")
    return "\n".join(lines)
