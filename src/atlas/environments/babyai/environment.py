"""BabyAI as a text environment: the levels of minigrid, played with words, as in AgentGym's BabyAI.

The observation names what is in view. An action is a primitive (`turn left`) or an errand of
several primitives (`pickup blue key 1`). Every response counts as one turn; after `max_steps` turns
the episode is truncated.

Score: 0 without success; with success after t of `max_steps` turns, 1 - 0.9 * t / max_steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from atlas.environments.babyai.actions import (
    CHECK_ACTIONS,
    Plan,
    available_actions,
    parse_action,
    plan_action,
)
from atlas.environments.babyai.config import BabyAIConfig
from atlas.environments.babyai.tasks import babyai_tasks, make_level
from atlas.environments.babyai.view import Cell, View, look, visible_cells
from atlas.environments.base import Expert, StepResult
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, user
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Message, Task

INSTRUCTION = f"""\
You walk through rooms to reach a goal, one action per turn. You see what is ahead of you; \
places are counted in steps from you, objects that look the same are numbered by distance.
Actions:
- turn left
- turn right
- move forward
- go to <object> <id>
- pickup <object> <id>
- drop
- toggle: open or close the door right in front of you
- go through <door> <id>: an open door
- toggle and go through <door> <id>: a closed door, or a locked one \
if you carry the key of its color
- check available actions
You can carry one object. {ANSWER_FORMAT}"""


class BabyAIEnvironment:
    """The levels of BabyAI in words: walk through rooms, find, fetch and place objects."""

    Config = BabyAIConfig
    in_process = True
    name = "babyai"
    prompt: tuple[Message, ...] = (Message(role="system", content=INSTRUCTION),)

    def __init__(self, config: BabyAIConfig) -> None:
        if find_spec("minigrid") is None:
            raise DependencyError("minigrid", "babyai")
        self.max_steps = config.max_steps
        self._expert_config = config.expert
        self.world: Any = None
        self.seen: set[Cell] = set()
        self.num_turns = 0
        self.on_primitive: Callable[[int, int | None], None] | None = None
        self._view: View | None = None
        self._success = False

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, one level after the other."""
        return babyai_tasks(split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Build the level of `task`, and return the goal and what is in view."""
        self.world = make_level(task)
        self.on_primitive = None
        self.num_turns = 0
        self._success = False
        self._view = look(self.world)
        self.seen = set(self._view.cells)
        return user(f"Your goal: {self.world.mission}.\n{self._view.text}")

    @property
    def view(self) -> View:
        """What the agent sees now."""
        if self._view is None:
            raise EpisodeError("babyai: no episode has started. Call reset first.")
        return self._view

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, built on minigrid's own BabyAIBot."""
        from atlas.environments.babyai.expert import BabyAIExpert

        return BabyAIExpert(self._expert_config, self, seed)

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        view = self.view
        if self._success or self.num_turns >= self.max_steps:
            raise EpisodeError("babyai: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        action = parse_action(response.content)
        is_invalid = action is None
        if action is None:
            text = NO_ACTION
        elif action == CHECK_ACTIONS:
            text = f"You can: {', '.join(available_actions(self.world, view, self.seen))}."
        else:
            plan = plan_action(action, self.world, view, self.seen)
            is_invalid = isinstance(plan, str)
            if isinstance(plan, str):
                text = f"That action is not possible: {plan}. {view.text}"
            else:
                text = self._carry_out(plan)
        success = self._success
        score = 1 - 0.9 * self.num_turns / self.max_steps if success else 0.0
        return StepResult(
            observation=user(text),
            reward=score,
            terminated=success,
            truncated=not success and self.num_turns >= self.max_steps,
            success=success,
            score=score,
            action=action,
            is_invalid=is_invalid,
        )

    def close(self) -> None:
        """Forget the level."""
        self.world = None
        self._view = None
        self.on_primitive = None

    def _carry_out(self, plan: Plan) -> str:
        for primitive, following in zip(plan.primitives, (*plan.primitives[1:], None), strict=True):
            _, _, self._success, _, _ = self.world.step(primitive)
            self.seen.update(visible_cells(self.world))
            if self._success:
                break
            if self.on_primitive is not None:
                self.on_primitive(primitive, following)
        self._view = look(self.world)
        end = "The task is completed." if self._success else self._view.text
        return f"{plan.report} {end}" if plan.report else end
