"""An office as a world of native tool calls: contacts, calendar, mail and notes.

The agent is asked for something, calls tools, and ends with `finish`. A call that does not fit is
answered with what was expected. Several calls of one response are answered in order, each with its
id. Every response counts as one turn; after `max_steps` turns the episode is truncated.

Score: the share of the asked changes (events and mails) that were made; 0 as soon as there is a
change that nobody asked for. Success: all of them, and `finish` was called.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.office.config import OfficeConfig
from atlas.environments.office.expert import OfficeExpert
from atlas.environments.office.played import PlayedRequest, action_of
from atlas.environments.office.tasks import office_tasks
from atlas.environments.office.tools import TOOLS
from atlas.environments.react import user
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = """\
You are an assistant in an office. You do what you are asked with your tools, nothing else, and \
call `finish` when it is done. Look up what you do not know. Say in a sentence what you think \
before each call."""
TEXT_FORMAT = """\
Each turn, answer in this format:
Thought:
<your thought>

Action:
<a tool> <its arguments as JSON>"""


class OfficeEnvironment:
    """An office with tools for contacts, calendar, mail and notes, called natively."""

    Config = OfficeConfig
    in_process = True
    name = "office"

    def __init__(self, config: OfficeConfig) -> None:
        self._config = config
        self._is_text = config.calls == "text"
        self.tools: tuple[dict[str, Any], ...] = (
            () if self._is_text else tuple(tool.schema(name) for name, tool in TOOLS.items())
        )
        default = "\n".join((INSTRUCTION, *_tool_lines(), TEXT_FORMAT))
        default = default if self._is_text else INSTRUCTION
        self.prompt = load_instruction(config.instruction, default, "office/")
        self._episode: PlayedRequest | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, one kind of request after the other."""
        return office_tasks(split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Set up the office of `task`, and return the request."""
        self._episode = PlayedRequest(task, self._config.max_steps)
        return user(self._episode.first_text())

    @property
    def episode(self) -> PlayedRequest:
        """The request that is being carried out."""
        if self._episode is None:
            raise EpisodeError("office: no episode has started. Call reset first.")
        return self._episode

    def step(self, response: Message) -> StepResult:
        """Carry out the calls of `response`; without native calls, the one in its text."""
        episode = self.episode
        if episode.is_over:
            raise EpisodeError("office: the episode is over. Call reset before the next step.")
        observation, is_invalid = episode.act(response, self._is_text)
        score = episode.score
        success = episode.is_finished and score == 1.0
        return StepResult(
            observation=observation,
            reward=float(success),
            terminated=episode.is_finished,
            truncated=not episode.is_finished and episode.turns_left <= 0,
            success=success,
            score=score,
            action=action_of(response),
            is_invalid=is_invalid,
        )

    def expert(self, seed: int) -> Expert:
        """A player for the request that was just made; it looks up what it does not know."""
        return OfficeExpert(self._config.expert, self.episode, seed, self._is_text)

    def close(self) -> None:
        """Forget the office."""
        self._episode = None


def _tool_lines() -> list[str]:
    """The tools in words, for models that get no schemas."""
    lines = ["Tools:"]
    for name, tool in TOOLS.items():
        arguments = {key: _example(schema) for key, schema in tool.parameters.items()}
        lines.append(f"- {name} {json.dumps(arguments)}: {tool.description}")
    return lines


def _example(schema: Any) -> Any:
    text = schema.get("description", "a text")
    return [text] if schema["type"] == "array" else text
