"""Planning puzzles as a text world: gripper, blockworld, tyreworld and barman.

The first observation says the rules, the goal and what holds. An action is a sentence such as
`stack b1 on b2`; `check valid actions` lists what is possible, `look around` what holds. Every
response counts as one turn; after `max_steps` turns (30, as in AgentBoard's settings) the episode
is truncated.

Score: the largest share of the goal's facts that held after an action, as in AgentBoard
(arXiv 2401.13178). Success: the whole goal holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.planning.config import PlanningConfig
from atlas.environments.planning.grounding import GroundAction, Puzzle
from atlas.environments.planning.tasks import load_problem, planning_tasks
from atlas.environments.planning.words import (
    CHECK_ACTIONS,
    LOOK_AROUND,
    MAX_QUOTED,
    PuzzleWords,
    say_goal,
)
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = f"""\
You solve puzzles that need a plan. You read the rules of a small world, what holds in it, and a \
goal. Each turn you do one of its actions, with the names as they are written; an action that is \
not possible changes nothing. You are done as soon as the whole goal holds.
{ANSWER_FORMAT}"""


class PlanningEnvironment:
    """Planning puzzles in words: gripper, blockworld, tyreworld, barman."""

    Config = PlanningConfig
    in_process = True
    name = "planning"

    def __init__(self, config: PlanningConfig) -> None:
        self._config = config
        self.prompt = load_instruction(config.instruction, INSTRUCTION, "planning/")
        self._episode: Puzzled | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, one domain after the other."""
        return planning_tasks(self._config, split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Set up the puzzle of `task`; return its rules, its goal and what holds."""
        self._episode = Puzzled(self._config, task)
        return user(self._episode.first_text())

    @property
    def episode(self) -> Puzzled:
        """The puzzle that is played."""
        if self._episode is None:
            raise EpisodeError("planning: no episode has started. Call reset first.")
        return self._episode

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        episode = self.episode
        if episode.is_over:
            raise EpisodeError("planning: the episode is over. Call reset before the next step.")
        text = parse_action(response.content)
        observation, is_invalid = episode.answer(text)
        is_solved = episode.is_solved
        return StepResult(
            observation=user(observation),
            reward=float(is_solved),
            terminated=is_solved,
            truncated=not is_solved and episode.turns_left <= 0,
            success=is_solved,
            score=episode.score,
            action=text,
            is_invalid=is_invalid,
        )

    def expert(self, seed: int) -> Expert:
        """A player for the puzzle that was just reset: a planner that says why it acts."""
        from atlas.environments.planning.expert import PlanningExpert

        return PlanningExpert(self._config.expert, self.episode, seed)

    def close(self) -> None:
        """Forget the puzzle."""
        self._episode = None


class Puzzled:
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
        plain = text.lower().strip(" .!`'\"")
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
