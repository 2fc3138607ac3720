"""Turns -> the prompt, the steps and the final observation.

Every assistant turn after the prompt is a step. The messages between two assistant turns are the
observation of the second one, with tool results in the order of the calls. A training flag of the
source becomes an annotation of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from atlas.records import CUT_STEPS, Annotation, Message, Step, ToolCall
from atlas.trajectories.call_results import pair_results
from atlas.trajectories.formats.calls import decode_nested, has_content
from atlas.trajectories.formats.conventions import is_acknowledgement
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.training_flags import NOT_THE_AGENTS, flag_remarks
from atlas.trajectories.react_turns import Remark, parse_action

OUTCOME_KEYS = ("success", "reward")
# Validating many at once takes half the time.
_steps = TypeAdapter(tuple[Step, ...]).validate_python


@dataclass(frozen=True, slots=True)
class Conversation:
    """The three parts of a trajectory that its messages make up.

    Attributes:
        remarks: what is known to be left out, with the step it belongs to.
        cut_steps: steps whose response reached the limit of tokens.
    """

    prompt: tuple[Message, ...]
    steps: tuple[Step, ...]
    final_observation: tuple[Message, ...]
    remarks: tuple[Remark, ...] = ()
    cut_steps: tuple[int, ...] = ()

    def add_cut_steps(self, details: dict[str, Any]) -> dict[str, Any]:
        """The details of a source, with the steps that were cut."""
        return {**details, CUT_STEPS: [*self.cut_steps]} if self.cut_steps else details


def split_conversation(turns: Sequence[Turn], prompt_length: int) -> Conversation:
    """Cut a conversation into steps after its first `prompt_length` turns.

    Raises:
        BadRowError: no assistant turn follows the prompt.
    """
    steps: list[dict[str, Any]] = []
    flags: list[float | None] = []
    observation: list[Message] = []
    calls: tuple[ToolCall, ...] = ()
    remarks: list[Remark] = []
    cut_steps: list[int] = []
    for turn in turns[prompt_length:]:
        message, is_trained = turn.message, turn.is_trained
        if turn.remarks:
            remarks += ((len(steps), remark) for remark in turn.remarks)
        if turn.is_cut:
            cut_steps.append(len(steps))
        if message.role != "assistant":
            observation.append(message)
            continue
        seen = in_call_order(observation, calls) if len(calls) > 1 else observation
        steps.append(
            {"observation": seen, "response": message, "action": parse_action(message.content)}
        )
        flags.append(is_trained)
        observation, calls = [], message.tool_calls
    trains_others = any(turn.is_trained and turn.message.role != "assistant" for turn in turns)
    if not steps:
        raise BadRowError("no assistant message besides the prompt, so no step")
    return Conversation(
        prompt=tuple(turn.message for turn in turns[:prompt_length]),
        steps=_steps(_annotated(steps, flags)),
        final_observation=in_call_order(observation, calls),
        remarks=(
            *((min(index, len(steps) - 1), remark) for index, remark in remarks),
            *flag_remarks(flags),
            *(((-1, NOT_THE_AGENTS),) if trains_others else ()),
        ),
        cut_steps=tuple(cut_steps),
    )


def prompt_length(turns: Sequence[Turn]) -> int:
    """System messages, or everything up to the agent's acknowledgement of the instructions."""
    num_system = num_leading_system(turns)
    for index, turn in enumerate(turns[num_system:-1], start=num_system):
        if turn.message.role == "assistant":
            acknowledges = turns[index + 1].message.role == "user" and _acknowledges(turn)
            return index + 1 if acknowledges else num_system
    return num_system


def num_leading_system(turns: Sequence[Turn]) -> int:
    """The number of system messages at the start."""
    for index, turn in enumerate(turns):
        if turn.message.role != "system":
            return index
    return len(turns)


def with_system(turns: Sequence[Turn], given: Any) -> Sequence[Turn]:
    """The turns after the system prompt in a field of the row, unless they open with one.

    Raises:
        BadRowError: the field holds something else than a text or parts.
    """
    if not has_content(given) or (turns and turns[0].message.role == "system"):
        return turns
    if not isinstance(given, str | list | dict):
        return turns
    if isinstance(given, dict) and "content" in given:
        given = given["content"]
    return [*read_message({"role": "system", "content": given}, 0), *turns]


def with_default_flags(turns: Sequence[Turn], is_trained: bool) -> list[Turn]:
    """The turns, with `is_trained` where a turn of the assistant has no flag."""
    return [
        turn._replace(is_trained=is_trained)
        if turn.is_trained is None and (not is_trained or turn.message.role == "assistant")
        else turn
        for turn in turns
    ]


def read_tools(value: Any) -> tuple[dict[str, Any], ...] | None:
    """Tool schemas as they came; None for anything else.

    From a list of objects or JSON texts, one object, an object that holds the list, an object of
    schemas by name, or the JSON text of one of these. A tool of which only the name is known is
    `{"name": …}`.
    """
    tools = decode_nested(value) if has_content(value) else []
    if isinstance(tools, dict):
        tools = _tools_of_object(tools)
    if not isinstance(tools, list):
        return None
    tools = [decode_nested(tool) for tool in tools]
    if all(isinstance(tool, str) for tool in tools):
        tools = [{"name": tool} for tool in tools]
    if not all(isinstance(tool, dict) for tool in tools):
        return None
    return tuple(tools)


def in_call_order(observation: Sequence[Message], calls: Sequence[ToolCall]) -> tuple[Message, ...]:
    """The messages, with the answers to the last step's calls in the order of the calls.

    All other messages keep their places.
    """
    if len(calls) < 2:
        return tuple(observation)
    results = [index for index, message in enumerate(observation) if message.role == "tool"]
    found = [(observation[at].tool_call_id, observation[at].name) for at in results]
    pairs = pair_results(found, [(call.id, call.name) for call in calls])
    places = [at for at, place in zip(results, pairs, strict=True) if place is not None]
    ranks = [place for place in pairs if place is not None]
    ordered = list(observation)
    for at, (_, source) in zip(places, sorted(zip(ranks, places, strict=True)), strict=True):
        ordered[at] = observation[source]
    return tuple(ordered)


def _annotated(
    steps: Sequence[dict[str, Any]], flags: Sequence[float | None]
) -> Sequence[dict[str, Any]]:
    """Flags become annotations if one leaves something of a step out, or if each step has one.

    A step without a flag counts as trained.
    """
    if None in flags and all(flag is None or flag >= 1 for flag in flags):
        return steps
    return [
        {**step, "annotation": Annotation(score=1.0 if flag is None else flag)}
        for step, flag in zip(steps, flags, strict=True)
    ]


def _tools_of_object(tools: dict[str, Any]) -> list[Any]:
    """The list in an object, the schemas that it holds by name, or the one that it is."""
    if isinstance(tools.get("tools"), list):
        return list(tools["tools"])
    [first, *others] = tools.values() or [None]
    if isinstance(first, list) and not others:
        return first
    if "function" in tools or not all(isinstance(tool, dict) for tool in (first, *others)):
        return [tools]
    return [tool if "name" in tool else {"name": name, **tool} for name, tool in tools.items()]


def _acknowledges(turn: Turn) -> bool:
    """Whether the turn is a canned acknowledgement; one that is trained is a step."""
    message = turn.message
    return (
        not turn.is_trained
        and not message.tool_calls
        and not message.reasoning
        and is_acknowledgement(message.content)
    )
