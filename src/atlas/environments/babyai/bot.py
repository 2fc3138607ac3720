"""Wraps minigrid's BabyAIBot, and puts its plan into words.

The bot keeps a stack of sub-goals, works on the last of them and suggests one primitive at a time.
It plans only with what it has seen.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeVar

from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.verifier import ObjDesc
from minigrid.utils.baby_ai_bot import (
    BabyAIBot,
    CloseSubgoal,
    DisappearedBoxError,
    DropSubgoal,
    GoNextToSubgoal,
    OpenSubgoal,
    PickupSubgoal,
)

from atlas.environments.babyai.actions import DIRECTIONS
from atlas.environments.babyai.view import Cell, describe

DatumT = TypeVar("DatumT")

# Exceptions of the bot when it cannot continue: its assertions, and uses of missing positions.
BOT_FAULTS = (AssertionError, DisappearedBoxError, IndexError, TypeError)
# Path searches of one replanning; beyond that the bot runs in circles, for example because a key is
# locked in behind its own door.
MAX_SEARCHES = 2_000
RING: tuple[Cell, ...] = ((-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0))
LOCATIONS = {
    "left": " on the left",
    "right": " on the right",
    "front": " in front",
    "behind": " behind",
}


class Bot(BabyAIBot):
    """minigrid's bot with a limited search, a simpler choice of where to drop things, and words."""

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.suggestion: int | None = None
        self.mission_goals = tuple(self.stack)
        self.places = {
            below: above.datum
            for below, above in pairwise(self.stack)
            if getattr(above, "reason", None) == "PutNext"
        }
        # Pick-ups of things that the goal or the plan needs, not of those that are in the way.
        self.fetches: list[Any] = []
        self.carried: list[Any] = []

    # ---- planning ----

    def replan(self, action_taken: int | None = None) -> None:
        """Process the current view and update the stack; `suggestion` is then the next primitive.

        Raises:
            one of BOT_FAULTS: the bot cannot go on.
        """
        self.bfs_counter = 0
        suggestion = super().replan(action_taken)
        self.suggestion = None if suggestion is None else int(suggestion)
        match self.stack:
            case [*_, OpenSubgoal(), CloseSubgoal()]:
                pass
            case [*_, _, CloseSubgoal()]:
                # It would close a door that was opened by mistake, which does not help.
                self.stack.pop()
        self.fetches += [
            below
            for below, above in pairwise(self.stack)
            if isinstance(below, PickupSubgoal) and isinstance(above.datum, ObjDesc)
        ]
        if (carrying := self.mission.carrying) is not None:
            self.carried.append(carrying)

    def look_around(self) -> None:
        """Process the current view without a new plan."""
        self._process_obs()

    def renew_drop_position(self) -> None:
        """Choose again where to drop a key, if the chosen place is now far away.

        An action through a door may lead away from that place. It is kept if the plan returns
        there.
        """
        match self.stack:
            case [*below, DropSubgoal() as drop, GoNextToSubgoal() as going]:
                place, carrying = going.datum, self.mission.carrying
            case _:
                return
        if not _is_cell(place) or carrying is None or carrying.type != "key":
            return
        x, y = self.mission.agent_pos
        if abs(place[0] - x) + abs(place[1] - y) <= 2:
            return
        others = [goal.datum for goal in (*below, drop) if _is_cell(goal.datum)]
        if any(tuple(other) == tuple(place) for other in others):
            return
        nearer = self._find_drop_pos()
        if nearer is not None and tuple(nearer) != tuple(place):
            self.stack[-1] = GoNextToSubgoal(self, nearer)
            self.replan()

    def path_to(self, cell: Cell) -> list[Cell]:
        """The cells of the bot's path; empty if there is none."""
        path, _, _ = self._shortest_path(lambda place, _: place == cell)
        return [(int(x), int(y)) for x, y in path or ()]

    def _breadth_first_search(self, *arguments: Any, **settings: Any) -> Any:
        if self.bfs_counter > MAX_SEARCHES:
            raise AssertionError("no end to replanning")
        return super()._breadth_first_search(*arguments, **settings)

    def _find_drop_pos(self, except_pos: Any = None) -> Any:
        """A spare cell ahead or to one side; otherwise the bot's own choice, often farther."""
        (x, y), (dx, dy) = map(int, self.mission.agent_pos), map(int, self.mission.dir_vec)
        taken = None if except_pos is None else tuple(except_pos)
        ahead = (x + dx, y + dy)
        for place in (ahead, (x - dy, y + dx), (x + dy, y - dx)):
            if place != taken and self._is_spare(place, place == ahead):
                return place
        return super()._find_drop_pos(except_pos)

    def _is_spare(self, place: Cell, ahead: bool) -> bool:
        """Whether a cell is free and not in front of a door.

        The cell ahead is spare only if the free cells around it stay connected without it.
        """
        grid, (x, y) = self.mission.grid, place
        if not self.vis_mask[place] or grid.get(*place) is not None:
            return False
        beside = (grid.get(x + i, y + j) for i, j in DIRECTIONS)
        if any(thing is not None and thing.type == "door" for thing in beside):
            return False
        if not ahead:
            return True
        ring = [(x + i, y + j) for i, j in RING]
        free = [self.vis_mask[cell] and grid.get(*cell) is None for cell in ring]
        num_changes: int = sum(map(operator.ne, free, free[1:] + free[:1]))
        return num_changes <= 2

    # ---- the plan in words ----

    @property
    def pickups(self) -> list[Any]:
        """The planned pick-ups; a new one means a new plan (a key to fetch, a thing to move)."""
        return [goal for goal in self.stack if isinstance(goal, PickupSubgoal)]

    @property
    def needed(self) -> list[ObjDesc]:
        """What the plan still needs, in the order of use."""
        stacked = _data(reversed(self.stack), ObjDesc)
        places = [place for drop, place in self.places.items() if drop in self.stack]
        return stacked + [place for place in places if place not in stacked]

    @property
    def mission_objects(self) -> list[Any]:
        """Every object that the goal or the plan names."""
        descriptions = _data((*self.mission_goals, *self.stack), ObjDesc)
        named = [thing for description in descriptions for thing in description.obj_set]
        return named + _data(self.stack, WorldObj)

    @property
    def noun(self) -> str:
        """The object that is needed now, such as `the red key`."""
        needed = self.needed
        return noun_of(needed[0]) if needed else "my goal"

    @property
    def locked_door(self) -> Any | None:
        """The locked door that the plan has to open, if there is one."""
        things = _data(reversed(self.stack), WorldObj)
        return next((thing for thing in things if thing.type == "door" and thing.is_locked), None)

    def acts(self) -> list[str]:
        """The planned acts in order, such as `pick up the red key` and `open the red door`."""
        acts: list[str] = []
        stack = list(self.stack)
        while stack:
            goal = stack.pop()
            if isinstance(goal, GoNextToSubgoal) and not goal.is_exploratory():
                noun = self.noun_at(goal)
                if stack and isinstance(stack[-1], PickupSubgoal | OpenSubgoal | DropSubgoal):
                    acts.append(_act(stack.pop(), noun, goal.reason == "PutNext"))
                elif noun:
                    acts.append(f"go to {noun}")
            elif isinstance(goal, PickupSubgoal | OpenSubgoal):
                acts.append(_act(goal, _the(self.mission.grid.get(*self.mission.front_pos)), False))
        return acts

    def thing_at(self, goal: Any) -> Any:
        """The object of a go-next-to sub-goal; None for an empty cell or an unseen object."""
        datum = goal.datum
        if isinstance(datum, ObjDesc):
            return self._find_obj_pos(datum, goal.reason == "PutNext")[0]
        return datum if isinstance(datum, WorldObj) else self.mission.grid.get(*datum)

    def cell_at(self, goal: Any) -> Cell | None:
        """The cell that a go-next-to sub-goal leads to, if it is known."""
        cell = goal.datum
        if isinstance(cell, ObjDesc):
            cell = self._find_obj_pos(cell, goal.reason == "PutNext")[1]
        elif isinstance(cell, WorldObj):
            cell = cell.cur_pos
        return None if cell is None else (int(cell[0]), int(cell[1]))

    def noun_at(self, goal: Any) -> str | None:
        """The object of a go-next-to sub-goal in words."""
        return noun_of(goal.datum) if isinstance(goal.datum, ObjDesc) else _the(self.thing_at(goal))


def noun_of(description: Any) -> str:
    """A description in words: `the red key`, `a ball on the left`."""
    words = " ".join(filter(None, (description.color, description.type or "object")))
    article = "the" if len(description.obj_set) == 1 else "a"
    return f"{article} {words}{LOCATIONS.get(description.loc, '')}"


def _the(thing: Any) -> str | None:
    return None if thing is None or thing.type == "wall" else f"the {describe(thing)}"


def _act(goal: Any, noun: str | None, placing: bool) -> str:
    if isinstance(goal, DropSubgoal):
        return f"put it next to {noun}" if placing else "free my hands"
    if isinstance(goal, PickupSubgoal):
        return f"pick up {noun}" if noun else "pick it up again"
    return f"open {noun or 'the door'}"


def _is_cell(datum: Any) -> bool:
    return datum is not None and not isinstance(datum, ObjDesc | WorldObj)


def _data(goals: Iterable[Any], kind: type[DatumT]) -> list[DatumT]:
    """The data of all sub-goals of one kind."""
    return [goal.datum for goal in goals if isinstance(goal.datum, kind)]
