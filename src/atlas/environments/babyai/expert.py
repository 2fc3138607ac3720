"""The expert for BabyAI: minigrid's bot makes the plan, and this module puts it into words.

A step gets hidden labels, and a thought that says so, if the expert makes a plan, sees a needed
object, decides something or corrects a deliberate mistake. Walking, turning and looking around get
no label.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from atlas.environments.babyai.actions import TURNS
from atlas.environments.babyai.bot import BOT_FAULTS
from atlas.environments.babyai.planner import Move, MovePlanner, PlayedLevel
from atlas.environments.babyai.thoughts import (
    ACTS,
    CORRECTIONS,
    LOCKED,
    OBSERVED,
    PLANS,
    REPLANS,
    SLIPS,
    START_SEARCH,
)
from atlas.environments.babyai.view import SeenObject
from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say
from atlas.errors import EpisodeError
from atlas.records import CriticalKind

# The score of a step is the highest value that applies here, or 0 if none applies.
SCORES: dict[str, float] = {
    # The action that reaches the goal.
    "final": 1.0,
    "self_correction": 0.95,
    "unlock": 0.9,
    # Picking up a needed object, or completing one part of a goal that has several parts.
    **dict.fromkeys(("fetch", "reach", "open", "place"), 0.85),
    "plan": 0.8,
    "observe": 0.7,
    "clear": 0.6,
    # Opening an unexplored door, which may not be the right one.
    "open_way": 0.5,
    # The goal's object is not in view, so the plan is to look for it.
    "begin": 0.4,
}
MAX_ACTS = 4
# With fewer turns left, the expert makes no slip (a deliberate detour or mistake).
RESERVE_TURNS = 12


class BabyAIExpert:
    """Plays the episode that was just reset. The same seed gives the same thoughts and slips."""

    Config = ExpertConfig
    Planner = MovePlanner

    def __init__(self, config: ExpertConfig, environment: PlayedLevel, seed: int) -> None:
        self._environment = environment
        self._planner = self.Planner(environment)
        self._bot = self._planner.bot
        self._rng = random.Random(seed)
        self._config = config
        self._goal = _first_person(environment.world.mission)
        self._slip: Move | None = None
        self._known_things: list[Any] = []
        self._known_pickups: list[Any] = []
        self._slips_made: set[tuple[str, str]] = set()
        self._has_acted = False

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        try:
            return self._next_turn()
        except BOT_FAULTS as error:
            fault = f"{type(error).__name__}: {error}"
            raise EpisodeError(f"babyai: the expert lost its way ({fault}).") from error

    def _next_turn(self) -> ExpertTurn:
        move = self._planner.next_move()
        slip = self._make_slip(move)
        if slip is None:
            turn = self._act(move)
            self._known_pickups = self._bot.pickups
            self._has_acted = True
        else:
            self._slips_made.add((slip.situation, slip.action))
            turn = react_turn(self._say(SLIPS[slip.situation], slip), slip.action, (), 0.0)
        self._slip = slip
        self._known_things += [item.thing for item in self._environment.view.objects]
        return turn

    def _act(self, move: Move) -> ExpertTurn:
        # Each part: (a sentence, the kind of critical step, its row of SCORES).
        parts: list[tuple[str, CriticalKind, str]] = []
        situation = move.situation
        slip, observed = self._slip, self._new_needed_object()
        # No correction is needed if the slip revealed a needed object or was also the planned
        # action.
        if slip is not None and observed is None and move.action != slip.action:
            sentence = self._say(CORRECTIONS[slip.situation], slip)
            parts.append((sentence, "self_correction", "self_correction"))
        if (plan := self._new_plan(move)) is not None:
            sentence, row = plan
            parts.append((sentence, "plan_creation", row))
            if row == "begin" and situation in ("look", "search"):
                situation = f"begin_{situation}"
        if observed is not None:
            sentence = self._say(OBSERVED, move, observed)
            parts.append((sentence, "critical_observation", "observe"))
        sentences = [*(sentence for sentence, _, _ in parts), self._say(ACTS[situation], move)]
        kinds = [kind for _, kind, _ in parts]
        rows = [row for _, _, row in parts]
        act = "final" if move.final else move.situation
        if act in SCORES:
            kinds.append("critical_action")
            rows.append(act)
        score = max((SCORES[row] for row in rows), default=0.0)
        return react_turn(" ".join(sentences), move.action, tuple(kinds), score)

    def _new_plan(self, move: Move) -> tuple[str, str] | None:
        """A sentence for a plan made in this turn, and its row of SCORES; None without a plan."""
        acts = self._bot.acts()
        planned = ", then ".join(acts[:MAX_ACTS])
        if self._has_acted:
            if all(pickup in self._known_pickups for pickup in self._bot.pickups):
                return None
        elif len(acts) < 2:
            return (self._say(START_SEARCH, move), "begin") if move.target is None else None
        door = self._bot.locked_door
        has_key = door is not None and self._environment.view.carrying == f"{door.color} key"
        if door is None or (has_key and self._has_acted):
            return self._say(REPLANS if self._has_acted else PLANS, move, acts=planned), "plan"
        name = f"the {door.color} door"
        return self._say(LOCKED, move, acts=planned, door=name, color=door.color), "plan"

    def _new_needed_object(self) -> SeenObject | None:
        """A needed object that is in view for the first time, after the first turn."""
        if self._environment.num_turns == 0:
            return None
        needed = [thing for description in self._bot.needed for thing in description.obj_set]
        for item in self._environment.view.objects:
            if item.thing in needed and item.thing not in self._known_things:
                return item
        return None

    def _say(
        self, phrases: Sequence[str], move: Move, target: SeenObject | None = None, **more: str
    ) -> str:
        target = target or move.target
        words = {
            "goal": self._goal,
            "noun": move.noun or self._bot.noun,
            "label": target.label if target else "",
            "where": target.where if target else "",
            "color": target.thing.color if target else "",
            "side": move.action.removeprefix("turn "),
        }
        return say(self._rng, phrases, **(words | more))

    # ---- slips ----

    def _make_slip(self, move: Move) -> Move | None:
        """A detour or a mistake, with the configured probabilities.

        It happens only while walking and with enough turns left, and never twice in a row.
        """
        detour, mistake = draw_slips(self._rng, self._config)
        turns_left = self._environment.max_steps - self._environment.num_turns
        is_free = self._slip is None and turns_left >= RESERVE_TURNS and self._planner.walking
        if not is_free or not (detour or mistake):
            return None
        options = [
            option
            for option in (self._mistakes(move) if mistake else self._detours())
            if (option.situation, option.action) not in self._slips_made
            or option.situation in ("look", "wander")
        ]
        return self._rng.choice(options) if options else None

    def _detours(self) -> list[Move]:
        suggested = self._bot.suggestion
        turns = [action for action, primitive in TURNS.items() if primitive != suggested]
        strangers = [item for item in self._strangers() if item.thing.type != "door"]
        return [
            *(Move(action, "look") for action in turns),
            *(Move(f"go to {item.label}", "wander", item) for item in strangers),
        ]

    def _mistakes(self, move: Move) -> list[Move]:
        possible, refused = [], []
        # If the way is not known, any door may be the right one, so no door is a mistake.
        knows_way = move.target is not None and not move.action.startswith("go through")
        for item in self._strangers():
            if item.thing.type != "door":
                possible.append(Move(f"pickup {item.label}", "wrong_object", item))
            elif knows_way:
                possible.append(Move(f"toggle and go through {item.label}", "wrong_door", item))
        for item in self._environment.view.objects:
            if item.thing.type == "door" and item.thing.is_locked:
                refused.append(Move(f"toggle and go through {item.label}", "locked", item))
        if move.target is None and self._bot.needed:
            wanted = self._bot.needed[0]
            words = " ".join(filter(None, (wanted.color, wanted.type or "object")))
            refused.append(Move(f"go to {words} 1", "unseen"))
        works = self._planner.works
        return [
            *(option for option in possible if works(option.action)),
            *(option for option in refused if not works(option.action)),
        ]

    def _strangers(self) -> list[SeenObject]:
        """Reachable objects in view, not directly ahead, that goal and plan do not name."""
        needed = self._bot.mission_objects
        return [
            item
            for item in self._environment.view.objects
            if item.thing not in needed
            and not item.is_in_front
            and self._planner.works(f"go to {item.label}")
        ]


def _first_person(mission: str) -> str:
    """The goal in the first person: `the door on your left` -> `the door on my left`."""
    mission = re.sub(r"\bafter you\b", "after I", mission)
    return re.sub(r"\byou\b", "me", re.sub(r"\byour\b", "my", mission))
