"""How Inspect plays an episode: the model's answers go to the world, its observations to the model.

The messages of a sample are those of the episode. Success and score are the world's own. An episode
that reaches the world's step limit ends by a limit of Inspect, a world that breaks by an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from anyio import CancelScope
from anyio.to_thread import run_sync
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ModelOutput, get_model
from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    Score,
    Scorer,
    Target,
    accuracy,
    mean,
    scorer,
    stderr,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import LimitExceededError

from atlas.environments.base import Environment
from atlas.environments.checked import take_step
from atlas.environments.episode import Episode, start_episode
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import EpisodeError
from atlas.kinds import Choice
from atlas.models.endpoints.inspect_messages import inspect_message, inspect_tool
from atlas.records import Message, Source, Task, ToolCall

# In the store of a sample: how the episode stands.
EPISODE = "episode"
# What Inspect writes where a model said nothing.
NO_CONTENT = "(no content)"
NAME = "episode"


@solver  # type: ignore[untyped-decorator]
def play_episode(environment: str, settings: dict[str, Any], limits: dict[str, Any]) -> Solver:
    """Play the task of the sample in a separate world.

    Args:
        environment: the name of the environment.
        settings: of the environment.
        limits: time limits of the world.
    """
    choice = Choice(environment, settings)
    world_limits = Limits.model_validate(limits)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        worlds = Worlds.of(choice, 1, world_limits)
        try:
            return await _play(state, worlds)
        finally:
            # A time limit of Inspect cancels the sample, and would cancel this, too.
            with CancelScope(shield=True):
                await run_sync(worlds.close)

    return solve


async def _play(state: TaskState, worlds: Worlds) -> TaskState:
    task = Task.model_validate(state.metadata)
    source = Source(name="inspect")
    episode: Episode = await _do(
        worlds, lambda world: start_episode(world, task, source), is_first=True
    )
    prompt = _inspect_messages(episode.prompt, is_input=True)
    state.messages = [*prompt, *_inspect_messages(episode.observation)]
    tools = [inspect_tool(schema) for schema in episode.tools]
    _note(state, episode)
    while not episode.over:
        output = await get_model().generate(state.messages, tools=tools)
        state.output = output
        if (response := _response(output)) is None:
            break
        state.messages.append(output.message)
        result = await _do(worlds, partial(take_step, response=response))
        episode.add_step(response, result, is_cut=output.stop_reason == "max_tokens")
        # First, because a new message may be one too many for Inspect.
        _note(state, episode)
        state.messages += _inspect_messages(result.observation)
    state.completed = True
    _refuse_unfinished(episode, state.output)
    return state


async def _do(worlds: Worlds, job: Callable[[Environment], Any], *, is_first: bool = False) -> Any:
    """The result of a job in the world, in a thread."""

    def run() -> Any:
        worlds.begin(NAME, job) if is_first else worlds.run(NAME, job)
        [(_, result)] = worlds.results(None)
        return result

    result = await run_sync(run)
    if isinstance(result, Exception):
        raise result
    return result


def _refuse_unfinished(episode: Episode, output: ModelOutput) -> None:
    """End a sample whose episode did not come to its own end.

    Raises:
        LimitExceededError: the episode was truncated.
        EpisodeError: its world broke, or the model refused to answer.
    """
    num_steps = len(episode.steps)
    if episode.outcome is None:
        if output.stop_reason != "model_length":
            raise EpisodeError(f"the model gave no answer: {output.stop_reason}")
        episode.truncate("no room left to answer")
    assert episode.outcome is not None
    if episode.outcome.status == "error":
        raise EpisodeError(episode.outcome.reason or "the world broke")
    if episode.outcome.status == "truncated":
        reason = episode.outcome.reason
        raise LimitExceededError("custom", value=num_steps, limit=num_steps, message=reason)


def _response(output: ModelOutput) -> Message | None:
    """The model's answer as the world takes it; None without an answer."""
    if not output.choices or output.stop_reason in ("model_length", "content_filter"):
        return None
    calls = tuple(
        ToolCall(
            id=call.id,
            name=call.function,
            # What Inspect could not read as arguments, the world cannot read, either.
            arguments=call.parse_error or json.dumps(call.arguments),
        )
        for call in output.message.tool_calls or ()
    )
    text = "" if output.completion == NO_CONTENT else output.completion
    return Message(role="assistant", content=text, tool_calls=calls)


def _inspect_messages(messages: Sequence[Message], *, is_input: bool = False) -> list[ChatMessage]:
    found = [inspect_message(message) for message in messages]
    for message in found:
        if is_input and isinstance(message, ChatMessageAssistant):
            # So that it is not taken for an answer of the model.
            message.source = "input"
    return found


def _note(state: TaskState, episode: Episode) -> None:
    """Keep how the episode stands: the scorers also run after a limit of Inspect."""
    outcome = episode.outcome
    told = {
        "success": outcome is not None and outcome.status == "success",
        "score": (outcome.score or 0.0) if outcome is not None else 0.0,
        "status": outcome.status if outcome is not None else "unfinished",
        "num_steps": len(episode.steps),
        "num_invalid_steps": sum(bool(step.is_invalid) for step in episode.steps),
        "actions": [step.action for step in episode.steps],
    }
    state.store.set(EPISODE, told)


@scorer(metrics=[accuracy(), stderr()])  # type: ignore[untyped-decorator]
def success() -> Scorer:
    """Whether the world considers the task solved."""

    async def score(state: TaskState, target: Target) -> Score:
        told = state.store.get(EPISODE, {})
        value = CORRECT if told.get("success") else INCORRECT
        return Score(value=value, explanation=told.get("status"), metadata=told)

    return score


@scorer(metrics=[mean(), stderr()])  # type: ignore[untyped-decorator]
def score() -> Scorer:
    """The world's own score, from 0 to 1."""

    async def read(state: TaskState, target: Target) -> Score:
        return Score(value=float(state.store.get(EPISODE, {}).get("score", 0.0)))

    return read
