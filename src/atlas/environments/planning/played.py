"""A puzzle that is being played: its state, what an action does, and what is said about it."""

from __future__ import annotations

from atlas.environments.planning.config import PlanningConfig
from atlas.environments.planning.grounding import GroundAction, Puzzle
from atlas.environments.planning.tasks import load_problem
from atlas.environments.planning.words import (
    CHECK_ACTIONS,
    LOOK_AROUND,
    PuzzleWords,
    plain_words,
    say_goal,
)
from atlas.environments.react import MAX_QUOTED, NO_ACTION
from atlas.records import Task


class PlayedPuzzle:
    """One puzzle that is being played. `state` is what holds now, as bits."""

    def __init__(self, config: PlanningConfig, task: Task) -> None:
        kind, rules, problem = load_problem(config, task)
        self.task = task
        self.puzzle = Puzzle(rules, problem)
        self.words = PuzzleWords(kind, rules, self.puzzle)
        self._goal_text = say_goal(kind, problem.goal)
        self.state = self.puzzle.init
        self.score = 0.0
        self.turns_left = config.max_steps
        self._says_changes = kind.says_changes

    @property
    def is_solved(self) -> bool:
        """Whether the whole goal holds. A goal that holds from the start needs one action."""
        return self.score == 1.0

    @property
    def is_over(self) -> bool:
        """Whether the puzzle is solved, or no turn is left."""
        return self.is_solved or self.turns_left <= 0

    def first_text(self) -> str:
        """The first observation."""
        return f"{self.words.rules()}\nGoal: {self._goal_text}.\n{self._state_text()}"

    def answer(self, text: str | None) -> tuple[str, bool]:
        """The observation after one turn, and whether the action was not possible."""
        self.turns_left -= 1
        if text is None:
            return NO_ACTION, True
        plain = plain_words(text)
        if plain == CHECK_ACTIONS:
            return f"You can: {'; '.join(self.words.possible(self.state))}.", False
        if plain == LOOK_AROUND:
            return self._state_text(), False
        action = self.words.find(text, self.state)
        if action is None:
            quoted = f"'{text[:MAX_QUOTED]}' is not an action of this world."
            return f"{quoted} Say '{CHECK_ACTIONS}' to see what is possible.", True
        if not action.is_possible(self.state):
            missing = self.words.facts(action.needs & ~self.state)
            return f"That is not possible now. These do not hold: {missing}.", True
        return self._carry_out(action), False

    def _carry_out(self, action: GroundAction) -> str:
        before, self.state = self.state, action.apply(self.state)
        reached = self.puzzle.num_reached(self.state) / len(self.puzzle.goals)
        self.score = max(self.score, reached)
        if self.is_solved:
            return "The goal is reached."
        if self._says_changes:
            return f"Now: {self.words.facts(self.state & ~before)}."
        return self._state_text()

    def _state_text(self) -> str:
        return f"State: {self.words.facts(self.state)}."
