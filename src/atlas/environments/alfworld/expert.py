"""The expert for ALFWorld: searches the room with what it has read, and never with hidden state.

The package's own expert is not used: it draws from the global random generator, reads the facts of
the engine, loops on tasks with two things, and cannot finish the games of ALFWorld's first release.
A step gets labels if the expert makes a plan, sees what it looked for, brings the task forward or
corrects a slip (a deliberate detour or mistake).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from alfworld.gen import constants

from atlas.environments.alfworld.knowledge import (
    STATES,
    STATIONS,
    HouseKnowledge,
    kind_of,
    read_room,
)
from atlas.environments.alfworld.rooms import LAMP_STANDS, LAMPS
from atlas.environments.alfworld.thoughts import (
    ACTS,
    CORRECTIONS,
    OBSERVED,
    PLACED_ONE,
    PLANS,
    REPLANS,
    SLIPS,
)
from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.errors import EpisodeError
from atlas.records import CriticalKind, Task

# The score of a step is the highest value that applies.
SCORES = {"place": 1.0, "light": 1.0, "self_correction": 0.95, "take": 0.85, "change": 0.85}
PLAN_SCORE, OBSERVED_SCORE = 0.8, 0.7
# With fewer turns left, or next to what it wants, the expert makes no slip.
RESERVE_TURNS = 15
SLIP_SITUATIONS = frozenset(
    ("search", "open", "fetch", "to_station", "carry", "open_goal", "search_light", "to_light")
)
USUAL = {
    place.lower(): {thing.lower() for thing in things}
    for place, things in constants.VAL_RECEPTACLE_OBJECTS.items()
}
STANDS = {kind.lower() for kind in LAMP_STANDS}
LIGHTS = {kind.lower() for kind in LAMPS}


class PlayedRoom(Protocol):
    """What the expert needs of the environment: everything that was said in this episode."""

    max_steps: int
    num_turns: int
    texts: list[str]


@dataclass(frozen=True, slots=True)
class HouseMove:
    """An action, why it is taken, and the thing and place that it is about."""

    action: str
    situation: str
    thing: str = ""
    place: str = ""


class AlfworldExpert:
    """Plays the episode that was just reset. The same seed gives the same thoughts and slips."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, room: PlayedRoom, task: Task, seed: int) -> None:
        knowledge = read_room(room.texts[0])
        if knowledge is None:
            raise EpisodeError(f"alfworld: the expert does not know the goal of task '{task.id}'")
        self._knowledge = knowledge
        self._config = config
        self._room = room
        self._rng = stream("alfworld expert", task.id, seed)
        self._num_read = 1
        self._action = ""
        self._slip: HouseMove | None = None
        self._known: set[str] = set()
        self._num_placed = 0
        self._pool = ""
        self._order = self._rng.sample(knowledge.places, len(knowledge.places))

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        for text in self._room.texts[self._num_read :]:
            self._knowledge.learn(self._action, text)
        self._num_read = len(self._room.texts)
        move = self._next_move()
        slip = self._draw_slip(move)
        self._action = (slip or move).action
        if slip is not None:
            self._slip = slip
            return react_turn(self._say(SLIPS[slip.situation], slip), slip.action)
        return self._act(move)

    # ---- the plan ----

    def _next_move(self) -> HouseMove:
        known, goal = self._knowledge, self._knowledge.goal
        if known.holding is not None and kind_of(known.holding) != goal.thing:
            assert known.here is not None
            return self._put(known.holding, known.here, "put_back")
        if known.holding is None:
            return self._find(goal.thing)
        if goal.lamp:
            return self._find_light(known.holding)
        if goal.change is not None and known.holding not in known.changed:
            station = self._station(goal.change)
            if known.here != station:
                return self._go(station, "to_station", known.holding)
            action = f"{goal.change} {known.holding} with {station}"
            return HouseMove(action, "change", known.holding, station)
        return self._deliver(known.holding)

    def _find(self, kind: str) -> HouseMove:
        known = self._knowledge
        here = [(thing, place) for thing, place in known.seen(kind) if place == known.here]
        for thing, place in here or known.seen(kind):
            if place != known.here:
                return self._go(place, "fetch", thing)
            if place in known.closed:
                return HouseMove(f"open {place}", "reopen", thing, place)
            return HouseMove(f"take {thing} from {place}", "take", thing, place)
        return self._search(kind, "search", f"the {kind}")

    def _find_light(self, thing: str) -> HouseMove:
        known, lamp = self._knowledge, self._knowledge.goal.lamp
        for light, place in known.seen(lamp):
            if place == known.here:
                return HouseMove(f"use {light}", "light", thing, place)
            return self._go(place, "to_light", thing)
        return self._search(lamp, "search_light", thing)

    def _search(self, kind: str, situation: str, thing: str) -> HouseMove:
        known = self._knowledge
        if known.here in known.closed:
            return HouseMove(f"open {known.here}", "open", f"the {kind}", known.here or "")
        unseen = [place for place in self._order if place not in known.contents]
        usual = [place for place in unseen if _is_usual(kind, place)]
        self._pool = "usual" if usual else "rest"
        if not unseen:
            raise EpisodeError(f"alfworld: the expert found no {kind} in the whole room")
        return self._go((usual or unseen)[0], situation, thing)

    def _station(self, change: str) -> str:
        kind = STATIONS[change]
        found = self._knowledge.of_kind(kind)
        if not found:
            raise EpisodeError(f"alfworld: there is no {kind} to {change} something with")
        return found[0]

    def _deliver(self, thing: str) -> HouseMove:
        known = self._knowledge
        if known.goal_place is None:
            places = known.of_kind(known.goal.place)
            if not places:
                raise EpisodeError(f"alfworld: there is no {known.goal.place} in the room")
            # Where the agent is, then what is known to stand open, then the others.
            known.goal_place = min(
                places,
                key=lambda one: (one != known.here, one in known.closed, one not in known.contents),
            )
        place = known.goal_place
        if known.here != place:
            return self._go(place, "carry", thing)
        if place in known.closed:
            return HouseMove(f"open {place}", "open_goal", thing, place)
        return self._put(thing, place, "place")

    def _go(self, place: str, situation: str, thing: str) -> HouseMove:
        if place in self._knowledge.beside:
            return HouseMove(f"examine {place}", "examine", thing, place)
        return HouseMove(f"go to {place}", situation, thing, place)

    def _put(self, thing: str, place: str, situation: str) -> HouseMove:
        return HouseMove(f"put {thing} in/on {place}", situation, thing, place)

    # ---- the words and labels ----

    def _act(self, move: HouseMove) -> ExpertTurn:
        known, slip = self._knowledge, self._slip
        sentences: list[str] = []
        kinds: list[CriticalKind] = []
        scores = [0.0]
        if slip is not None and slip.situation in CORRECTIONS and move.action != slip.action:
            sentences.append(self._say(CORRECTIONS[slip.situation], slip))
            kinds.append("self_correction")
        if move.situation in ("put_back", "examine"):
            kinds.append("self_correction")
        self._slip = None
        if self._room.num_turns == 0:
            sentences.append(self._say(PLANS, move, steps=_steps(known)))
            kinds.append("plan_creation")
        elif move.situation == "search" and self._pool == "rest" and "rest" not in self._known:
            self._known.add("rest")
            sentences.append(self._say(REPLANS, move))
            kinds.append("plan_creation")
        if (seen := self._new_sight()) is not None:
            thing, place = seen
            sentences.append(say(self._rng, OBSERVED, thing=f"the {thing}", place=f"the {place}"))
            kinds.append("critical_observation")
            scores.append(OBSERVED_SCORE)
        if len(known.placed) > self._num_placed:
            self._num_placed = len(known.placed)
            sentences.append(say(self._rng, PLACED_ONE, kind=known.goal.thing))
        if move.situation in SCORES:
            kinds.append("critical_action")
            scores.append(SCORES[move.situation])
        scores += [PLAN_SCORE] * ("plan_creation" in kinds)
        scores += [SCORES["self_correction"]] * ("self_correction" in kinds)
        sentences.append(self._say(ACTS[move.situation], move))
        return react_turn(" ".join(sentences), move.action, kinds, max(scores))

    def _new_sight(self) -> tuple[str, str] | None:
        """A thing that the task needs, and its place, seen in this turn for the first time."""
        known, goal = self._knowledge, self._knowledge.goal
        for kind in filter(None, (goal.thing, goal.lamp)):
            fresh = [pair for pair in known.seen(kind) if pair[0] not in self._known]
            # A second thing of the kind is news only where two are needed.
            if fresh and (goal.number == 2 or kind not in self._known):
                self._known.update([kind, *(thing for thing, _ in fresh)])
                return fresh[0]
        return None

    def _say(self, phrases: Sequence[str], move: HouseMove, **more: str) -> str:
        goal = self._knowledge.goal
        words = {
            "goal": goal.sentence,
            "thing": _with_article(move.thing),
            "place": f"the {move.place}",
            "state": STATES.get(goal.change or "", ""),
            "light": goal.lamp,
            "wanted": f"the {goal.thing}",
        }
        return say(self._rng, phrases, **(words | more))

    # ---- slips ----

    def _draw_slip(self, move: HouseMove) -> HouseMove | None:
        """A detour or a mistake with the configured probabilities, never twice in a row."""
        detour, mistake = draw_slips(self._rng, self._config)
        turns_left = self._room.max_steps - self._room.num_turns
        is_free = self._slip is None and self._room.num_turns > 0 and turns_left >= RESERVE_TURNS
        if not is_free or move.situation not in SLIP_SITUATIONS or not (detour or mistake):
            return None
        options = self._mistakes(move) if mistake else self._detours()
        return self._rng.choice(options) if options else None

    def _detours(self) -> list[HouseMove]:
        known = self._knowledge
        seen = [place for place in known.contents if place != known.here]
        return [
            HouseMove("inventory", "inventory"),
            *(HouseMove(f"go to {place}", "again", place=place) for place in seen),
        ]

    def _mistakes(self, move: HouseMove) -> list[HouseMove]:
        known, goal = self._knowledge, self._knowledge.goal
        here = known.here or ""
        options = []
        if move.situation == "open" and known.holding is None:
            action = f"take {goal.thing} 1 from {here}"
            options.append(HouseMove(action, "closed_take", f"the {goal.thing}", here))
        if move.situation == "open_goal":
            options.append(
                HouseMove(f"put {move.thing} in/on {here}", "closed_put", move.thing, here)
            )
        if move.situation == "to_station" and (places := known.of_kind(goal.place)):
            place = known.goal_place or places[0]
            if place != here:
                options.append(HouseMove(f"go to {place}", "skip_change", move.thing, place))
        if known.holding is None and here not in known.closed:
            options += [
                HouseMove(f"take {thing} from {here}", "wrong_thing", thing, here)
                for thing in known.contents.get(here, ())
                if kind_of(thing) not in (goal.thing, *LIGHTS) and _is_usual(kind_of(thing), here)
            ]
        return options


def _is_usual(kind: str, place: str) -> bool:
    """Whether a thing of this kind is usually kept at a place like this."""
    if kind in LIGHTS:
        return kind_of(place) in STANDS
    return kind in USUAL.get(kind_of(place), ())


def _with_article(thing: str) -> str:
    return thing if thing.startswith("the ") or not thing else f"the {thing}"


def _steps(known: HouseKnowledge) -> str:
    """The plan for a goal in words."""
    goal = known.goal
    parts = [f"find {'two' if goal.number == 2 else 'the'} {goal.thing}", "take it"]
    if goal.number == 2:
        parts = [f"find one {goal.thing}", f"bring it to the {goal.place}", "do the same again"]
    elif goal.lamp:
        parts.append(f"use the {goal.lamp} with it in my hand")
    else:
        if goal.change is not None:
            parts.append(f"{goal.change} it with the {STATIONS[goal.change]}")
        parts.append(f"put it in/on the {goal.place}")
    return ", then ".join(parts)
