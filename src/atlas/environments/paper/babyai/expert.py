"""The expert of BabyAI in AgentGym's wording: that of BabyAI, with AgentGym's actions."""

from __future__ import annotations

from typing import Any

from atlas.environments.babyai.expert import BabyAIExpert
from atlas.environments.babyai.planner import Move, MovePlanner
from atlas.environments.babyai.view import SeenObject
from atlas.environments.experts import ExpertConfig, stream

VERBS = ("go to ", "pickup ", "toggle and go through ", "go through ")


class AgentGymPlanner(MovePlanner):
    """Plans with the actions that AgentGym offers."""

    _environment: Any

    def works(self, action: str) -> bool:
        """Whether `action` is offered, and is about the thing that it names in the description."""
        verb = next((verb for verb in VERBS if action.startswith(verb)), None)
        target = None
        if verb is not None:
            name, _, number = action.removeprefix(verb).rpartition(" ")
            item = self._environment.view.find(name, int(number))
            if item is None:
                return False
            target = item.cell
        return bool(self._environment.leads_to(action, target))

    def _open(self, goal: Any, door: SeenObject, rest: list[Any]) -> Move:
        """Toggle a door that the goal names from right in front of it.

        AgentGym reads the result of the last move of an action only: after `toggle and go through`
        a goal that opening the door had reached does not count.
        """
        if rest and goal not in self.bot.mission_goals:
            return super()._open(goal, door, rest)
        if not door.is_in_front:
            return Move(f"go to {door.label}", "approach", door)
        situation = "unlock" if door.thing.is_locked else "open"
        return Move("toggle", situation, door, final=not rest)


class BabyAIAgentGymExpert(BabyAIExpert):
    """Plays the episode that was just reset."""

    Planner = AgentGymPlanner
    _environment: Any

    def __init__(self, config: ExpertConfig, environment: Any, seed: int) -> None:
        super().__init__(config, environment, seed)
        self._rng = stream("expert", environment.task_id, seed)

    def _make_slip(self, move: Move) -> Move | None:
        """None in the levels that end with the first wrong act."""
        return None if self._environment.is_strict else super()._make_slip(move)

    def _new_plan(self, move: Move) -> tuple[str, str] | None:
        """As in BabyAI; to begin with a search does not count, since most tasks here begin so."""
        plan = super()._new_plan(move)
        return None if plan is not None and plan[1] == "begin" else plan
