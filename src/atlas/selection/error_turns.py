"""Finds steps that ended in an error: `trajectory -> the error text of each step, or None`.

Patterns of an environment are used only for its own trajectories: "Nothing happens." is a failed
action in ALFWorld, but elsewhere it may be an ordinary sentence. Patterns match only the beginning
of a message (or of a line, if they say so), because a file that an agent reads may contain "error"
anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from atlas.records import Message, Trajectory

ANYWHERE = "any"
# Messages with the role "tool", whatever the environment.
TOOLS = "tool"
# How many characters of the beginning and of the end of a message are searched.
CHARS = 4_000

ERROR_PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        ANYWHERE: (
            # A server refused or failed.
            r"(HTTP(/[\d.]+)?\s+|\[HTTP |status(_| )?code\W{1,3})[45]\d\d\b",
            # AgentGym's servers and most web interfaces.
            r'\{\s*"(error|detail)"\s*:(?!\s*(null|""|false|\{\}))',
            r"(?m)^Traceback \(most recent call last\):",
            r"(ERROR|Error|error)\s*[:|]",
            r"(?m)^(bash|sh|zsh|/bin/\w+):.*"
            r"(command not found|No such file or directory|syntax error|Permission denied)",
            # AgentGym's clients.
            r"Error: Only one 'Action' is allowed",
            r"Invalid Action\.",
        ),
        TOOLS: (
            r"(Error|error|ERROR|Failed|failed|Exception)\b",
            r'\{[^{}]{0,200}"(is_?error|isError)"\s*:\s*true',
            r"<(tool_use_)?error>",
            r"(?s).{0,2000}\b(exit code|Exit code|returncode)\W{1,3}[1-9]\d*\b",
        ),
        "babyai": (
            # Written by atlas.
            r"That action is not possible\b",
            r"(?s).{0,200}The action is not recognized\b",
            r"(?s).{0,200}[Yy]ou can'?t (move|go|pick|open|drop|toggle)\b",
        ),
        "textcraft": (r"Could not (execute|find)\b",),
        "sciworld": (
            r"No known action matches that input\b",
            r"Ambiguous request\b",
            r"(?s).{0,200}(It's not clear how to|is not (open|accessible)|isn't something that)\b",
            r"You can(no|')t\b",
            r"Unknown action\b",
        ),
        "alfworld": (r"Nothing happens\b",),
        "maze": (r"(Invalid action|hit wall)",),
        "wordle": (r"invalid word\b",),
        "weather": (r"Format error\b",),
        "webshop": (r"Invalid (action|Action)\b",),
    }
)
# The prefix that AgentGym's data and clients put before an observation.
_LABEL = re.compile(r"\s*((Instruction|Observation):\s*)?")
_COMPILED = {
    group: tuple(re.compile(pattern) for pattern in patterns)
    for group, patterns in ERROR_PATTERNS.items()
}


def error_turns(trajectory: Trajectory) -> list[str | None]:
    """For each step, the error text that its next observation reports, or None.

    A step without a next observation (usually the last one) has no error.
    """
    if not trajectory.steps:
        return []
    observations = [step.observation for step in trajectory.steps[1:]]
    environment = trajectory.task.environment.lower()
    return [_error_in(seen, environment) for seen in [*observations, trajectory.final_observation]]


def _error_in(observation: Sequence[Message], environment: str) -> str | None:
    for message in observation:
        text = message.content
        if len(text) > 2 * CHARS:
            text = f"{text[:CHARS]}\n{text[-CHARS:]}"
        text = _LABEL.sub("", text, count=1)
        for pattern in _patterns(environment, message.role):
            is_of_a_line = pattern.pattern.startswith("(?m)")
            if found := pattern.search(text) if is_of_a_line else pattern.match(text):
                return " ".join(found.group().split())[:80]
    return None


def _patterns(environment: str, role: str) -> tuple[re.Pattern[str], ...]:
    return tuple(
        pattern
        for group, patterns in _COMPILED.items()
        if group == ANYWHERE or group in environment or (group == TOOLS and role == "tool")
        for pattern in patterns
    )
