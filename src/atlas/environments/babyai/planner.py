"""From the bot's sub-goals to text actions: an errand if its object is in view, or a primitive."""

from __future__ import annotations

from collections.abc import Callable, Set
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
PRIMITIVE_WORDS = {
    LEFT: "turn left",
    RIGHT: "turn right",
    FORWARD: "move forward",
    DROP: "drop",
    TOGGLE: "toggle",
}
SITUATIONS = {LEFT: "turn", RIGHT: "turn", FORWARD: "walk", DROP: "put_down", TOGGLE: "open_way"}
EXPLORING = {"turn": "look", "walk": "search"}


class PlayedLevel(Protocol):
    """What an expert knows of the environment that it plays in.

    Attributes:
        world: the environment of minigrid.
        seen: the cells that were in view so far.
        on_primitive: called after each primitive, with the one that follows in the same action.
    """

    world: Any
    max_steps: int
    num_turns: int
    on_primitive: Callable[[int, int | None], None] | None

    @property
    def seen(self) -> Set[Cell]: ...

    @property
    def view(self) -> View: ...


@dataclass(frozen=True, slots=True)
class Move:
    """A text action and why it is taken.

    Attributes:
        situation: a row of the phrase tables.
        target: the object of the action.
        final: whether it reaches the goal.
        noun: what it is for, in words.
    """

    action: str
    situation: str
    target: SeenObject | None = None
    final: bool = False
    noun: str | None = None


class MovePlanner:
    """Plans the episode that was just reset, and follows what the environment carries out."""

    def __init__(self, environment: PlayedLevel) -> None:
        self._environment = environment
        self._world = environment.world
        self._fault: Exception | None = None
        self.bot = Bot(self._world)
        self._replan(None)
        environment.on_primitive = self._follow

    @property
    def walking(self) -> bool:
        """Whether the bot is walking somewhere. Only then does it tolerate moves of others."""
        return bool(self.bot.stack) and isinstance(self.bot.stack[-1], GoNextToSubgoal)

    def next_move(self) -> Move:
        """The text action for the top of the stack.

        Raises:
            EpisodeError: the bot takes the goal as reached, or its next move has no words.
            one of BOT_FAULTS: the bot cannot go on.
        """
        if self._fault is not None:
            raise self._fault
        self.bot.renew_drop_position()
        if not self.bot.stack:
            raise EpisodeError(
                "babyai: the expert believes to be done, but the goal is not reached."
            )
        top, rest = self.bot.stack[-1], self.bot.stack[:-1]
        in_front = self._environment.view.of(self._world.grid.get(*self._world.front_pos))
        if isinstance(top, GoNextToSubgoal):
            return (
                self._errand(top, rest)
                or self._turn_to_see(top)
                or self._way_through(top)
                or self._primitive()
            )
        if isinstance(top, PickupSubgoal) and in_front is not None:
            return self._pickup(top, in_front, rest)
        if isinstance(top, OpenSubgoal) and in_front is not None and in_front.thing.type == "door":
            return self._open(top, in_front, rest)
        if isinstance(top, DropSubgoal):
            placing = top in self.bot.places
            returns = any(
                isinstance(goal, PickupSubgoal) and goal not in self.bot.fetches for goal in rest
            )
            return Move(
                "drop",
                "place" if placing else "put_aside" if returns else "put_down",
                final=placing and not rest,
            )
        if isinstance(top, CloseSubgoal):
            return Move("toggle", "close")
        return self._primitive()

    def works(self, action: str) -> bool:
        """Whether the environment would carry out `action` now."""
        environment = self._environment
        return isinstance(
            plan_action(action, self._world, environment.view, environment.seen), Plan
        )

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
        situation = (
            "fetch"
            if goal in bot.fetches
            else "take_back"
            if target.thing in bot.carried
            else "clear"
        )
        only_drop_left = not rest or (
            len(rest) == 1 and isinstance(rest[0], DropSubgoal) and rest[0] not in bot.places
        )
        return Move(
            f"pickup {target.label}",
            situation,
            target,
            final=goal in bot.mission_goals and only_drop_left,
        )

    def _open(self, goal: Any, door: SeenObject, rest: list[Any]) -> Move:
        """Open a door by going through it.

        Where the goal names this door and more is to follow, it is opened from in front of it.
        """
        asked_for = not rest or goal in self.bot.mission_goals
        in_front = (door.ahead, door.right) == (1, 0)
        if (asked_for and rest) or door.thing.is_open:
            if not in_front:
                return Move(f"go to {door.label}", "approach", door)
            return Move(
                "toggle",
                "close" if door.thing.is_open else "unlock" if door.thing.is_locked else "open",
                door,
            )
        situation = "unlock" if door.thing.is_locked else "open" if asked_for else "open_way"
        return Move(f"toggle and go through {door.label}", situation, door, final=not rest)

    def _turn_to_see(self, top: Any) -> Move | None:
        """A turn towards a known object out of view, so that one errand can lead to it."""
        thing = None if top.reason in ("PutNext", "Explore") else self.bot.thing_at(top)
        if thing is None or thing.type == "wall" or self._environment.view.of(thing) is not None:
            return None
        noun = self.bot.noun_at(top)
        if self._sees_after(thing, -1):
            return Move("turn left", "turn_to", noun=noun)
        if self._sees_after(thing, 1):
            return Move("turn right", "turn_to", noun=noun)
        return Move("turn right", "turn_back", noun=noun) if self._sees_after(thing, 2) else None

    def _sees_after(self, thing: Any, turns: int) -> bool:
        direction = self._world.agent_dir
        self._world.agent_dir = (direction + turns) % 4
        try:
            return look(self._world).of(thing) is not None
        finally:
            self._world.agent_dir = direction

    def _way_through(self, top: Any) -> Move | None:
        """Through the first open door on the bot's way, if it is in view."""
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
        if suggestion not in PRIMITIVE_WORDS:
            raise EpisodeError(
                f"babyai: the expert's next move is primitive {suggestion}, "
                "which no text action stands for."
            )
        situation = SITUATIONS[suggestion]
        if any(isinstance(goal, ExploreSubgoal) for goal in self.bot.stack):
            situation = EXPLORING.get(situation, situation)
        return Move(PRIMITIVE_WORDS[suggestion], situation)

    def _replan(self, primitive: int | None) -> None:
        try:
            self.bot.replan(primitive)
        except BOT_FAULTS as error:
            # Raised when the next move is planned: the environment has to finish this one first.
            self._fault = error

    def _follow(self, primitive: int, following: int | None) -> None:
        """Take in one executed primitive.

        Within an errand only hands-on moves need a new plan; walking only shows more.
        """
        if self._fault is not None:
            return
        if following is None or following in HANDS_ON or primitive in HANDS_ON:
            self._replan(primitive)
        else:
            self.bot.look_around()
