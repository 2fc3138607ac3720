"""A world on an OpenEnv server (protocol of openenv 0.10), by text or by tools.

The protocol has one flag `done`. An episode that is done has terminated; only `max_steps`
truncates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from atlas.environments.base import StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.openenv.answers import Seen, read_seen, read_tools
from atlas.environments.openenv.config import OpenEnvConfig
from atlas.environments.openenv.connection import Connection, RefusedError
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, parse_number, user
from atlas.environments.seed_ranges import seed_tasks
from atlas.errors import ConfigError, EpisodeError
from atlas.extras import require_extras
from atlas.records import Message, Task, ToolCall

# Faults of a request that the settings cause, not the model.
OF_SETTINGS = ("missing", "extra_forbidden")
NO_CALL = "No tool call found. Call one of the tools."


class OpenEnvEnvironment:
    """A world on an OpenEnv server.

    The success rule is `outcome`; by default an episode is a success from a total reward of 1 on.

    Raises:
        DependencyError: websockets is not installed.
    """

    Config = OpenEnvConfig

    def __init__(self, config: OpenEnvConfig) -> None:
        require_extras(config.needed_extras())
        self._config = config
        self.name = config.world
        self._has_tools = config.actions == "tools"
        is_react = config.reply == "react" and not self._has_tools
        self.prompt = load_instruction(
            config.instruction,
            f"Solve the task.{f'{2 * chr(10)}{ANSWER_FORMAT}' if is_react else ''}",
            f"{self.name}/",
        )
        self._connection = Connection(config)
        self._tools: tuple[dict[str, Any], ...] | None = None
        self._num_turns = 0
        self._total = 0.0
        self._last = Seen(observation={})

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """The tools of the server, if they are the actions."""
        if not self._has_tools:
            return ()
        if self._tools is None:
            try:
                self._tools = read_tools(self._connection.ask("step", {"type": "list_tools"}))
            except RefusedError as refusal:
                raise EpisodeError(f"the server lists no tools: {refusal}") from None
        return self._tools

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        tasks = seed_tasks(self.name, self._config.splits, split, num_tasks, seed)
        # A server that is not there is reported before the first episode.
        self._connection.open()
        return tasks

    def notes(self, split: str) -> Sequence[str]:
        """What the protocol does not say."""
        return (
            f"{self.name}: the splits are divided by seed. A server that ignores `seed` plays the "
            "same tasks in all of them.",
        )

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start an episode with the task's seed, and with the arguments of its split."""
        seeds = self._config.splits.get(task.split or "")
        data = {**self._config.reset_fields, **(seeds.kwargs if seeds is not None else {})}
        try:
            seen = read_seen(self._connection.begin({**data, "seed": task.seed}))
        except RefusedError as refusal:
            raise EpisodeError(f"the server refused to reset: {refusal.code}: {refusal}") from None
        except EpisodeError:
            self._connection.drop()
            raise
        if seen.done:
            raise EpisodeError("the server says that the episode is done before its first step")
        self._num_turns, self._total, self._last = 0, 0.0, seen
        return user(seen.text(self._config.observation_key))

    def step(self, response: Message) -> StepResult:
        """Send the action in the response, or its tool calls one after another."""
        self._num_turns += 1
        if self._has_tools:
            return self._call_tools(response)
        text = response.content
        action = parse_action(text) if self._config.reply == "react" else text.strip() or None
        data = None if action is None else self._action(action)
        if data is None:
            hint = NO_ACTION if action is None else f"'{action[:80]}' is not an action here."
            return self._result(user(hint), 0.0, action, is_invalid=True)
        before = self._total
        shown, is_invalid = self._step(data)
        return self._result(user(shown), self._total - before, action, is_invalid=is_invalid)

    def close(self) -> None:
        """End the session with the server."""
        self._connection.close()

    def _call_tools(self, response: Message) -> StepResult:
        if not response.tool_calls:
            return self._result(user(NO_CALL), 0.0, None, is_invalid=True)
        before = self._total
        answers, are_invalid = [], []
        for call in response.tool_calls:
            text, is_invalid = self._call(call)
            are_invalid.append(is_invalid)
            answers.append(
                Message(role="tool", content=text, tool_call_id=call.id, name=call.name or None)
            )
        action = "\n".join(f"{call.name}({call.arguments})" for call in response.tool_calls)
        reward = self._total - before
        return self._result(tuple(answers), reward, action, is_invalid=any(are_invalid))

    def _call(self, call: ToolCall) -> tuple[str, bool]:
        """The text that answers one call, and whether it was invalid."""
        if self._last.done:
            return "The episode is over.", True
        names = [tool["function"]["name"] for tool in self.tools]
        if call.name not in names:
            return f"No tool is called '{call.name[:80]}'. Tools: {', '.join(names)}.", True
        arguments = _json_object(call.arguments)
        if arguments is None:
            return f"The arguments of {call.name} are not a JSON object.", True
        data = {"type": "call_tool", "tool_name": call.name, "arguments": arguments}
        return self._step(data)

    def _step(self, data: dict[str, Any]) -> tuple[str, bool]:
        """What the agent sees after an action, and whether the server refused it."""
        try:
            seen = read_seen(self._connection.ask("step", data))
        except RefusedError as refusal:
            return self._refused(refusal, data), True
        except EpisodeError:
            self._connection.drop()
            raise
        self._last = seen
        self._total += seen.reward or 0.0
        if self._has_tools:
            return seen.result
        try:
            text = seen.text(self._config.observation_key)
        except ConfigError as error:
            # The first observation had this part.
            raise EpisodeError(str(error)) from None
        refused = self._config.invalid_pattern
        return text, refused is not None and refused.search(text) is not None

    def _refused(self, refusal: RefusedError, data: dict[str, Any]) -> str:
        """What the agent sees after an action that is not valid.

        Raises:
            ConfigError: the settings name other fields than the server's action has.
            EpisodeError: the world itself failed.
        """
        if refusal.code != "VALIDATION_ERROR":
            raise EpisodeError(f"the world failed in a step: {refusal.code}: {refusal}")
        wrong = [one for one in refusal.faults if one.get("type") in OF_SETTINGS]
        if wrong and self._config.actions not in ("json", "tools"):
            faults = "; ".join(f"{one.get('loc')}: {one.get('msg')}" for one in wrong)
            raise ConfigError(
                f"the OpenEnv server takes other actions than {json.dumps(data)[:120]} "
                f"({faults[:200]}). Set action_field and action_fields."
            )
        return f"That action is not valid: {refusal}"

    def _action(self, text: str) -> dict[str, Any] | None:
        """The server's action for a text; None if the text is none."""
        fields = self._config.action_fields
        match self._config.actions:
            case "json":
                found = _json_object(text)
                # The model does not change what is the same at each step.
                return None if found is None else {**found, **fields}
            case "number":
                number = parse_number(text)
                return None if number is None else {**fields, self._config.action_field: number}
        return {**fields, self._config.action_field: text}

    def _result(
        self,
        observation: tuple[Message, ...],
        reward: float,
        action: str | None,
        *,
        is_invalid: bool,
    ) -> StepResult:
        done = self._last.done
        success, score = self._config.outcome.judge(
            self._total, self._last.details, is_terminated=done, is_over=done
        )
        return StepResult(
            observation=observation,
            reward=reward,
            terminated=done,
            truncated=not done and self._num_turns >= self._config.max_steps,
            success=success,
            score=score,
            action=action,
            is_invalid=is_invalid,
        )


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text or "{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_constant(name: str) -> None:
    """NaN and Infinity, which Python reads and other servers do not.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is not JSON")
