"""The expert of the planning puzzles: it follows a plan, and makes a new one where it erred.

A step is labeled where the expert makes or changes its plan, where a part of the goal that took it
some steps comes true for good, where the whole goal does, and where it corrects a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.planning.grounding import GroundAction, ones
from atlas.environments.planning.planner import Planner, after
from atlas.environments.planning.played import PlayedPuzzle
from atlas.environments.planning.words import CHECK_ACTIONS, LOOK_AROUND
from atlas.errors import EpisodeError
from atlas.records import CriticalKind

PLANS = (
    "The goal takes {count} steps. I want to reach it in this order: {goals}. I begin with this: "
    "{action}.",
    "My plan: {goals}. The first of {count} steps is to {action}.",
    "I think ahead: first {goals}. For that I {action}.",
)
SHORT_PLANS = (
    "One part of the goal is missing: {goals}. I {action}.",
    "Only this is missing: {goals}. I start with this: {action}.",
)
REPLANS = (
    "My plan from here: {goals}.",
    "So the order is now: {goals}.",
)
SERVES = (
    "I {action}, because I need that {fact} before I {later}.",
    "To {later}, it must hold that {fact}; so I {action}.",
    "Next I {action}. Then {fact}, and I can {later}.",
)
REACHES = (
    "Now I can reach a part of the goal, that {fact}: I {action}.",
    "I {action}, and then {fact}, as the goal asks.",
    "The goal asks that {fact}, so I {action}.",
)
FINISHES = (
    "The last part of the goal is that {fact}; I {action}.",
    "After this the whole goal holds: I {action}.",
)
TRIES_EARLY = (
    "I can do this right away: {action}.",
    "I go straight to it and {action}.",
    "I save some steps and {action} now.",
)
TRIES_OTHER = (
    "I think I should {action}.",
    "It may help if I {action}.",
    "I {action}.",
)
ASKS = (
    "I am not sure what I can do here, so I ask.",
    "I check what is possible before I go on.",
)
LOOKS = (
    "I look again at what holds.",
    "I want to be sure of the state, so I look around.",
)
TOO_EARLY = (
    "That was too early: it does not hold yet that {fact}.",
    "I forgot that this must hold first: {fact}.",
)
NO_HELP = (
    "That did not bring me closer to the goal.",
    "It was a mistake to {slip}.",
    "I did not need to {slip}.",
)
MAX_GOALS = 4
# A part of the goal that took fewer steps of the plan does not count as decisive.
MIN_WORKED = 3
# Turns that are kept for the plan; with fewer to spare, the expert makes no slip.
RESERVE_TURNS = 3
# How far ahead in the plan an action is that the expert tries too early.
AHEAD = 4
# How many wrong actions are considered: each needs a plan for the way back.
MAX_WRONG = 2


@dataclass(frozen=True, slots=True)
class _Slip:
    """A deliberate detour or mistake. `action` is None where only a question was asked."""

    action: GroundAction | None
    text: str
    thought: str
    is_possible: bool = True
    missing: int = 0


class PlanningExpert:
    """Plays the puzzle that was just reset. The same seed gives the same thoughts and slips."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, episode: PlayedPuzzle, seed: int) -> None:
        self._config = config
        self._episode = episode
        self._words = episode.words
        self._planner = Planner(episode.puzzle)
        self._rng = stream("planning expert", episode.task.id, seed)
        self._plan: list[GroundAction] = []
        self._has_planned = False
        # Steps since a part of the goal was reached.
        self._num_worked = 0
        self._slip: _Slip | None = None

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        parts: list[str] = []
        kinds: list[CriticalKind] = []
        score = 0.0
        slip, self._slip = self._slip, None
        if not self._has_planned:
            self._plan = self._make_plan()
            self._has_planned = True
            return self._begin()
        if slip is not None and slip.action is not None:
            parts.append(self._correct(slip))
            kinds.append("self_correction")
            score = 0.9
            if slip.is_possible and self._renew_plan(slip.action):
                parts.append(say(self._rng, REPLANS, goals=self._milestones()))
                kinds.append("plan_creation")
        elif (made := self._make_slip()) is not None:
            self._slip = made
            return react_turn(made.thought, made.text)
        sentence, act = self._act()
        self._num_worked += 1
        is_decisive = act == 1.0 or (act > 0 and self._num_worked >= MIN_WORKED)
        if act:
            self._num_worked = 0
        if is_decisive:
            kinds.append("critical_action")
            score = max(score, act)
        action = self._plan.pop(0)
        return react_turn(" ".join((*parts, sentence)), self._words.action(action), kinds, score)

    # ---- the plan ----

    def _make_plan(self) -> list[GroundAction]:
        plan = self._planner.plan(self._episode.state)
        if not plan:
            raise EpisodeError(f"planning: no plan was found for task '{self._episode.task.id}'.")
        return plan

    def _renew_plan(self, mistake: GroundAction) -> bool:
        """Plan from here; whether the rest is more than taking the mistake back."""
        old, self._plan = self._plan, self._make_plan()
        return self._plan[1:] != old and self._plan != old[1:]

    def _begin(self) -> ExpertTurn:
        goals = self._reached_by(self._plan)
        action = self._plan.pop(0)
        self._num_worked = 1
        words = self._words.action(action)
        phrases = PLANS if len(goals) > 1 or len(self._plan) > 2 else SHORT_PLANS
        listed = ", then ".join(goals[:MAX_GOALS])
        count = str(len(self._plan) + 1)
        thought = say(self._rng, phrases, goals=listed, action=words, count=count)
        return react_turn(thought, words, ("plan_creation",), 0.8)

    def _milestones(self) -> str:
        return ", then ".join(self._reached_by(self._plan)[:MAX_GOALS])

    def _reached_by(self, plan: Sequence[GroundAction]) -> list[str]:
        """The facts of the goal in the order in which a plan makes them true for good."""
        state = self._episode.state
        reached: list[str] = []
        for index, action in enumerate(plan):
            new = self._lasting(state, action, plan[index + 1 :])
            reached += (
                _mine(self._words.fact(fact)) for fact in self._episode.puzzle.facts_of(new)
            )
            state = action.apply(state)
        return reached

    def _lasting(self, state: int, action: GroundAction, rest: Sequence[GroundAction]) -> int:
        """The facts of the goal that an action makes true, and that the rest of a plan keeps."""
        new = action.adds & ~state & self._episode.puzzle.goal
        for later in rest:
            new &= ~later.removes
        return new

    def _act(self) -> tuple[str, float]:
        """Why the next action of the plan is taken, and its score if it is decisive."""
        state, (action, *rest) = self._episode.state, self._plan
        words = self._words.action(action)
        if not rest:
            missing = self._episode.puzzle.goal & ~state
            fact = self._say_facts(missing)
            return say(self._rng, FINISHES, fact=fact, action=words), 1.0
        if new := self._lasting(state, action, rest):
            fact = self._say_facts(new)
            return say(self._rng, REACHES, fact=fact, action=words), 0.85
        new = action.adds & ~state
        for later in rest:
            if served := later.needs & new:
                fact = self._say_facts(1 << next(ones(served)))
                text = self._words.action(later)
                return say(self._rng, SERVES, fact=fact, action=words, later=text), 0.0
            new &= ~later.removes
        return f"I {words}.", 0.0

    def _say_facts(self, bits: int) -> str:
        return _mine(self._words.facts(bits))

    # ---- slips ----

    def _correct(self, slip: _Slip) -> str:
        if not slip.is_possible:
            fact = self._say_facts(1 << next(ones(slip.missing)))
            return say(self._rng, TOO_EARLY, fact=fact)
        return say(self._rng, NO_HELP, slip=slip.text)

    def _make_slip(self) -> _Slip | None:
        """A detour or a mistake, with the configured probabilities and turns to spare."""
        detour, mistake = draw_slips(self._rng, self._config)
        if self._episode.turns_left < len(self._plan) + RESERVE_TURNS:
            return None
        if mistake:
            return self._try_early() if self._rng.random() < 0.5 else self._try_other()
        if detour:
            return self._rng.choice(
                (
                    _Slip(None, CHECK_ACTIONS, say(self._rng, ASKS)),
                    _Slip(None, LOOK_AROUND, say(self._rng, LOOKS)),
                )
            )
        return None

    def _try_early(self) -> _Slip | None:
        """A later action of the plan that is not possible yet."""
        state = self._episode.state
        later = [
            action
            for action in self._plan[1 : AHEAD + 1]
            if (found := self._words.find(self._words.action(action), state)) is not None
            and not found.is_possible(state)
        ]
        if not later:
            return None
        action = self._rng.choice(later)
        text = self._words.action(action)
        thought = say(self._rng, TRIES_EARLY, action=text)
        return _Slip(action, text, thought, is_possible=False, missing=action.needs & ~state)

    def _try_other(self) -> _Slip | None:
        """A possible action that leads away from the goal, but not too far."""
        state = self._episode.state
        others = [one for one in self._episode.puzzle.possible(state) if one not in self._plan]
        for action in self._rng.sample(others, min(MAX_WRONG, len(others))):
            back = self._planner.plan(after(state, [action]))
            spare = self._episode.turns_left - 1 - RESERVE_TURNS
            if back is not None and len(self._plan) < len(back) <= spare:
                text = self._words.action(action)
                return _Slip(action, text, say(self._rng, TRIES_OTHER, action=text))
        return None


def _mine(text: str) -> str:
    """A fact in the first person."""
    text = re.sub(r"\byour\b", "my", re.sub(r"\byou are\b", "I am", text))
    return re.sub(r"\byou\b", "I", text)
