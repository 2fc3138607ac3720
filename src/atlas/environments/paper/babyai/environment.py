"""BabyAI as AgentGym plays it: its levels, its words, its actions, its score.

Score: minigrid's reward of reaching the goal, 1 - 0.9 * moves / the level's limit of moves. An
episode is solved if its score is above 0 (`agentevol_filter.py` of AgentGym). A reward of at most
0.5 does not end the episode (AgentGym's rule); AgentGym then adds the reward of each later turn to
the score, here the highest reward counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from atlas.environments.babyai.actions import (
    CHECK_ACTIONS,
    DIRECTIONS,
    FORWARD,
    LEFT,
    RIGHT,
    TOGGLE,
)
from atlas.environments.babyai.view import Cell, View, is_passable
from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.paper.babyai.config import BabyAIAgentGymConfig
from atlas.environments.paper.babyai.errands import Errands, list_errands
from atlas.environments.paper.babyai.sight import Sight, see
from atlas.environments.paper.babyai.tasks import BabyAITasks, make_paper_level
from atlas.environments.paper.responses import (
    ONLY_ONE_ACTION,
    read_rest_as_action,
    read_single_action,
)
from atlas.environments.react import user
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Message, Task

INSTRUCTION = """\
You are in a room and have to reach a goal, one action per turn. Each turn shows what you see.
Actions:
- turn right
- turn left
- move forward
- go to <obj> <id>
- pickup <obj> <id>
- drop
- go through <door> <id>: an open door
- toggle and go through <door> <id>: a closed door, or a locked one if you carry the key of its \
color
- toggle: the closed or locked door right in front of you
- check available actions
Answer in this format:
Thought:
<your thought>

Action:
<your action>"""
UNKNOWN_ACTION = "The action is not recognized. Please check valid actions."
NO_CHANGE = "No change in state."
DONE = "\n The task is completed."
# AgentGym does not end an episode whose reward is lower.
LEAST_FINAL_REWARD = 0.5


class BabyAIAgentGymEnvironment:
    """BabyAI in AgentGym's wording: the 40 levels that the ATLaS paper trains and tests on."""

    Config = BabyAIAgentGymConfig
    in_process = True
    name = "babyai-agentgym"

    def __init__(self, config: BabyAIAgentGymConfig) -> None:
        if find_spec("minigrid") is None:
            raise DependencyError("minigrid", "babyai")
        self.prompt = load_instruction(config.instruction, INSTRUCTION, "babyai_")
        self.max_steps = config.max_steps
        self.world: Any = None
        self.seen: set[Cell] = set()
        self.num_turns = 0
        self.task_id = ""
        self.on_primitive: Callable[[int, int | None], None] | None = None
        self._tasks = BabyAITasks(config)
        self._expert_config = config.expert
        self._read = read_single_action if config.client == 2025 else read_rest_as_action
        self._lists_actions = config.wording == "server"
        self._sight: Sight | None = None
        self._errands = Errands()
        self._image: Any = None
        self._score = 0.0
        self._is_over = False

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split."""
        return self._tasks.draw(split, num_tasks, seed)

    def notes(self, split: str) -> Sequence[str]:
        """What to know of a split of the paper."""
        return self._tasks.notes(split)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Build the level of `task`, and return the goal and what is in view."""
        self.world, image = make_paper_level(task)
        self.task_id = task.id
        self.on_primitive = None
        self.num_turns = 0
        self._score, self._is_over = 0.0, False
        self.seen = set()
        text = self._look(image)
        goal = self.world.mission.replace("then", "and").replace("after you", "and")
        return self._say(f"Your goal: {goal}\n{text}")

    @property
    def view(self) -> View:
        """What the agent sees now, as the expert of BabyAI reads it."""
        return self._looking.view(self.world)

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, built on minigrid's own BabyAIBot."""
        from atlas.environments.paper.babyai.expert import BabyAIAgentGymExpert

        return BabyAIAgentGymExpert(self._expert_config, self, seed)

    @property
    def is_strict(self) -> bool:
        """Whether the first wrong act ends the level, without success."""
        return bool(getattr(self.world, "debug", False) or getattr(self.world, "strict", False))

    def leads_to(self, action: str, cell: Cell | None) -> bool:
        """Whether `action` is available, is about the thing at `cell`, and would arrive there.

        As far as the agent can know: AgentGym's paths lead through closed doors and walls that were
        seen before, where they end early.
        """
        moves = self._errands.moves.get(action)
        if moves is None or self._errands.targets.get(action) != cell:
            return False
        x, y, direction = *self._looking.cell, self._looking.direction
        path = moves[: moves.index(TOGGLE)] if TOGGLE in moves else moves
        for move in path:
            if move in (LEFT, RIGHT):
                direction = (direction + (1 if move == RIGHT else -1)) % len(DIRECTIONS)
            elif move == FORWARD:
                x, y = x + DIRECTIONS[direction][0], y + DIRECTIONS[direction][1]
                if (x, y) in self.seen and not is_passable(self.world.grid.get(x, y)):
                    return False
        return True

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        if self._is_over or self.num_turns >= self.max_steps:
            raise EpisodeError(
                f"{self.name}: the episode is over. Call reset before the next step."
            )
        assert self._looking
        self.num_turns += 1
        read = self._read(response.content)
        action = read.text.lower()
        reward, is_done = 0.0, False
        is_invalid = True
        if read.has_several:
            text = ONLY_ONE_ACTION
        elif "check" in action:
            text = f"You can take the following actions: {', '.join(self._errands.moves)}"
            is_invalid = action != CHECK_ACTIONS
        elif not (moves := self._errands.moves.get(action, ())):
            known = not action or action in self._errands.moves
            unknown = NO_CHANGE if known else UNKNOWN_ACTION
            text = self._errands.refusals.get(action, unknown)
        else:
            text, reward, is_done = self._carry_out(moves)
            is_invalid = False
        self._score = max(self._score, reward)
        self._is_over = is_done and reward > LEAST_FINAL_REWARD
        return StepResult(
            observation=user(text) if read.has_several else self._say(text),
            reward=reward,
            terminated=self._is_over,
            truncated=not self._is_over and self.num_turns >= self.max_steps,
            success=self._score > 0,
            score=self._score,
            action=read.found,
            is_invalid=is_invalid,
        )

    def close(self) -> None:
        """Forget the level."""
        self.world = self._sight = None
        self.on_primitive = None

    @property
    def _looking(self) -> Sight:
        if self._sight is None:
            raise EpisodeError(f"{self.name}: no episode has started. Call reset first.")
        return self._sight

    def _carry_out(self, moves: Sequence[int]) -> tuple[str, float, bool]:
        """Make the moves until one changes nothing in view: the text, reward and end."""
        reward, is_done, image = 0.0, False, self._image
        for move, following in zip(moves, (*moves[1:], None), strict=True):
            observation, reward, is_done, _, _ = self.world.step(move)
            image = observation["image"]
            has_changed = bool((image != self._image).any())
            self._image = image
            if not has_changed:
                following = None
            if self.on_primitive is not None and not is_done:
                self.seen.update(see(self.world, image).visible)
                self.on_primitive(move, following)
            if not has_changed:
                break
        return self._look(image) + (DONE if is_done else ""), float(reward), bool(is_done)

    def _look(self, image: Any) -> str:
        self._image = image
        self._sight = see(self.world, image)
        self._errands = list_errands(self._sight)
        self.seen.update(self._sight.visible)
        return self._sight.text

    def _say(self, text: str) -> tuple[Message, ...]:
        if self._lists_actions:
            listed = ", ".join(f'"{action}"' for action in self._errands.moves)
            text = f"{text}\nAvailable actions: [{listed}]"
        return user(text)
