"""Tool calls and their results: `trajectory -> which message answers which call`.

A result stands in the observation after its call. It is paired by the id of the call; without an
id, by the name of the tool; without either, by its order. Ids may come twice in a trajectory (some
agents reuse them), so the newest call without a result is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atlas.records import Message, ToolCall, Trajectory

# Calls that wait for a result; older ones are taken as unanswered.
MOST_OPEN = 256


@dataclass(frozen=True, order=True, slots=True)
class CallPlace:
    """The step of a call, and its number among the calls of the step."""

    step: int
    number: int


@dataclass(frozen=True, order=True, slots=True)
class ResultPlace:
    """The step whose observation holds a result, and its number among the messages there.

    The final observation counts as that of one more step.
    """

    step: int
    number: int


@dataclass(frozen=True, slots=True)
class PairedCalls:
    """The result of each call and the call of each result, as far as they were found."""

    results: dict[CallPlace, ResultPlace] = field(default_factory=dict)
    calls: dict[ResultPlace, CallPlace] = field(default_factory=dict)


def pair_calls(trajectory: Trajectory) -> PairedCalls:
    """Pair every result with its call."""
    pairs = PairedCalls()
    open_calls: list[tuple[CallPlace, ToolCall]] = []
    observations = [step.observation for step in trajectory.steps]
    for index, messages in enumerate([*observations, trajectory.final_observation]):
        for number, message in enumerate(messages):
            if message.role != "tool":
                continue
            found = _find(message, open_calls, index - 1)
            if found is not None:
                open_calls.remove(found)
                result = ResultPlace(index, number)
                pairs.results[found[0]] = result
                pairs.calls[result] = found[0]
        if index < len(trajectory.steps):
            calls = trajectory.steps[index].response.tool_calls
            open_calls += [(CallPlace(index, place), call) for place, call in enumerate(calls)]
            del open_calls[:-MOST_OPEN]
    return pairs


def _find(
    message: Message, open_calls: list[tuple[CallPlace, ToolCall]], last_step: int
) -> tuple[CallPlace, ToolCall] | None:
    by_id = [each for each in open_calls if each[1].id == message.tool_call_id is not None]
    if by_id:
        newest = max(place.step for place, _ in by_id)
        return next(each for each in by_id if each[0].step == newest)
    recent = [
        each
        for each in open_calls
        if each[0].step == last_step and (each[1].id is None or message.tool_call_id is None)
    ]
    if message.name is not None:
        recent = [each for each in recent if each[1].name == message.name]
    return recent[0] if recent else None
