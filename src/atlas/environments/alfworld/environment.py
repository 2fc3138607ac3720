"""ALFWorld as a text environment, in the wording of AgentGym's server.

The first observation names the places of the room, the task and the available actions; a later one
says only what happened. An action that is not possible is answered "Nothing happens.". Every
response counts as one turn; after `max_steps` turns (30 in the paper) the episode is truncated.

Score: 1 if the goal is reached, else 0. AgentGym counts a reward above 0.99 as success.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.environments.alfworld.config import AlfworldConfig
from atlas.environments.alfworld.knowledge import NOTHING_HAPPENS
from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.react import ANSWER_FORMAT, parse_action, user
from atlas.errors import EpisodeError
from atlas.extras import require_extras
from atlas.records import Message, Task

INSTRUCTION = f"""\
You are in a room of a house and have a task. One action per turn:
- go to <place>
- open <place>, close <place>
- take <thing> from <place>
- put <thing> in/on <place>
- clean <thing> with <place>, heat <thing> with <place>, cool <thing> with <place>
- use <lamp>
- examine <thing or place>
- inventory
- look
You see what a place holds when you are there and it is open. You can hold one thing. If nothing \
happens, the action was not possible. {ANSWER_FORMAT}"""
ID_PREFIX = "alfworld"


class AlfworldEnvironment:
    """ALFWorld: find things in a house, clean, heat or cool them, put them where they belong."""

    Config = AlfworldConfig
    # The translator of the engine keeps global state and redirects the standard output, so games
    # of several threads would run one after the other anyway.
    in_process = True
    name = "alfworld"

    def __init__(self, config: AlfworldConfig) -> None:
        require_extras(("alfworld",))
        self.prompt = load_instruction(config.instruction, INSTRUCTION, ID_PREFIX)
        self.max_steps = config.max_steps
        self.num_turns = 0
        self.texts: list[str] = []
        self._config = config
        self._games: Any = None
        self._engine: Any = None
        self._task: Task | None = None
        self._success = False

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split."""
        tasks: Sequence[Task] = self._source.tasks(split, num_tasks, seed)
        return tasks

    def notes(self, split: str) -> Sequence[str]:
        """Which games of a split are missing."""
        notes: Sequence[str] = self._source.notes(split)
        return notes

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Begin the game of `task`, and return the room, the goal and the available actions."""
        from atlas.environments.alfworld.engine import HouseEngine

        if self._engine is None:
            self._engine = HouseEngine()
        text = self._engine.start(self._source.load(task))
        self._task, self._success, self.num_turns = task, False, 0
        self.texts = [text]
        return user(f"{text}\nAVAILABLE ACTIONS: {','.join(self._engine.commands)}")

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset; it knows only what it has read."""
        from atlas.environments.alfworld.expert import AlfworldExpert

        return AlfworldExpert(self._config.expert, self, self.task, seed)

    @property
    def task(self) -> Task:
        """The task of this episode."""
        if self._task is None:
            raise EpisodeError("alfworld: no episode has started. Call reset first.")
        return self._task

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        if self._success or self.num_turns >= self.max_steps or self.task is None:
            raise EpisodeError("alfworld: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        action = parse_action(response.content)
        happened = None if action is None else self._engine.act(action)
        self.texts.append(NOTHING_HAPPENS if happened is None else happened)
        success = self._success = happened is not None and self._engine.is_won
        return StepResult(
            observation=user(self.texts[-1]),
            reward=float(success),
            terminated=success,
            truncated=not success and self.num_turns >= self.max_steps,
            success=success,
            score=float(success),
            action=action,
            is_invalid=happened is None,
        )

    def close(self) -> None:
        """Free the engine."""
        engine, self._engine, self._task = self._engine, None, None
        if engine is not None:
            engine.close()

    @property
    def _source(self) -> Any:
        """Where the games come from; the packages are imported with the first use."""
        if self._games is None:
            if self._config.games is not None:
                from atlas.environments.alfworld.folder import FolderGames

                self._games = FolderGames(self._config.games, self._config.mappings)
            else:
                from atlas.environments.alfworld.generated import GeneratedGames

                self._games = GeneratedGames()
        return self._games
