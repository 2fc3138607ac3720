"""The expert of ScienceWorld: the package's own solution, with search, slips, thoughts and labels.

The solution knows where things are. The expert says only what was shown so far, and with the
probability of a detour it first looks into a room that it has not seen. No slip touches anything,
and there is none around `focus on`, which ends the episode if it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.scienceworld.game import AMBIGUOUS, ScienceState
from atlas.environments.scienceworld.thoughts import (
    ACTS,
    CHOICES,
    CORRECTIONS,
    MEASURED,
    OBSERVED,
    OTHER,
    PLANS,
    RENAMED,
    SEARCH,
    SLIPS,
)
from atlas.errors import EpisodeError
from atlas.records import CriticalKind

# Turns that are left over at the end when a slip is made.
RESERVE_TURNS = 4
SCORES: dict[str, float] = {
    "final": 1.0,
    "self_correction": 0.95,
    "focus": 0.9,
    "plan": 0.8,
    "observe": 0.7,
    "measure": 0.7,
    "search": 0.4,
}
_PLACE = re.compile(r"This (?:room|outside location) is called the (?P<room>[^.]+)\.")
_DOOR = re.compile(r"door to the (?P<room>[\w ]+?) \(that is (?P<state>open|closed)\)")
# Names that change with time.
_STAGE = re.compile(r"\b(?:adult|juvenile|baby|seedling|sprout|reproducing|hatched) (?=\w)")
_CONTENTS = re.compile(r" containing .+?(?= in inventory|$)")
_VERBS = sorted(ACTS, key=len, reverse=True)
_BETWEEN = re.compile(r" (?:to|into|in|on) (?=\S)")
# Actions after which the world changes by itself: from then on, no detour.
_TOUCHES = (
    "pick up",
    "move",
    "pour",
    "mix",
    "use",
    "connect",
    "activate",
    "wait",
    "drop",
    "open f",
)


class PlayedScience(Protocol):
    """What the expert reads of the environment; `history` begins with the first state."""

    max_steps: int
    history: list[tuple[str, ScienceState]]


@dataclass(frozen=True, slots=True)
class Slip:
    """A needless or wrong action, and the phrases for it."""

    action: str
    situation: str
    words: Mapping[str, str] = field(default_factory=dict)


class ScienceWorldExpert:
    """Plays the episode that was just reset. The same seed gives the same thoughts and slips."""

    def __init__(
        self,
        config: ExpertConfig,
        environment: PlayedScience,
        task: str,
        path: Sequence[str],
        names: tuple[str | int, ...],
    ) -> None:
        self._config = config
        self._environment = environment
        self._task = task
        self._path = list(path)
        self._played = ""
        self._rng = stream("scienceworld expert", *names)
        self._num_read = 0
        self._room = ""
        self._rooms: set[str] = set()
        self._doors: dict[str, str] = {}
        self._opened: set[frozenset[str]] = set()
        self._shown = ""
        self._announced: set[str] = set()
        self._queue: list[Slip] = []
        self._slip: Slip | None = None
        self._num_turns = 0
        self._is_searching = False
        self._has_touched = False

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        last = self._read()
        self._num_turns += 1
        if last.text.startswith(AMBIGUOUS):
            return react_turn(say(self._rng, CHOICES), "0")
        if last.is_invalid and self._slip is None and (other := renamed(self._played)) is not None:
            self._played = other
            thought = say(self._rng, RENAMED, action=other)
            return react_turn(thought, other, ("self_correction",), SCORES["self_correction"])
        if not self._path:
            raise EpisodeError("scienceworld: the package's solution did not solve this task.")
        if self._queue or (slips := self._make_slips()):
            if not self._queue:
                self._queue = slips
            self._slip = self._queue.pop(0)
            thought = say(self._rng, SLIPS[self._slip.situation], **self._slip.words)
            return react_turn(thought, self._slip.action)
        return self._act(last)

    # ---- what is known ----

    def _read(self) -> ScienceState:
        """Take in what was shown since the last turn; the last state."""
        history = self._environment.history
        for action, state in history[self._num_read :]:
            if action.startswith("open door to ") and not state.is_invalid:
                self._opened.add(frozenset((self._room, action.removeprefix("open door to "))))
            self._shown += f"\n{state.text.lower()}"
            if (found := _PLACE.search(state.text)) is not None:
                self._room = found["room"]
                self._rooms.add(found["room"])
                self._doors = {
                    door["room"]: door["state"] for door in _DOOR.finditer(state.text.lower())
                }
            elif (moved := re.match(r"You move to the (.+?)\.", state.text)) is not None:
                self._room, self._doors = moved[1], {}
        self._num_read = len(history)
        return history[-1][1]

    def _is_open(self, action: str) -> bool:
        """Whether an action would open a door that is open already."""
        room = action.removeprefix("open door to ")
        is_open = self._doors.get(room) == "open" or frozenset((self._room, room)) in self._opened
        return room != action and is_open

    @property
    def _target(self) -> str | None:
        """What the plan needs next and was not seen yet."""
        return next((one for one in self._needed() if one.lower() not in self._shown), None)

    def _needed(self) -> list[str]:
        """The things of the rest of the solution, in their order; rooms and doors do not count."""
        found: list[str] = []
        for action in self._path:
            verb = verb_of(action)
            if verb in ("focus on", "pick up", "use", "activate", "pour"):
                found += [name for name in objects_of(action, verb) if name not in found]
        return found

    # ---- turns ----

    def _act(self, last: ScienceState) -> ExpertTurn:
        while len(self._path) > 1 and self._is_open(self._path[0]):
            self._path.pop(0)
        action = self._played = self._path.pop(0)
        verb = verb_of(action)
        parts: list[str] = []
        kinds: list[CriticalKind] = []
        scores = [0.0]

        def add(kind: CriticalKind, row: str, *sentences: str) -> None:
            parts.extend(sentences)
            if kind not in kinds:
                kinds.append(kind)
            scores.append(SCORES[row])

        slip, self._slip = self._slip, None
        if slip is not None:
            sentence = say(self._rng, CORRECTIONS[slip.situation], **slip.words)
            add("self_correction", "self_correction", sentence)
        if self._num_turns == 1:
            add("plan_creation", "plan", say(self._rng, PLANS, goal=_goal(self._task)))
        if "measures a temperature" in last.text:
            add("critical_observation", "measure", say(self._rng, MEASURED, text=f"{last.text}."))
        elif (seen := self._new_needed([action, *self._path])) and self._num_turns > 1:
            add("critical_observation", "observe", say(self._rng, OBSERVED, noun=f"the {seen}"))
        parts += self._say_search(verb)
        if verb == "focus on" or not self._path:
            row = "final" if not self._path else "focus"
            add("critical_action", row)
        parts.append(self._say(action, verb))
        self._has_touched = self._has_touched or action.startswith(_TOUCHES)
        return react_turn(" ".join(parts), action, kinds, max(scores))

    def _say_search(self, verb: str) -> list[str]:
        """A sentence at the beginning of a search."""
        target = self._target
        is_walk = verb in ("open door to", "go to")
        begins = is_walk and target is not None and not self._is_searching
        self._is_searching = is_walk or (self._is_searching and verb == "look around")
        if begins and target is not None and target.lower() in self._task.lower():
            return [say(self._rng, SEARCH, noun=f"the {target}")]
        return []

    def _new_needed(self, path: Sequence[str]) -> str | None:
        """Something the rest of the solution needs that was shown since it was last asked."""
        found = None
        for action in path:
            verb = verb_of(action)
            if verb in ("focus on", "pick up", "use", "activate", "pour"):
                for name in objects_of(action, verb):
                    if name.lower() in self._shown and name not in self._announced:
                        found = found or name
                        self._announced.add(name)
        return found

    def _say(self, action: str, verb: str) -> str:
        names = objects_of(action, verb) if verb else []
        if verb in ("go to", "open door to"):
            words = {"first": action.removeprefix(verb).strip()}
        else:
            words = {
                key: f"the {name}" for key, name in zip(("first", "second"), names, strict=False)
            }
        fitting = [
            phrase
            for phrase in ACTS.get(verb, ())
            if ("second" in words or "{second}" not in phrase)
            and ("first" in words or "irst}" not in phrase)
        ]
        return say(self._rng, fitting or OTHER, action=action, **words)

    # ---- slips ----

    def _make_slips(self) -> list[Slip]:
        """A detour (several actions, if it is a search) or a mistake; mostly none."""
        detour, mistake = draw_slips(self._rng, self._config)
        upcoming = self._path[:2]
        if not (detour or mistake) or self._slip is not None or self._num_turns == 1:
            return []
        if any(verb_of(action) == "focus on" for action in upcoming):
            return []
        left = self._environment.max_steps - (self._num_read - 1) - len(self._path)
        if left < RESERVE_TURNS:
            return []
        return self._mistake(upcoming[0]) if mistake else self._detour(left)

    def _mistake(self, action: str) -> list[Slip]:
        room = action.removeprefix("open door to ")
        if room != action and self._doors.get(room) == "closed":
            return [Slip(f"go to {room}", "closed_door", {"first": room})]
        verb = verb_of(action)
        if verb == "pick up" and (names := objects_of(action, verb)):
            return [Slip(f"grab the {names[0]} please", "wrong_name", {"first": f"the {names[0]}"})]
        return []

    def _detour(self, left: int) -> list[Slip]:
        target = self._target
        unseen = [room for room in sorted(self._doors) if room not in self._rooms]
        here, following = self._room, self._path[0]
        if (
            target is not None
            and not self._has_touched
            and left >= RESERVE_TURNS + 5
            and following.startswith(("open door to ", "go to "))
        ):
            others = [room for room in unseen if not following.endswith(room)]
            if others:
                room = self._rng.choice(others)
                words = {"first": room, "noun": f"the {target}"}
                slips = [
                    Slip(f"go to {room}", "search_go", words),
                    Slip("look around", "search_look", words),
                ]
                if self._doors[room] == "closed":
                    slips.insert(0, Slip(f"open door to {room}", "search", words))
                self._path.insert(0, f"go to {here}")
                return slips
        if self._has_touched:
            return []
        look = "look" if here in self._rooms else "look_new"
        return [Slip(*self._rng.choice([("look around", look), ("inventory", "inventory")]))]


def verb_of(action: str) -> str:
    """The beginning of an action that is a row of ACTS: `open door to`; empty if there is none."""
    return next((verb for verb in _VERBS if action.startswith(verb)), "")


def renamed(action: str) -> str | None:
    """An action whose thing grew or was emptied since the solution was found, in other words."""
    other = _STAGE.sub("", _CONTENTS.sub("", action))
    return None if other == action else other


def objects_of(action: str, verb: str) -> list[str]:
    """The things that an action names, without the places where they are."""
    rest = action.removeprefix(verb).strip().replace(" in inventory", "")
    return [part for part in _BETWEEN.split(rest)[:2] if part]


def _goal(task: str) -> str:
    """The task as a part of a sentence of the agent."""
    goal = re.sub(r"^Your task is to ", "", task.strip()).replace("a(n) ", "a ")
    first = goal.split(". ")[0].rstrip(".")
    return f"{first}."
