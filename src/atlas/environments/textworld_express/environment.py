"""TextWorld-Express as an environment: eight text games of the package `textworld-express`.

Score: the simulator's own, from 0 to 1. Success: the simulator says that the task is solved; a game
that was won or lost is over. All worlds of a process share one Java process.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.environments.textworld_express.config import TextWorldExpressConfig
from atlas.environments.textworld_express.game import PROGRAM, ExpressGame, GameState
from atlas.environments.textworld_express.tasks import WORLD, express_tasks, parse_task
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = f"""\
You play a text game. Each turn you do one action, and you are shown what happens. The first text \
has your task.
Actions, as far as a game has them: look around; inventory; move <north, south, east or west>; \
open door to <direction>; open <container>; take <thing>; put <thing> in <container>; \
read <thing>; examine <thing>; chop, slice or dice <thing> (with a knife in hand); \
cook <thing> in <device>; prepare meal; eat <thing>; or the words that are asked for.
{ANSWER_FORMAT}"""


class TextWorldExpressEnvironment:
    """TextWorld-Express: eight small text games, such as cooking, tidying and maps."""

    Config = TextWorldExpressConfig
    name = WORLD

    def __init__(self, config: TextWorldExpressConfig) -> None:
        PROGRAM.check()
        self.max_steps = config.max_steps
        self.prompt: tuple[Message, ...] = load_instruction(
            config.instruction, INSTRUCTION, task_prefix=WORLD
        )
        self.history: list[tuple[str, GameState]] = []
        self._config = config
        self._played: ExpressGame | None = None
        self._task: Task | None = None

    @property
    def game_task(self) -> str:
        """The task of the game, in the simulator's words."""
        return self._played.task if self._played is not None else ""

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, one game after the other."""
        return express_tasks(self._config, split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start the game of `task`; the first text is its task and what is seen."""
        game, parameters, fold, seed = parse_task(task)
        if self._played is not None and not self._played.simulator.is_alive:
            self.close()
        if self._played is None:
            self._played = ExpressGame()
        state = self._played.start(game, parameters, fold, seed)
        self._task, self.history = task, [("", state)]
        return user(self._shown(f"{self._played.task}\n{state.text}", state))

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        if self._played is None or not self.history:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        before = self.history[-1][1]
        if before.is_won or before.is_lost or len(self.history) > self.max_steps:
            raise EpisodeError(f"{WORLD}: the episode is over. Call reset before the next step.")
        action = parse_action(response.content)
        state = self._played.act(action) if action is not None else before.refused(NO_ACTION)
        self.history.append((action or "", state))
        is_over = state.is_won or state.is_lost
        score = 0.0 if state.is_lost else state.score
        return StepResult(
            observation=user(self._shown(state.text, state)),
            reward=score - (0.0 if before.is_lost else before.score),
            terminated=is_over,
            truncated=not is_over and len(self.history) > self.max_steps,
            success=state.is_won,
            score=score,
            action=action,
            is_invalid=state.is_refused,
        )

    def expert(self, seed: int) -> Expert:
        """A searching player for the episode that was just reset; it knows only what was shown."""
        from atlas.environments.textworld_express.expert import TextWorldExpressExpert

        if self._task is None:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        names = (self._task.id, seed)
        return TextWorldExpressExpert(self._config.expert, self, self._task.group, names)

    def close(self) -> None:
        """Free the simulator; Java ends with the last one."""
        played, self._played = self._played, None
        self.history, self._task = [], None
        if played is not None:
            played.close()

    def _shown(self, text: str, state: GameState) -> str:
        if not self._config.show_actions:
            return text
        return f"{text}\nPossible actions: {', '.join(state.actions)}."
