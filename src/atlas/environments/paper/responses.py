"""How AgentGym's clients read the action in a response, and how they word observations.

The clients changed in September 2025: since then, BabyAI and TextCraft allow one action per
response. AgentTraj was recorded, and the ATLaS paper evaluated, with the earlier ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Client = Literal[2024, 2025]
CLIENT_HELP = (
    "which client of AgentGym reads the responses: that of 2024, with which AgentTraj was recorded,"
    " or that of 2025, which refuses two actions in textcraft and babyai"
)
Wording = Literal["agenttraj", "server"]
WORDING_HELP = (
    "how observations are worded: as AgentTraj has them, or as AgentGym's servers of today"
)

# What AgentGym's client answers to two actions, without asking the world.
ONLY_ONE_ACTION = "Error: Only one 'Action' is allowed per response. Please adjust your response."
_ACTION = re.compile(r"Action:\s*(.*?)(?=\n|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReadAction:
    """The action in a response: `text` is empty without one; `has_several`: there are two or more.

    Attributes:
        found: the action for the record; None if there is none.
    """

    text: str
    has_several: bool = False

    @property
    def found(self) -> str | None:
        return self.text or None


def read_single_action(response: str) -> ReadAction:
    """The line after `Action:`; more than one `Action:` is refused (since September 2025)."""
    matches = _ACTION.findall(response)
    if len(matches) > 1:
        return ReadAction("", has_several=True)
    return ReadAction(_clean(matches[-1] if matches else ""))


def read_last_action(response: str) -> ReadAction:
    """All words after the last `Action:`, or of a response without one (TextCraft before)."""
    return ReadAction(_clean(response.split("Instruction:")[0].split("Action:")[-1]))


def read_rest_as_action(response: str) -> ReadAction:
    """Everything between the first `Action:` and the next one, or the whole text without one.

    So the maze and Wordle are read to this day, and so BabyAI was.
    """
    # Half of a surrogate pair can be neither sent nor recorded.
    text = response.encode("utf-8", "replace").decode()
    parts = text.removesuffix("</s>").split("Action:")
    return ReadAction(parts[1 if len(parts) > 1 else 0].strip())


def _clean(action: str) -> str:
    """Only letters, digits, commas and single blanks."""
    return " ".join(re.sub(r"[^A-Za-z0-9, ]+", "", action).split())
