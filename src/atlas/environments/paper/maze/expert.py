"""The expert of the maze: a search that sees only what is around it.

It tries unvisited neighbors first, the nearest to the goal first, and goes back from dead ends the
way it came. A step is labeled where its knowledge or its course changes: the first plan, a choice
between ways, a dead end or an open way to the goal that came into sight, the turn back, and the
last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.paper.maze.grid import (
    BACK,
    STEPS,
    Maze,
    Place,
    distance,
    neighbor,
    open_options,
)
from atlas.records import CriticalKind

PLANS = (
    "The goal is {where}. I start {way} and keep to that direction.",
    "I have to get {where}; I begin by going {way}.",
    "Plan: move {where} of here, first {way}.",
)
CHOICES = (
    "There are several ways: {ways}. Going {way} brings me nearest to the goal.",
    "I can go {ways} from here. I take the way {way}, since the goal is {where}.",
    "A fork: {ways}. The goal is {where}, so {way} looks best.",
)
ONWARD = ("The way goes on {way}.", "Only {way} is new, so I follow it.", "I keep going {way}.")
GOAL_SEEN = (
    "The goal is next to me and the way {way} is open. I step onto it.",
    "One step {way} and I am at the goal.",
)
DEAD_END = (
    "This is a dead end. I go back {way}.",
    "Nothing new leads on from here, so that was wrong. Back {way}.",
    "Walls on all other sides: I have to turn around and go {way}.",
)
GOING_BACK = ("I go on back, {way}.", "Still nothing new here, further back {way}.")
NEW_BRANCH = (
    "Here is a way that I have not tried: {way}.",
    "I am back at the fork. Now I try {way}.",
)
MISTAKES = (
    "The goal is {where}, so I go {way}.",
    "I try {way}, straight to the goal.",
)
CORRECTIONS = (
    "I did not move: there is a wall {wrong} of me. {Way} is open.",
    "That was a wall, my position is the same. I go {way} instead.",
)
DETOURS = (
    "I look what is {way} first.",
    "Perhaps the way {way} is shorter.",
)
# Turns that must be left for a detour or a mistake, besides twice the distance to the goal.
RESERVE_TURNS = 6


class PlayedMaze(Protocol):
    """What the expert needs of the environment."""

    here: Place
    num_turns: int
    max_steps: int
    task_id: str

    @property
    def maze(self) -> Maze: ...


class MazeExpert:
    """Plays the episode that was just reset; it knows the visited places and their walls."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, environment: PlayedMaze, seed: int) -> None:
        self._config = config
        self._environment = environment
        self._goal = environment.maze.goal
        self._rng = stream("expert", environment.task_id, seed)
        self._visited = {environment.here}
        self._trail: list[str] = []
        self._wrong: str | None = None
        self._was_back = False

    def respond(self) -> ExpertTurn:
        """The next thought and move."""
        here = self._environment.here
        self._visited.add(here)
        ways = self._environment.maze.ways[here]
        options = open_options(ways, here, self._visited, self._goal)
        if self._wrong is None and (slip := self._slip(here, ways, options)) is not None:
            return slip
        wrong, self._wrong = self._wrong, None
        if not options:
            return self._go_back(ways, wrong)
        way = options[0]
        kinds: list[CriticalKind] = []
        phrases: Sequence[str] = ONWARD
        score = 0.0
        if neighbor(here, way) == self._goal:
            phrases, score = GOAL_SEEN, 1.0
            kinds += ["critical_observation", "critical_action"]
        elif not self._trail and self._environment.num_turns == 0:
            phrases, kinds, score = PLANS, ["plan_creation"], 0.8
        elif self._was_back:
            phrases, kinds, score = NEW_BRANCH, ["plan_creation"], 0.7
        elif len(options) > 1:
            phrases = CHOICES
            if self._is_open_choice(here, options):
                kinds, score = ["critical_action"], 0.6
        thought = self._say(phrases, way, ways=" or ".join(options))
        if wrong is not None:
            thought = self._say(CORRECTIONS, way, wrong=wrong)
            kinds, score = ["self_correction", *kinds], max(score, 0.9)
        return self._move(way, thought, kinds, score)

    def _is_open_choice(self, here: Place, options: Sequence[str]) -> bool:
        """Whether the two best ways are equally near to the goal."""
        first, second = (distance(neighbor(here, way), self._goal) for way in options[:2])
        return first == second

    def _go_back(self, ways: frozenset[str], wrong: str | None) -> ExpertTurn:
        way = BACK[self._trail.pop()]
        is_turn = not self._was_back
        self._was_back = True
        kinds: list[CriticalKind] = ["self_correction"] if is_turn or wrong is not None else []
        phrases = DEAD_END if is_turn else GOING_BACK
        if wrong is not None:
            phrases = CORRECTIONS
        thought = self._say(phrases, way, wrong=wrong or "")
        return react_turn(thought, f"move {way}", kinds, 0.9 if kinds else 0.0)

    def _move(
        self, way: str, thought: str, kinds: Sequence[CriticalKind], score: float
    ) -> ExpertTurn:
        self._was_back = False
        self._trail.append(way)
        return react_turn(thought, f"move {way}", kinds, score)

    def _slip(self, here: Place, ways: frozenset[str], options: Sequence[str]) -> ExpertTurn | None:
        """A mistake (into a wall toward the goal) or a detour (another way of a fork)."""
        detour, mistake = draw_slips(self._rng, self._config)
        left = self._environment.max_steps - self._environment.num_turns
        if left < 2 * distance(here, self._goal) + RESERVE_TURNS + 2 * len(self._trail):
            return None
        if mistake:
            toward = [
                way
                for way in STEPS
                if way not in ways
                and distance(neighbor(here, way), self._goal) < distance(here, self._goal)
            ]
            if toward:
                self._wrong = self._rng.choice(toward)
                thought = self._say(MISTAKES, self._wrong)
                return react_turn(thought, f"move {self._wrong}")
        # How long a detour will be is not known.
        can_wander = left >= 2 * (2 * distance(here, self._goal) + RESERVE_TURNS)
        is_fork = len(options) > 1 and neighbor(here, options[0]) != self._goal
        if detour and can_wander and is_fork:
            way = self._rng.choice(options[1:])
            return self._move(way, self._say(DETOURS, way), (), 0.0)
        return None

    def _say(self, phrases: Sequence[str], way: str, **words: str) -> str:
        here = self._environment.here
        down, right = self._goal[0] - here[0], self._goal[1] - here[1]
        parts = [f"{abs(down)} {'down' if down > 0 else 'up'}"] if down else []
        parts += [f"{abs(right)} {'right' if right > 0 else 'left'}"] if right else []
        return say(self._rng, phrases, way=way, where=" and ".join(parts), **words)
