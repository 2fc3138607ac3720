"""SWE-agent's `.traj` and mini-SWE-agent's `.traj.json`: one document, one run on one issue.

SWE-agent writes `history` (the conversation) beside `trajectory` (the executed steps). The history
is read if there is one, otherwise the trajectory. Demonstrations belong to the prompt.
mini-SWE-agent writes `messages`. The files do not say whether the issue was solved, so the outcome
is "unknown", unless the exit status is an error or a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from atlas.records import Message, Outcome, Task, Trajectory
from atlas.trajectories.formats.agent_logs import build_trajectory, call_fields, texts_of
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import is_mini_swe_agent
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, decode_nested, read_message
from atlas.trajectories.formats.rows import BadRowError, SourceRow

LIMITS = (
    "exit_cost",
    "exit_context",
    "exit_total_execution_time",
    "exit_command_timeout",
    "exit_format",
    "limitsexceeded",
    "timeexceeded",
    "repeatedformaterror",
)
ENDS = ("submitted", "exit_forfeit", "exit_command", "early_exit", "userinterruption")
DETAILS = ("exit_status", "submission", "model_stats", "mini_version", "swe_agent_version")


# A turn, and the action in it that was executed.
TurnAndAction = tuple[Turn, str | None]


class SWEAgentFormat(RowFormat):
    """Reads the trajectories of SWE-agent and of mini-SWE-agent."""

    # The trajectory is a copy of the history, beside what the harness measured.
    metadata = (
        "*.message_type",
        "*.agent",
        "*.is_demo",
        "trajectory.state",
        "trajectory.execution_time",
        "trajectory.action",
        "trajectory.thought",
        "trajectory.query",
        "info",
        "replay_config",
    )

    def matches(self, row: Any) -> bool:
        if is_mini_swe_agent(row):
            return True
        match row:
            case {"history": [dict(first), *_]}:
                return "role" in first and bool({"message_type", "agent"} & first.keys())
            case {"trajectory": [{"action": _, "response": _}, *_]}:
                return True
        return False

    def convert(self, row: SourceRow) -> Trajectory:
        document = row.value
        if not isinstance(document, dict):
            reason = "not a run, expected an object with 'history', 'trajectory' or 'messages'"
            raise BadRowError(reason)
        info = object_or_empty(document.get("info"))
        key = "messages" if is_mini_swe_agent(document) else "history"
        if given := list_of_objects(document.get(key), "the history"):
            found, start = _history(given)
        else:
            found, start = _executed(list_of_objects(document.get("trajectory"), "trajectory"))
        details = {key: info[key] for key in DETAILS if info.get(key)}
        trajectory = build_trajectory(
            [turn for turn, _ in found],
            start,
            task=Task(id=_task_id(document, row.file), environment="swe"),
            digest=row.content_hash,
            outcome=_outcome(text_or_none(info.get("exit_status"))),
            source=row.source(
                "swe_agent", details | texts_of(document, ("environment", "trajectory_format"))
            ),
            tools=read_tools(document.get("tools")) or (),
        )
        actions = [action for turn, action in found[start:] if turn.message.role == "assistant"]
        steps = tuple(
            step if action is None else step.model_copy(update={"action": action})
            for step, action in zip(trajectory.steps, actions, strict=True)
        )
        last = trajectory.final_observation or _last_observation(document)
        return trajectory.model_copy(update={"steps": steps, "final_observation": last})


def _history(given: Sequence[Mapping[str, Any]]) -> tuple[list[TurnAndAction], int]:
    """The turns of a history, and how many are prompt: system messages, demonstrations."""
    found: list[TurnAndAction] = []
    start = 0
    for index, message in enumerate(given):
        found += _message(message, index)
        opens = start == len(found) - 1 and found[-1][0].message.role == "system"
        if message.get("is_demo") or opens:
            start = len(found)
    return found, start


def _message(given: Mapping[str, Any], index: int) -> list[TurnAndAction]:
    fields = dict(given)
    if given.get("object") == "response":
        fields = _of_response(given, index)
    elif given.get("type") == "function_call_output":
        result, id_ = given.get("output"), given.get("call_id")
        fields = {"role": "tool", "content": result, "tool_call_id": id_}
    if given.get("role") == "exit":
        # The last message of mini-SWE-agent says why it stopped.
        fields["role"] = "user"
    ids = given.get("tool_call_ids")
    if isinstance(ids, list) and ids:
        fields["tool_call_id"] = ids[0]
    thoughts = list_of_objects(given.get("thinking_blocks"), "thinking_blocks", index)
    if thoughts and given.get("reasoning_content") is None:
        fields["reasoning_content"] = _joined(thoughts, "thinking")
    return [(turn, _action(given)) for turn in read_message(fields, index)]


def _of_response(given: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The fields of a chat message from an answer of OpenAI's Responses API.

    mini-SWE-agent keeps such answers as they came.
    """
    said: list[Any] = []
    calls: list[Any] = []
    thoughts: list[Mapping[str, Any]] = []
    for item in list_of_objects(given.get("output"), "output", index):
        match item.get("type"):
            case "message":
                said += list_of_objects(item.get("content"), "content", index)
            case "function_call":
                calls.append(call_fields(item, "call_id", "name"))
            case "reasoning":
                thoughts += list_of_objects(item.get("summary"), "summary", index)
    return {
        "role": "assistant",
        "content": said,
        "reasoning_content": _joined(thoughts, "text"),
        "tool_calls": calls,
    }


def _joined(parts: Sequence[Mapping[str, Any]], key: str) -> str | None:
    texts = (part.get(key) for part in parts)
    return "".join(text for text in texts if isinstance(text, str)) or None


def _executed(steps: Sequence[Mapping[str, Any]]) -> tuple[list[TurnAndAction], int]:
    """The turns of a run without history.

    The observation of a step is the end of its `query`, or else the previous observation.
    """
    found: list[TurnAndAction] = []
    start = 0
    seen: list[TurnAndAction] = []
    for index, step in enumerate(steps):
        query = list_of_objects(step.get("query"), "query", index)
        shown, num_prompt = _history([message for message in query if message])
        roles = [turn.message.role for turn, _ in shown]
        num_answered = max(
            (at + 1 for at, role in enumerate(roles) if role == "assistant"), default=0
        )
        if not found:
            start = max(num_prompt, num_answered)
            found = shown
        else:
            found += shown[num_answered:] if num_answered else seen
        response, observation = step.get("response"), step.get("observation")
        if not isinstance(response, str):
            raise BadRowError(f"response is {response!r:.60}, expected a text", index)
        found.append((Turn(Message(role="assistant", content=response)), _action(step)))
        seen = []
        if isinstance(observation, str):
            seen = [(Turn(Message(role="user", content=observation)), None)]
    return found + seen, start


def _action(given: Mapping[str, Any]) -> str | None:
    """The executed action: SWE-agent's `action`, or the only command of mini-SWE-agent."""
    match given:
        case {"action": str(action)} | {"extra": {"actions": [{"command": str(action)}]}}:
            return action
    return None


def _last_observation(document: Mapping[str, Any]) -> tuple[Message, ...]:
    """The answer to the last action, which older versions write only in `trajectory`."""
    match document:
        case {"trajectory": [*_, {"observation": str(text)}]} if text:
            return (Message(role="user", content=text),)
    return ()


def _outcome(given: str | None) -> Outcome:
    if given is None:
        return Outcome(status="unknown", reason="the file has no exit status")
    # "submitted (exit_cost)": the harness submitted what there was, for the reason in brackets.
    status = given.lower().removeprefix("submitted (").removesuffix(")").strip()
    if status in LIMITS:
        return Outcome(status="truncated", reason=given)
    if status not in ENDS:
        return Outcome(status="error", reason=given)
    reason = f"exit status '{given}'; the file does not say whether the issue is solved"
    return Outcome(status="unknown", reason=reason)


def _task_id(document: Mapping[str, Any], file: str) -> str:
    replay = object_or_empty(decode_nested(document.get("replay_config")))
    for owner in (document, object_or_empty(replay.get("problem_statement"))):
        if ids := texts_of(owner, ("instance_id", "id")):
            return next(iter(ids.values()))
    name = PurePath(file).name
    return name.split(".traj")[0] or name
