"""The smallest environments: one that reads text, and one that is played by native tool calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from atlas.config import Config
from atlas.environments.base import ExpertTurn, StepResult
from atlas.environments.episode import Episode, start_episode
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Annotation, Message, Source, Task, ToolCall


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


class PushConfig(Config):
    max_steps: int = Field(default=6, ge=1, description="turns after which an episode is truncated")
    word: str = Field(default="push", description="what opens the door")


class PushEnvironment:
    """A door that opens after as many pushes as the seed of the task says."""

    Config = PushConfig
    name = "push"
    prompt = (Message(role="system", content="Open the door."),)

    def __init__(self, config: PushConfig) -> None:
        self.config = config
        self.num_turns = self.num_pushes = self.num_needed = 0

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        if split not in ("train", "held_in_test"):
            raise ConfigError(f"push: split '{split}' is not known. Known: train, held_in_test.")
        return [
            Task(id=f"push/{number}", environment="push", split=split, seed=number % 4 + 1)
            for number in range(num_tasks)
        ]

    def reset(self, task: Task) -> tuple[Message, ...]:
        assert task.seed is not None
        self.num_turns, self.num_pushes, self.num_needed = 0, 0, task.seed
        return user("You see a door.")

    def step(self, response: Message) -> StepResult:
        if response.content == "crash":
            raise EpisodeError("the floor gave way")
        is_push = response.content == self.config.word
        return self._turn(is_push, response.content, user)

    def _turn(self, is_push: bool, action: str | None, observe: Any) -> StepResult:
        self.num_turns += 1
        self.num_pushes += is_push
        is_open = self.num_pushes == self.num_needed
        return StepResult(
            observation=observe(f"You pushed {self.num_pushes} times."),
            reward=float(is_open),
            terminated=is_open,
            truncated=not is_open and self.num_turns >= self.config.max_steps,
            success=is_open,
            score=float(is_open),
            action=action,
            is_invalid=not is_push and action != "wait",
        )

    def expert(self, seed: int) -> Pusher:
        return Pusher(assistant(self.config.word))

    def close(self) -> None:
        pass


class Pusher:
    """Pushes until the door opens."""

    def __init__(self, response: Message) -> None:
        self.response = response

    def respond(self) -> ExpertTurn:
        return ExpertTurn(self.response, Annotation(kinds=("critical_action",), score=1.0))


class ToolPushConfig(PushConfig):
    strength: int = Field(default=1, ge=1, description="the least `force` that moves the door")


class ToolPushEnvironment(PushEnvironment):
    """The same door, pushed by calls of the tool `push`."""

    Config = ToolPushConfig
    name = "tool-push"
    in_process = True
    tools: tuple[dict[str, Any], ...] = (
        {
            "type": "function",
            "function": {
                "name": "push",
                "description": "Push the door.",
                "parameters": {
                    "type": "object",
                    "properties": {"force": {"type": "integer"}},
                    "required": ["force"],
                },
            },
        },
    )

    def step(self, response: Message) -> StepResult:
        if not response.tool_calls:
            return self._turn(False, None, user)
        call = response.tool_calls[0]

        def observe(text: str) -> tuple[Message, ...]:
            return (Message(role="tool", content=text, tool_call_id=call.id, name=call.name),)

        assert isinstance(self.config, ToolPushConfig)
        try:
            force = json.loads(call.arguments)["force"]
            is_push = call.name == "push" and int(force) >= self.config.strength
        except (ValueError, KeyError, TypeError):
            is_push = False
        return self._turn(is_push, f"{call.name}({call.arguments})", observe)

    def expert(self, seed: int) -> Pusher:
        assert isinstance(self.config, ToolPushConfig)
        call = ToolCall(id="1", name="push", arguments=json.dumps({"force": self.config.strength}))
        return Pusher(Message(role="assistant", tool_calls=(call,)))


def make_push(**settings: Any) -> PushEnvironment:
    return PushEnvironment(PushConfig(**settings))


def pushed(num_steps: int, task: Task, prompt: tuple[Message, ...] | None = None) -> Episode:
    """An episode after `num_steps` pushes."""
    responses = [assistant("push")] * num_steps
    return start_episode(make_push(), task, Source(name="test"), prompt, responses)
