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
from atlas.environments.planning.expert import PlanningExpert
from atlas.environments.planning.played import PlayedPuzzle
from atlas.environments.planning.tasks import planning_tasks
from atlas.environments.react import ANSWER_FORMAT, parse_action, user
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
        self._episode: PlayedPuzzle | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, one domain after the other."""
        return planning_tasks(self._config, split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Set up the puzzle of `task`; return its rules, its goal and what holds."""
        self._episode = PlayedPuzzle(self._config, task)
        return user(self._episode.first_text())

    @property
    def episode(self) -> PlayedPuzzle:
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
        return PlanningExpert(self._config.expert, self.episode, seed)

    def close(self) -> None:
        """Forget the puzzle."""
        self._episode = None
