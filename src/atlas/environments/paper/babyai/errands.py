"""The actions that AgentGym offers in a sight, each with the primitive moves that it stands for.

AgentGym's ways are kept, also where they surprise, because the recorded trajectories depend on
them:
- Paths may use cells that were not seen, and lead through closed doors, where they then end early.
- `go to` and `pickup` count only the things that a path leads to, the description counts all.
- `go through` ends in the doorway.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from atlas.environments.babyai.actions import (
    CHECK_ACTIONS,
    DIRECTIONS,
    DROP,
    FORWARD,
    LEFT,
    PICKUP,
    RIGHT,
    TOGGLE,
    State,
)
from atlas.environments.babyai.view import Cell
from atlas.environments.paper.babyai.sight import OBSTACLES, Sight, Spotted

NO_WAY = "as there is no path leading to it."


@dataclass(frozen=True, slots=True)
class Errands:
    """The actions in a sight.

    Attributes:
        moves: action -> its primitive moves.
        refusals: action that is not possible -> why.
        targets: action -> the cell of the thing that it is about.
    """

    moves: dict[str, tuple[int, ...]] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    targets: dict[str, Cell] = field(default_factory=dict)


def list_errands(sight: Sight) -> Errands:
    """All actions that AgentGym offers in `sight`, in its order."""
    errands = Errands({"turn left": (LEFT,), "turn right": (RIGHT,)})
    paths = _Paths(sight)
    if sight.barriers and sight.barriers[0][1] <= 1:
        errands.refusals["move forward"] = (
            "There is a barrier in front of you, you can't move forward."
        )
    else:
        errands.moves["move forward"] = (FORWARD,)
    things = [one for one in sight.things if one.kind != "wall"]
    if sight.carrying is None:
        portable = [one for one in things if one.kind not in ("door", "goal")]
        _add_counted(errands, "pickup", portable, paths, (PICKUP,))
    _add_drop(errands, sight)
    for label, one in sight.labels():
        if one.kind == "door":
            _add_door(errands, label, one, sight, paths)
    for one in things:
        if one.kind == "goal":
            _add_goal(errands, one, paths)
    others = [one for one in things if one.kind != "goal"]
    _add_counted(errands, "go to", others, paths, ())
    errands.moves[CHECK_ACTIONS] = ()
    return errands


def _add_counted(
    errands: Errands,
    verb: str,
    things: list[Spotted],
    paths: _Paths,
    last: tuple[int, ...],
) -> None:
    """Add `verb` for each thing; only those with a path are counted."""
    counts: dict[str, int] = {}
    for one in things:
        number = counts.get(one.name, 0) + 1
        action = f"{verb} {one.name} {number}"
        path = paths.beside(one.cell)
        if path is None:
            errands.refusals[action] = f"You cannot {action}, {NO_WAY}"
        else:
            counts[one.name] = number
            errands.moves[action] = (*path, *last)
            errands.targets[action] = one.cell


def _add_drop(errands: Errands, sight: Sight) -> None:
    if sight.carrying is None:
        errands.refusals["drop"] = "You cannot drop the object, as you are not carrying anything."
        return
    dx, dy = DIRECTIONS[sight.direction]
    front = (sight.cell[0] + dx, sight.cell[1] + dy)
    if any(one.cell == front and one.kind in OBSTACLES for one in sight.things):
        errands.refusals["drop"] = (
            "You cannot drop the object, as there is already an object in front of you."
        )
    else:
        errands.moves["drop"] = (DROP,)


def _add_door(errands: Errands, label: str, door: Spotted, sight: Sight, paths: _Paths) -> None:
    color, state, _ = door.name.split()
    through, toggle = f"go through {label}", f"toggle and go through {label}"
    if state == "open":
        inside = paths.onto(door.cell)
        if inside is None:
            errands.refusals[through] = f"You cannot {through}, {NO_WAY}"
        else:
            errands.moves[through] = inside
            errands.targets[through] = door.cell
        return
    held = sight.carrying
    if state == "locked" and (held is None or held.type != "key"):
        errands.refusals[toggle] = f"You cannot {toggle}, as you are not carrying a key."
        return
    if state == "locked" and held.color != color:
        errands.refusals[toggle] = (
            f"You cannot {toggle}, as the color of the key you are carrying does not match the "
            "color of door."
        )
        return
    path = paths.beside(door.cell)
    if path is None:
        # AgentGym writes its table of counts here instead of the number.
        counts = _door_counts(sight, door)
        errands.refusals[toggle] = (
            f"You cannot toggle and go through {door.name} {counts}, {NO_WAY}"
        )
    else:
        errands.moves[toggle] = (*path, TOGGLE, FORWARD)
        errands.targets[toggle] = door.cell
    if path == ():
        errands.moves["toggle"] = (TOGGLE,)
    if state == "closed":
        errands.refusals[through] = (
            f"You cannot {through}, as it is closed. You should toggle it first."
        )


def _door_counts(sight: Sight, last: Spotted) -> dict[str, int]:
    """The doors up to `last` by name."""
    counts: dict[str, int] = {}
    for one in sight.things:
        if one.kind == "door":
            counts[one.name] = counts.get(one.name, 0) + 1
        if one is last:
            break
    return counts


def _add_goal(errands: Errands, goal: Spotted, paths: _Paths) -> None:
    path = paths.onto(goal.cell)
    if path is None:
        errands.refusals["go to goal"] = f"You cannot go to the goal, {NO_WAY}"
    else:
        errands.moves["go to goal"] = path


class _Paths:
    """The paths from the agent's place, each computed once."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._beside: dict[Cell, tuple[int, ...] | None] = {}

    def beside(self, target: Cell) -> tuple[int, ...] | None:
        """The moves that end next to `target`, facing it."""
        if target not in self._beside:
            self._beside[target] = self._find(target, arrive=False)
        return self._beside[target]

    def onto(self, target: Cell) -> tuple[int, ...] | None:
        """The moves that end on `target`."""
        return self._find(target, arrive=True)

    def _find(self, target: Cell, *, arrive: bool) -> tuple[int, ...] | None:
        """A path as AgentGym finds it.

        A state counts as visited only once it was taken from the queue, so it can be in the queue
        several times, and the last one to reach it is its predecessor.
        """
        sight = self._sight
        start: State = (*sight.cell, sight.direction)
        came_from: dict[State, tuple[State, int]] = {}
        queue = deque([start])
        taken: set[State] = set()
        columns, rows, blocked = sight.columns, sight.rows, sight.blocked
        while queue:
            state = queue.popleft()
            taken.add(state)
            x, y, direction = state
            dx, dy = DIRECTIONS[direction]
            front = (x + dx, y + dy)
            if target == ((x, y) if arrive else front):
                moves = []
                while state != start:
                    state, move = came_from[state]
                    moves.append(move)
                return tuple(reversed(moves))
            following = (
                ((*front, direction), FORWARD),
                ((x, y, (direction - 1) % 4), LEFT),
                ((x, y, (direction + 1) % 4), RIGHT),
            )
            for new, move in following:
                if new in taken or new[:2] in blocked:
                    continue
                if new[0] in columns and new[1] in rows:
                    queue.append(new)
                    came_from[new] = (state, move)
        return None
