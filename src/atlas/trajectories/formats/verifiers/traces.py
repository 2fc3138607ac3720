"""Traces of verifiers 1: `episode -> traces -> branches`, a graph in which nodes are messages.

    {"task": …, "nodes": [{"parent": null, "message": {…}, "sampled": false}, …], "rewards": {…}}

The path from a root to a leaf is a conversation. Where paths share answers of the model, the first
path has them as steps, and the others as a part of their prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.records import Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.conventions import (
    UNKNOWN_ENVIRONMENT,
    details_of_row,
    is_id,
    is_number,
    outcome_of_reward,
)
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rollouts import History
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

LIMITS = (
    "max_turns",
    "max_input_tokens",
    "max_output_tokens",
    "max_total_tokens",
    "context_length",
)
# Each path is a conversation of its own, so a hostile graph grows with the square of its nodes.
MAX_WALKED = 1_000_000
CALLS_AS_TEXT = "a call in tool_calls is {call!r:.60}, expected an object or its JSON text"


def is_traces(row: Any) -> bool:
    """Whether a row is an episode with traces, or a trace."""
    match row:
        case {"traces": [{"nodes": list()}, *_]}:
            return True
        # An episode that broke before its first trace.
        case {"traces": [], "env": dict(), "errors": list()} | {"traces": [], "task": dict()}:
            return True
        case {"nodes": list(), "task": dict(), "rewards": dict()}:
            return True
    return False


def read_traces(row: SourceRow, threshold: float) -> Iterator[Reading]:
    """Every branch of every trace in a row.

    Raises:
        BadRowError: a trace is not what it should be, or there is none.
    """
    episode = row.value
    traces = [episode] if "nodes" in episode else list_of_objects(episode["traces"], "traces")
    if not traces:
        raise BadRowError(f"the episode has no traces{_ending(_errors(episode))}")
    num_yielded = 0
    for trace in traces:
        for branch, history in enumerate(_branches(trace)):
            place = {"branch": branch} if branch else {}
            yield _trajectory(row, episode, trace, history, threshold, num_yielded, place)
            num_yielded += 1
    if not num_yielded:
        raise BadRowError(f"no trace holds an answer of the model{_ending(_errors(traces[0]))}")


def with_decoded_calls(message: Any, index: int) -> Any:
    """A message whose calls are objects; verifiers and tables write them as JSON texts."""
    if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), list):
        return message
    calls = [_decoded_call(call, index) for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _decoded_call(call: Any, index: int) -> dict[str, Any]:
    decoded = call
    if isinstance(call, str):
        try:
            decoded = json.loads(call)
        except (ValueError, RecursionError):
            decoded = None
    if not isinstance(decoded, dict):
        raise BadRowError(CALLS_AS_TEXT.format(call=call), index)
    return decoded


def _branches(trace: Mapping[str, Any]) -> Iterator[History]:
    """The paths on which the model wrote something that no earlier path has, in order."""
    nodes = list_of_objects(trace.get("nodes"), "nodes")
    turns = [_turns(node, index) for index, node in enumerate(nodes)]
    parents = [_parent(node, index) for index, node in enumerate(nodes)]
    inner = set(parents)
    taken: set[int] = set()
    num_walked = 0
    for leaf in range(len(nodes)):
        if leaf in inner:
            continue
        path: list[int] = []
        place: int | None = leaf
        while place is not None:
            path.append(place)
            place = parents[place]
        num_walked += len(path)
        if num_walked > MAX_WALKED:
            raise BadRowError(f"the paths of the trace have more than {MAX_WALKED:,} messages")
        history = History()
        for index in reversed(path):
            is_made = nodes[index].get("sampled") is True and index not in taken
            history.add(turns[index], are_made=is_made, call=index)
        taken.update(path)
        if any(history.is_made):
            yield history


def _parent(node: Mapping[str, Any], index: int) -> int | None:
    parent = node.get("parent")
    if parent is None:
        return None
    # A predecessor stands before its node, so that a path ends.
    if type(parent) is not int or not 0 <= parent < index:
        raise BadRowError(
            f"parent is {parent!r:.60}, expected the number of an earlier node", index
        )
    return parent


def _turns(node: Mapping[str, Any], index: int) -> Sequence[Turn]:
    return [*read_message(with_decoded_calls(node.get("message"), index), index)]


def _trajectory(
    row: SourceRow,
    episode: Mapping[str, Any],
    trace: Mapping[str, Any],
    history: History,
    threshold: float,
    number: int,
    place: Mapping[str, Any],
) -> Reading:
    turns, start = history.parts()
    tools = read_tools(trace.get("tools"))
    if tools is None:
        raise BadRowError(f"tools are {trace['tools']!r:.60}, expected a list of tool schemas")
    agent = object_or_empty(trace.get("agent"))
    details: dict[str, Any] = {**place, "success_at": threshold}
    for key in ("name", "trainable"):
        if isinstance(agent.get(key), str | bool):
            details[f"agent_{key}"] = agent[key]
    if model := _model(trace, agent):
        details["model"] = model
    details |= details_of_row(trace, ("id", "version", "task"))
    for key in ("metrics", "info"):
        if known := details_of_row(object_or_empty(trace.get(key)), ()):
            details[key] = known
    if rewards := {name: value for name, value in _rewards(trace).items() if value is not None}:
        details["rewards"] = rewards
    cut = {
        node
        for call in _calls(trace)
        if call.get("finish_reason") == "length" and type(node := call.get("node")) is int
    }
    task = object_or_empty(trace.get("task")) or object_or_empty(episode.get("task"))
    data = object_or_empty(task.get("data", task))
    if known := details_of_row(data, ("prompt", "system_prompt")):
        details["task"] = known
    return build_reading(
        turns,
        start,
        task=_task(episode, task, data, row.content_hash),
        digest=f"{row.content_hash}-{number}" if number else row.content_hash,
        outcome=_outcome(trace, threshold),
        source=row.source("verifiers", details),
        tools=tools,
        remarks=history.remarks(start, cut),
    )


def _calls(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model calls that the trace lists beside its nodes."""
    return list_of_objects(trace.get("calls"), "calls")


def _task(
    episode: Mapping[str, Any], task: Mapping[str, Any], data: Mapping[str, Any], digest: str
) -> Task:
    environment = text_or_none(object_or_empty(episode.get("env")).get("id"))
    given = next((data[key] for key in ("name", "idx") if is_id(data.get(key))), None)
    given = task["key"] if given is None and is_id(task.get("key")) else given
    id_ = f"verifiers-{digest}" if given is None else str(given)
    prompt = data.get("prompt")
    return Task(
        id=f"{environment}-{id_}" if environment and given is not None else id_,
        environment=environment or text_or_none(task.get("type")) or UNKNOWN_ENVIRONMENT,
        goal=prompt if isinstance(prompt, str) else None,
    )


def _model(trace: Mapping[str, Any], agent: Mapping[str, Any]) -> str | None:
    named = [model for call in _calls(trace) if (model := text_or_none(call.get("model")))]
    return named[-1] if named else text_or_none(object_or_empty(agent.get("config")).get("model"))


def _rewards(trace: Mapping[str, Any]) -> dict[str, float | None]:
    """Each reward with its weight, None where it was not scored."""
    rewards: dict[str, float | None] = {}
    for name, given in object_or_empty(trace.get("rewards")).items():
        parts = [given]
        if isinstance(given, dict):
            parts = [given.get("score"), given.get("weight", 1.0)]
        if not all(part is None or is_number(part) for part in parts):
            raise BadRowError(f"the reward {name!r:.60} is {given!r:.60}, expected a number")
        value = 1.0
        for part in parts:
            value *= 1.0 if part is None else float(part)
        rewards[name] = None if parts[0] is None else value
    return rewards


def _outcome(trace: Mapping[str, Any], threshold: float) -> Outcome:
    scored = [value for value in _rewards(trace).values() if value is not None]
    reward = sum(scored) if scored else None
    errors = _errors(trace)
    # Since `ok` exists, a trace with errors may have succeeded in a later attempt.
    if errors and trace.get("ok") is not True:
        return Outcome(status="error", score=reward, reason=f"the rollout broke: {errors[-1]}")
    ending = text_or_none(trace.get("stop_condition"))
    answered = [call for call in _calls(trace) if not call.get("error")]
    last = answered[-1].get("finish_reason") if answered else None
    is_cut = ending in LIMITS or last == "length"
    cut_by = ending if ending in LIMITS else None
    return outcome_of_reward(reward, threshold, is_truncated=is_cut, ending=cut_by)


def _errors(owner: Mapping[str, Any]) -> list[str]:
    told = (
        f"{error.get('type')}: {error.get('message')}"[:300]
        for error in list_of_objects(owner.get("errors"), "errors")
    )
    return [*told]


def _ending(errors: Sequence[str]) -> str:
    return f", the rollout broke: {errors[-1]}" if errors else ""
