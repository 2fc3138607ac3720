"""Finds steps that ended in an error: `trajectory -> the error text of each step, or None`.

Patterns of an environment are used only for its own trajectories: "Nothing happens." is a failed
action in ALFWorld, but elsewhere it may be an ordinary sentence. Known patterns match only the
beginning of a message (or of a line, if they say so), because a file that an agent reads may
contain "error" anywhere. Where an agent calls tools, the user is a person, whose "I can't" is no
error of the agent: only messages of tools count there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import Field, field_validator

from atlas.config import Config
from atlas.records import Message, Trajectory

ANYWHERE = "any"
# Messages with the role "tool", whatever the environment.
TOOLS = "tool"
# How many characters of the beginning and of the end of a message are searched.
CHARS = 4_000
# The reason where the source says that a step failed and its observation does not say why.
MARKED = "marked as invalid"

ERROR_PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        ANYWHERE: (
            # A server refused or failed.
            r"(HTTP(/[\d.]+)?\s+|\[HTTP |status(_| )?code\W{1,3})[45]\d\d\b",
            r"([45]\d\d (Client|Server) Error\b|HTTP ?Error\b"
            r"|(40[0-9]|410|42[29]|50[0-4]) (Bad Request|Unauthorized|Forbidden|Not Found"
            r"|Method Not Allowed|Conflict|Gone|Unprocessable|Too Many|Internal|Bad Gateway"
            r"|Service Unavail|Gateway))",
            # AgentGym's servers and most web interfaces.
            r'\{\s*"(error|detail)"\s*:(?!\s*(null|None|""|false|\{\}|\[\]|0\b))',
            r"(?m)^Traceback \(most recent call last\):",
            r"(ERROR|Error|error)\s*[:|]",
            # A shell, and the programs that are started from it.
            r"(?m)^([\w./-]*/)?(bash|sh|zsh|dash|ksh|fish)(: line \d+)?:.*"
            r"(command not found|[Nn]o such file or directory|syntax error|[Pp]ermission denied"
            r"|not found$)",
            r"(?m)^[\w.+-]+: [^\n]{0,300}(No such file or directory|Permission denied"
            r"|Is a directory|Not a directory|Operation not permitted|command not found)\s*$",
            r"(?m)^(fatal|npm ERR!|make: \*\*\*|error\[E\d+\]|E:|panic:|curl: \(\d+\)"
            r"|permission denied)[: ]",
            r"(?m)^(thread '[^'\n]{1,100}' panicked at "
            r"|[^\s:]{1,200}:\d+:(\d+:)? (fatal )?error: )",
            r"[\w.+-]{1,50}: (fatal )?error: ",
            # The last line of a traceback that was cut; mini-SWE-agent's status of a command.
            r"[A-Za-z_][\w.]{0,80}(Error|Exception)(: |\n)",
            r"<returncode>-?[1-9]",
            r"(Segmentation fault\b|Killed\s*$|Terminated\s*$|EXECUTION TIMED OUT\b|MCP error\b)",
            r"(?i)(the )?(command|tool|execution|request|operation|action)( call)?"
            r"( (['\"`][^'\"`\n]*['\"`]|[\w./-]+))? "
            r"(has |was )?(timed out|failed|exited with (exit )?(code|status) [1-9]"
            r"|returned (a )?non-zero|not (found|allowed|recognized|permitted|possible|valid)"
            r"|denied|rejected|is (invalid|unknown|blocked)|does not exist)\b",
            # SWE-agent's tools.
            r"Your (proposed )?edit has introduced new syntax error",
            r"Your (edit|command|action|proposed edit)( command)? (was not|could not|cannot)\b",
            r"(No (edits were|replacement was) (made|performed)|Text not found|Invalid `\w+`)\b",
            r"(File|Path|Directory|The path) \S{1,300} (not found|does not exist)\b",
            r"(Usage|usage): \S+ .{0,200}(?s:.{0,500})\berror:",
            # AgentGym's clients.
            r"Error: Only one 'Action' is allowed",
            r"Invalid Action\.",
        ),
        TOOLS: (
            r"(Error|error|ERROR|Failed|failed|Failure|Exception)\b(?!( tests?)?:? 0\b)",
            r"(Invalid|Unknown|Unauthorized|Forbidden|Unable to|Could not|Couldn't|Cannot|Can't"
            r"|No such|Not (found|allowed|authorized|permitted|supported)|Permission denied"
            r"|Access denied|Missing required|Timed? ?out)\b",
            r"(?i)\{[^{}]{0,400}[\"'](is_?error)[\"']\s*:\s*true",
            r"(?i)\{[^{}]{0,400}[\"'](success|ok|succeeded)[\"']\s*:\s*false",
            r"\{[^{}]{0,400}[\"']status[\"']\s*:\s*[\"']?(error|fail(ed|ure)?|4\d\d|5\d\d)\b",
            r"\{[^{}]{0,400}[\"'](error|errors|error_message|exception)[\"']\s*:"
            r"(?!\s*(null|None|\"\"|''|[Ff]alse|\{\s*\}|\[\s*\]|0\b))",
            r"(?i)\{[^{}]{0,400}[\"'](exit_?code|return_?code)[\"']\s*:\s*-?[1-9]",
            r"<(tool_use_)?error>",
            r"(?s).{0,2000}\b(exit code|Exit code|exit status|Exit status|exited with|returncode)"
            r"( code| status)?\W{1,3}-?[1-9]\d*\b",
            # The last line of a Python traceback that was cut.
            r"(?m)^[A-Za-z_][\w.]{0,80}(Error|Exception): ",
        ),
        "babyai": (
            # Written by atlas.
            r"That action is not possible\b",
            r"(?s).{0,200}The action is not recognized\b",
            r"(?s).{0,200}[Yy]ou (can'?t|cannot) (move|go|pick|open|drop|toggle|put)",
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
# Colors, and the prefix that AgentGym's data and clients put before an observation, and
# mini-SWE-agent's and SWE-agent's before the output of a command.
_LABEL = re.compile(r"(\s|\x1b\[[\d;]*m)*((Instruction|Observation|OBSERVATION|<output>):?\s*)?")
_COMPILED = {
    group: tuple(re.compile(pattern) for pattern in patterns)
    for group, patterns in ERROR_PATTERNS.items()
}


class ErrorConfig(Config):
    """Which observations report an error."""

    patterns: tuple[str, ...] = Field(
        default=(),
        description="regular expressions of your own tools' errors, such as "
        "'^REJECTED'; searched anywhere in an observation (its first and last 4,000 "
        "characters), in messages of tools and users",
    )
    known_patterns: bool = Field(
        default=True, description="also use the patterns of common tools and environments"
    )

    @field_validator("patterns")
    @classmethod
    def _are_regular_expressions(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
            if compiled.search(""):
                raise ValueError(f"{pattern!r} matches an empty text, so every step would fail")
        return patterns


DEFAULT = ErrorConfig()


def error_turns(trajectory: Trajectory, config: ErrorConfig = DEFAULT) -> list[str | None]:
    """For each step, the error text that its next observation reports, or None.

    A step that the source marks as invalid has one, too. Otherwise a step without a next
    observation (usually the last one) has no error.
    """
    if not trajectory.steps:
        return []
    environment = trajectory.task.environment.lower() if config.known_patterns else None
    own = tuple(re.compile(pattern, re.MULTILINE) for pattern in config.patterns)
    observations = [step.observation for step in trajectory.steps[1:]]
    observations.append(trajectory.final_observation)
    has_tools = calls_tools(trajectory)
    found = [_error_in(seen, environment, own, has_tools) for seen in observations]
    return [
        error or (MARKED if step.is_invalid else None)
        for error, step in zip(found, trajectory.steps, strict=True)
    ]


def calls_tools(trajectory: Trajectory) -> bool:
    """Whether the agent has tools, so that the user is a person and not an environment."""
    return bool(trajectory.tools) or any(step.response.tool_calls for step in trajectory.steps)


def _error_in(
    observation: Sequence[Message],
    environment: str | None,
    own: Sequence[re.Pattern[str]],
    has_tools: bool,
) -> str | None:
    for message in observation:
        text = message.content
        if len(text) > 2 * CHARS:
            text = f"{text[:CHARS]}\n{text[-CHARS:]}"
        found = next(filter(None, (pattern.search(text) for pattern in own)), None)
        is_of_person = has_tools and message.role != "tool"
        if found is None and environment is not None and not is_of_person:
            found = _known_error(_LABEL.sub("", text, count=1), environment, message.role)
        if found is not None:
            return " ".join(found.group().split())[:80]
    return None


def _known_error(text: str, environment: str, role: str) -> re.Match[str] | None:
    for pattern in _patterns(environment, role):
        is_of_a_line = pattern.pattern.startswith("(?m)")
        if found := pattern.search(text) if is_of_a_line else pattern.match(text):
            return found
    return None


def _patterns(environment: str, role: str) -> tuple[re.Pattern[str], ...]:
    return tuple(
        pattern
        for group, patterns in _COMPILED.items()
        if group == ANYWHERE or group in environment or (group == TOOLS and role == "tool")
        for pattern in patterns
    )
