"""Turns the bot's sub-goals into text actions: an errand to an object in view, or a primitive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from minigrid.envs.babyai.core.verifier import ObjDesc
from minigrid.utils.baby_ai_bot import (
    CloseSubgoal,
    DropSubgoal,
    ExploreSubgoal,
    GoNextToSubgoal,
    OpenSubgoal,
    PickupSubgoal,
)

from atlas.environments.babyai.actions import (
    DROP,
    FORWARD,
    LEFT,
    PICKUP,
    RIGHT,
    TOGGLE,
    Plan,
    plan_action,
)
from atlas.environments.babyai.bot import BOT_FAULTS, Bot
from atlas.environments.babyai.view import Cell, SeenObject, View, look
from atlas.errors import EpisodeError

HANDS_ON = (PICKUP, DROP, TOGGLE)
# The text of a primitive, and its situation: in general, and while exploring.
PRIMITIVES = {
    LEFT: ("turn left", "turn", "look"),
    RIGHT: ("turn right", "turn", "look"),
    FORWARD: ("move forward", "walk", "search"),
    DROP: ("drop", "put_down", "put_down"),
    TOGGLE: ("toggle", "open_way", "open_way"),
}
TURNS_TO_SEE = (
    (-1, "turn left", "turn_to"),
    (1, "turn right", "turn_to"),
    (2, "turn right", "turn_back"),
)


class PlayedLevel(Protocol):
    """What an expert needs of the environment; `seen` holds the cells that were in view so far.

    `on_primitive` is called after each primitive, with the one that follows in the same action.
    """

    world: Any
    seen: set[Cell]
    max_steps: int
    num_turns: int
    on_primitive: Callable[[int, int | None], None] | None

    @property
    def view(self) -> View: ...


@dataclass(frozen=True, slots=True)
class Move:
    """A text action, and the reason for it.

    Attributes:
        situation: a row of the phrase tables.
        final: whether the action reaches the goal.
        noun: the object that the action is for, in words.
    """

    action: str
    situation: str
    target: SeenObject | None = None
    final: bool = False
    noun: str | None = None


class MovePlanner:
    """Plans the episode that was just reset, and tracks what the environment carries out."""

    def __init__(self, environment: PlayedLevel) -> None:
        self._environment = environment
        self._world = environment.world
        self._fault: Exception | None = None
        self.bot = Bot(self._world)
        self._replan(None)
        environment.on_primitive = self._follow

    @property
    def walking(self) -> bool:
        """Whether the bot is walking. Only then does it accept moves that it did not suggest."""
        return bool(self.bot.stack) and isinstance(self.bot.stack[-1], GoNextToSubgoal)

    def next_move(self) -> Move:
        """The text action for the top of the stack.

        Raises:
            EpisodeError: the bot considers the goal reached, or its next move has no text action.
            one of BOT_FAULTS: the bot cannot go on.
        """
        if self._fault is not None:
            raise self._fault
        bot = self.bot
        bot.renew_drop_position()
        if not bot.stack:
            raise EpisodeError(
                "babyai: the expert believes to be done, but the goal is not reached."
            )
        top, rest = bot.stack[-1], bot.stack[:-1]
        in_front = self._environment.view.of(self._world.grid.get(*self._world.front_pos))
        match top:
            case GoNextToSubgoal():
                return (
                    self._errand(top, rest)
                    or self._turn_to_see(top)
                    or self._way_through(top)
                    or self._primitive()
                )
            case PickupSubgoal() if in_front is not None:
                return self._pickup(top, in_front, rest)
            case OpenSubgoal() if in_front is not None and in_front.thing.type == "door":
                return self._open(top, in_front, rest)
            case DropSubgoal() if top in bot.places:
                return Move("drop", "place", final=not rest)
            case DropSubgoal():
                waiting = [goal for goal in rest if isinstance(goal, PickupSubgoal)]
                returns = any(goal not in bot.fetches for goal in waiting)
                return Move("drop", "put_aside" if returns else "put_down")
            case CloseSubgoal():
                return Move("toggle", "close")
        return self._primitive()

    def works(self, action: str) -> bool:
        """Whether the environment would carry out `action` now."""
        view, seen = self._environment.view, self._environment.seen
        return isinstance(plan_action(action, self._world, view, seen), Plan)

    def _errand(self, top: Any, rest: list[Any]) -> Move | None:
        """One action that goes to an object in view and does what the sub-goal below says."""
        target = self._environment.view.of(self.bot.thing_at(top))
        if target is None or top.reason in ("PutNext", "Explore"):
            return None
        below = rest[-1] if rest else None
        if isinstance(below, PickupSubgoal):
            move = self._pickup(below, target, rest[:-1])
        elif isinstance(below, OpenSubgoal) and target.thing.type == "door":
            move = self._open(below, target, rest[:-1])
        elif isinstance(top.datum, ObjDesc):
            move = Move(f"go to {target.label}", "reach", target, final=not rest)
        else:
            return None
        return move if self.works(move.action) else None

    def _pickup(self, goal: Any, target: SeenObject, rest: list[Any]) -> Move:
        bot = self.bot
        unplanned = "take_back" if target.thing in bot.carried else "clear"
        situation = "fetch" if goal in bot.fetches else unplanned
        drops_at_end = len(rest) == 1 and isinstance(rest[0], DropSubgoal)
        is_last = not rest or (drops_at_end and rest[0] not in bot.places)
        final = goal in bot.mission_goals and is_last
        return Move(f"pickup {target.label}", situation, target, final)

    def _open(self, goal: Any, door: SeenObject, rest: list[Any]) -> Move:
        """Open a door by going through it.

        If the goal names this door and has further parts, the door is opened from in front of it.
        """
        asked_for = not rest or goal in self.bot.mission_goals
        is_open, is_locked = door.thing.is_open, door.thing.is_locked
        if not (asked_for and rest) and not is_open:
            situation = "unlock" if is_locked else "open" if asked_for else "open_way"
            return Move(f"toggle and go through {door.label}", situation, door, final=not rest)
        if not door.is_in_front:
            return Move(f"go to {door.label}", "approach", door)
        return Move("toggle", "close" if is_open else "unlock" if is_locked else "open", door)

    def _turn_to_see(self, top: Any) -> Move | None:
        """A turn toward a known object that is out of view, so that one errand can reach it."""
        thing = None if top.reason in ("PutNext", "Explore") else self.bot.thing_at(top)
        if thing is None or thing.type == "wall" or self._environment.view.of(thing) is not None:
            return None
        noun = self.bot.noun_at(top)
        for turns, action, situation in TURNS_TO_SEE:
            if self._sees_after(thing, turns):
                return Move(action, situation, noun=noun)
        return None

    def _sees_after(self, thing: Any, turns: int) -> bool:
        direction = self._world.agent_dir
        self._world.agent_dir = (direction + turns) % 4
        try:
            return look(self._world).of(thing) is not None
        finally:
            self._world.agent_dir = direction

    def _way_through(self, top: Any) -> Move | None:
        """Go through the first open door on the bot's path, if it is in view."""
        target = self.bot.cell_at(top)
        for cell in self.bot.path_to(target) if target else ():
            thing = self._world.grid.get(*cell)
            if cell != target and thing is not None and thing.type == "door":
                door = self._environment.view.of(thing)
                action = f"go through {door.label}" if door else ""
                return Move(action, "pass", door) if self.works(action) else None
        return None

    def _primitive(self) -> Move:
        suggestion = self.bot.suggestion
        if suggestion not in PRIMITIVES:
            raise EpisodeError(
                f"babyai: the expert's next move is primitive {suggestion}, "
                "which no text action stands for."
            )
        action, situation, exploring = PRIMITIVES[suggestion]
        explores = any(isinstance(goal, ExploreSubgoal) for goal in self.bot.stack)
        return Move(action, exploring if explores else situation)

    def _replan(self, primitive: int | None) -> None:
        try:
            self.bot.replan(primitive)
        except BOT_FAULTS as error:
            # It is raised later, when the next move is planned; the environment has to finish this
            # one.
            self._fault = error

    def _follow(self, primitive: int, following: int | None) -> None:
        """Process one executed primitive.

        Within an errand, walking needs no new plan; other moves do.
        """
        if self._fault is not None:
            return
        if following is None or following in HANDS_ON or primitive in HANDS_ON:
            self._replan(primitive)
        else:
            self.bot.look_around()
