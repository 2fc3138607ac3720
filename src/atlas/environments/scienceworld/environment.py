"""ScienceWorld as an environment: the package `scienceworld`, in AgentGym's wording.

First text: the task and what is seen. Score: the simulator's, 0 to 100, as 0 to 1. Success: above
99 of 100 (AgentGym's threshold). A wrong `focus on` gives -100 and ends the episode: a failure with
score 0. Truncated after 30 turns (the paper's limit). All worlds of a process share one Java
process.

After "Ambiguous request: Please enter the number …" the next action is the choice, as in the
simulator: a number carries out that action, anything else cancels it.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.environments.scienceworld.config import ScienceWorldConfig
from atlas.environments.scienceworld.game import PROGRAM, ScienceGame, ScienceState
from atlas.environments.scienceworld.tasks import PREFIX, WORLD, ScienceTasks, parse_task
from atlas.errors import EpisodeError
from atlas.records import Message, Task

SUCCESS_ABOVE = 99
INSTRUCTION = f"""\
You do an experiment in a house with several rooms. Each turn you do one action, and you are shown \
what happens. The first text has your task.
Actions (OBJ is the name of something that you see or carry):
open OBJ, close OBJ, activate OBJ, deactivate OBJ, connect OBJ to OBJ, disconnect OBJ, use OBJ, \
use OBJ on OBJ, look around, look at OBJ, look in OBJ, read OBJ, move OBJ to OBJ, pick up OBJ, \
put down OBJ, pour OBJ into OBJ, dunk OBJ into OBJ, mix OBJ, go to LOCATION, eat OBJ, flush OBJ, \
focus on OBJ, wait, wait1, task, inventory.
"focus on" says what your task is about; focus only on what the task names. If you are asked for \
a number, answer with that number as the action.
{ANSWER_FORMAT}"""


class ScienceWorldEnvironment:
    """ScienceWorld (the paper's SciWorld): experiments with things in a house, 30 kinds of task."""

    Config = ScienceWorldConfig
    name = WORLD

    def __init__(self, config: ScienceWorldConfig) -> None:
        PROGRAM.check()
        self.max_steps = config.max_steps
        self.prompt: tuple[Message, ...] = load_instruction(
            config.instruction, INSTRUCTION, task_prefix=PREFIX
        )
        self.history: list[tuple[str, ScienceState]] = []
        self._config = config
        self._tasks = ScienceTasks(config)
        self._game: ScienceGame | None = None
        self._task: Task | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split."""
        return self._tasks.draw(split, num_tasks, seed)

    def notes(self, split: str) -> Sequence[str]:
        """The known leak between the paper's splits."""
        return self._tasks.notes(split)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start the variation of `task`; the first text is its task and what is seen."""
        kind, variation, simplifications = parse_task(task)
        if self._game is not None and not self._game.is_alive:
            self.close()
        if self._game is None:
            self._game = ScienceGame()
        state = self._game.start(kind, variation, simplifications)
        self._task, self.history = task, [("", state)]
        return user(f"{self._game.task}\n{state.text}")

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        if self._game is None or not self.history:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        before = self.history[-1][1]
        if before.is_over or len(self.history) > self.max_steps:
            raise EpisodeError(f"{WORLD}: the episode is over. Call reset before the next step.")
        action = parse_action(response.content)
        if action is None:
            state = ScienceState(NO_ACTION, before.score, is_over=False, is_invalid=True)
        else:
            state = self._game.act(action)
        self.history.append((action or "", state))
        success = state.score > SUCCESS_ABOVE
        score = max(0, state.score) / 100
        is_over = state.is_over or success
        return StepResult(
            observation=user(state.text),
            reward=score - max(0, before.score) / 100,
            terminated=is_over,
            truncated=not is_over and len(self.history) > self.max_steps,
            success=success,
            score=score,
            action=action,
            is_invalid=state.is_invalid,
        )

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, over the package's own solution."""
        from atlas.environments.scienceworld.expert import ScienceWorldExpert
        from atlas.environments.scienceworld.gold import gold_path

        if self._task is None or self._game is None:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        path = gold_path(*parse_task(self._task))
        names = (self._task.id, seed)
        return ScienceWorldExpert(self._config.expert, self, self._game.task, path, names)

    def close(self) -> None:
        """Free the simulator; Java ends with the last one."""
        game, self._game = self._game, None
        self.history, self._task = [], None
        if game is not None:
            game.close()
