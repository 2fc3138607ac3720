"""How AgentGym's clients read the action in a response, since September 2025.

The worlds of BabyAI and TextCraft allow one action per response; the other ones take the text
after the first `Action:`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What AgentGym's client answers to two actions, without asking the world.
ONLY_ONE_ACTION = "Error: Only one 'Action' is allowed per response. Please adjust your response."
_ACTION = re.compile(r"Action:\s*(.*?)(?=\n|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReadAction:
    """The action in a response: `text` is empty without one; `has_several`: there is no single one.

    Attributes:
        found: the action for the record; None if there is none.
    """

    text: str
    has_several: bool = False

    @property
    def found(self) -> str | None:
        return self.text or None


def read_single_action(response: str) -> ReadAction:
    """The line after `Action:`, without other characters than letters, digits and commas."""
    matches = _ACTION.findall(response)
    if len(matches) > 1:
        return ReadAction("", has_several=True)
    action = re.sub(r"[^A-Za-z0-9, ]+", "", matches[-1]) if matches else ""
    return ReadAction(" ".join(action.split()))


def read_rest_as_action(response: str) -> ReadAction:
    """Everything between the first `Action:` and the next one, or the whole text without one."""
    parts = response.removesuffix("</s>").split("Action:")
    return ReadAction(parts[1 if len(parts) > 1 else 0].strip())
