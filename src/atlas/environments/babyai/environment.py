"""BabyAI as a text environment: the levels of the minigrid package, played with words, in the manner of AgentGym's BabyAI.

The observation names what is in view; an action is a primitive (`turn left`) or a whole errand (`pickup blue key 1`), which
is carried out as primitives. One response is one turn, whatever it does; after `max_steps` turns the episode is truncated.

Score: 0 without success; with success after t of `max_steps` turns, 1 - 0.9 * t / max_steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from atlas.environments.babyai.actions import (
    CHECK_ACTIONS,
    FORMAT_HINT,
    Impossible,
    Plan,
    available_actions,
    parse_action,
    plan_action,
)
from atlas.environments.babyai.tasks import babyai_tasks, make_level
from atlas.environments.babyai.view import Cell, View, look, visible_cells
from atlas.environments.base import Expert, StepResult
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Message, Task

INSTRUCTION = """\
You walk through rooms to reach a goal, one action per turn. You see what is ahead of you; places are counted in steps from you, \
objects that look the same are numbered by distance.
Actions:
- turn left
- turn right
- move forward
- go to <object> <id>
- pickup <object> <id>
- drop
- toggle: open or close the door right in front of you
- go through <door> <id>: an open door
- toggle and go through <door> <id>: a closed door, or a locked one if you carry the key of its color
- check available actions
You can carry one object. Answer in this format:
Thought:
<your thought>

Action:
<your action>"""


class BabyAIEnvironment:
    """One playable level at a time. `detour_rate` and `mistake_rate` make its expert imperfect (chance per turn)."""

    name = "babyai"
    prompt: tuple[Message, ...] = (Message(role="system", content=INSTRUCTION),)

    def __init__(
        self, max_steps: int = 20, detour_rate: float = 0.0, mistake_rate: float = 0.0
    ) -> None:
        if find_spec("minigrid") is None:
            raise DependencyError("minigrid", "babyai")
        self.max_steps = max_steps
        self.detour_rate = detour_rate
        self.mistake_rate = mistake_rate
        self.world: Any = None
        self.seen: set[Cell] = set()
        self.num_turns = 0
        self.last_refusal: str | None = None
        self.on_primitive: Callable[[int, int | None], None] | None = None
        self._view: View | None = None
        self._success = False

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        return babyai_tasks(split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        self.world = make_level(task)
        self.on_primitive = None
        self.last_refusal = None
        self.num_turns = 0
        self._success = False
        self._view = look(self.world)
        self.seen = set(self._view.cells)
        return _user(f"Your goal: {self.world.mission}.\n{self._view.text}")

    @property
    def view(self) -> View:
        """What the agent sees now."""
        if self._view is None:
            raise EpisodeError("babyai: there is no episode yet. Call reset first.")
        return self._view

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, built on minigrid's own BabyAIBot."""
        from atlas.environments.babyai.expert import BabyAIExpert

        return BabyAIExpert(
            self, seed, detour_rate=self.detour_rate, mistake_rate=self.mistake_rate
        )

    def step(self, response: str) -> StepResult:
        view = self.view
        if self._success or self.num_turns >= self.max_steps:
            raise EpisodeError("babyai: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        action = parse_action(response)
        self.last_refusal = None
        if action is None:
            self.last_refusal = "no action"
            text = FORMAT_HINT
        elif action == CHECK_ACTIONS:
            text = f"You can: {', '.join(available_actions(self.world, view, self.seen))}."
        else:
            text = self._carry_out(plan_action(action, self.world, view, self.seen))
        score = 1 - 0.9 * self.num_turns / self.max_steps if self._success else 0.0
        return StepResult(
            observation=_user(text),
            reward=score,
            terminated=self._success,
            truncated=not self._success and self.num_turns >= self.max_steps,
            success=self._success,
            score=score,
            action=action,
        )

    def close(self) -> None:
        self.world = None
        self._view = None
        self.on_primitive = None

    def _carry_out(self, plan: Plan | Impossible) -> str:
        if isinstance(plan, Impossible):
            self.last_refusal = plan.reason
            return f"That action is not possible: {plan.reason}. {self.view.text}"
        for index, primitive in enumerate(plan.primitives):
            _, _, self._success, _, _ = self.world.step(primitive)
            self.seen.update(visible_cells(self.world))
            if self._success:
                self._view = look(self.world)
                return " ".join(filter(None, (plan.report, "The task is completed.")))
            if self.on_primitive is not None:
                following = plan.primitives[index + 1] if index + 1 < len(plan.primitives) else None
                self.on_primitive(primitive, following)
        self._view = look(self.world)
        return " ".join(filter(None, (plan.report, self._view.text)))


def _user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)
