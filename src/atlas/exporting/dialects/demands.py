"""What trainers and services refuse or leave out although a row holds it.

Each dialect lists its own demands. `atlas export` counts the trajectories that do not meet them
(`note:`). The rows are written all the same: the data may be right, and another trainer takes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from atlas.exporting.dialects.base import Change
from atlas.records import Message, Selection, ToolCall, Trajectory
from atlas.rendering.openai_messages import decode_arguments


def calls_and_results(
    messages: Sequence[Message],
) -> Iterator[tuple[Sequence[ToolCall], Sequence[Message]]]:
    """The calls of each assistant turn with the results right after it.

    Results that follow no turn of the assistant come with no calls. The calls of the last message
    are left out: nothing can have answered them.
    """
    calls: Sequence[ToolCall] = ()
    results: list[Message] = []
    for message in messages:
        if message.role == "tool":
            results.append(message)
            continue
        yield calls, results
        calls = message.tool_calls
        results = []


def _lacks_results(trajectory: Trajectory, _: Selection) -> bool:
    return any(
        not {call.id for call in calls} <= {result.tool_call_id for result in results}
        or len(results) < len(calls)
        for calls, results in calls_and_results(trajectory.messages)
    )


def _has_orphans(trajectory: Trajectory, _: Selection) -> bool:
    return any(
        not {result.tool_call_id for result in results} <= {call.id for call in calls}
        or len(results) > len(calls)
        for calls, results in calls_and_results(trajectory.messages)
    )


def _calls(trajectory: Trajectory) -> Iterator[ToolCall]:
    return (call for message in trajectory.messages for call in message.tool_calls)


def _repeats_ids(trajectory: Trajectory, _: Selection) -> bool:
    ids = Counter(call.id for call in _calls(trajectory) if call.id is not None)
    return any(number > 1 for number in ids.values())


def _has_empty_steps(trajectory: Trajectory, selection: Selection) -> bool:
    responses = (trajectory.steps[index].response for index in selection.indices)
    return any(not (one.content.strip() or one.tool_calls) for one in responses)


def _is_broken(call: ToolCall) -> bool:
    try:
        return not isinstance(decode_arguments(call.arguments), dict)
    except RecursionError:
        return True


def _has_user_after_result(trajectory: Trajectory, _: Selection) -> bool:
    roles = [message.role for message in trajectory.messages]
    return any(pair in (("tool", "user"), ("user", "tool")) for pair in pairwise(roles))


MISSING_RESULTS = Change(
    "against OpenAI's rules for messages: calls that are not followed by a result each",
    _lacks_results,
    name="missing_results",
)
ORPHAN_RESULTS = Change(
    "against OpenAI's rules for messages: results that answer no call of the turn before them",
    _has_orphans,
    name="orphan_results",
)
REPEATED_IDS = Change(
    "against OpenAI's rules for messages: an id that names several calls",
    _repeats_ids,
    name="repeated_ids",
)
CALLS_WITHOUT_ID = Change(
    "against OpenAI's rules for messages: calls without an id",
    lambda trajectory, _: any(call.id is None for call in _calls(trajectory)),
    name="calls_without_id",
)
EMPTY_STEPS = Change(
    "axolotl finds no tokens of a critical step without words and calls, and trains none",
    _has_empty_steps,
    name="empty_steps",
)
BROKEN_ARGUMENTS = Change(
    "axolotl stops at call arguments that are not JSON; templates expect an object",
    lambda trajectory, _: any(map(_is_broken, _calls(trajectory))),
    name="broken_arguments",
)
USER_AFTER_RESULT = Change(
    "ms-swift drops rows in which a user turn and a tool result are neighbors",
    _has_user_after_result,
    name="user_after_result",
)
SYSTEM_IN_BETWEEN = Change(
    "ms-swift drops rows with a system message after the first message",
    lambda trajectory, _: any(message.role == "system" for message in trajectory.messages[1:]),
    name="system_in_between",
)
