"""The expert of BabyAI in AgentGym's wording: that of BabyAI, with AgentGym's actions."""

from __future__ import annotations

from typing import Any

from atlas.environments.babyai.expert import BabyAIExpert
from atlas.environments.babyai.planner import MovePlanner
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


class BabyAIAgentGymExpert(BabyAIExpert):
    """Plays the episode that was just reset."""

    Planner = AgentGymPlanner

    def __init__(self, config: ExpertConfig, environment: Any, seed: int) -> None:
        super().__init__(config, environment, seed)
        self._rng = stream("expert", environment.task_id, seed)
