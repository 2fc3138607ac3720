"""SWE-agent's `.traj` and mini-SWE-agent's `.traj.json`: one document, one run on one issue.

SWE-agent writes `history` (the conversation) beside `trajectory` (the executed steps). The history
is read, or the trajectory where there is no history. Its demonstrations are prompt. mini-SWE-agent
writes `messages`. Neither knows whether the issue was solved: a run is "unknown" unless its exit
status names an error or a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from atlas.records import Message, Outcome, Step, Task, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import is_mini_swe_agent
from atlas.trajectories.formats.conversations import read_tools, split_conversation
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


class SWEAgentFormat(RowFormat):
    """Reads the trajectories of SWE-agent and of mini-SWE-agent."""

    def matches(self, row: Any) -> bool:
        if not isinstance(row, dict):
            return False
        if is_mini_swe_agent(row):
            return True
        history = row.get("history")
        if isinstance(history, list) and history and isinstance(history[0], dict):
            return "role" in history[0] and bool({"message_type", "agent"} & history[0].keys())
        executed = row.get("trajectory")
        return (
            isinstance(executed, list)
            and bool(executed)
            and isinstance(executed[0], dict)
            and {"action", "response"} <= executed[0].keys()
        )

    def convert(self, row: SourceRow) -> Trajectory:
        return _trajectory(row)


def _trajectory(row: SourceRow) -> Trajectory:
    document = row.value
    if not isinstance(document, dict):
        raise BadRowError(
            "not a run, expected an object with 'history', 'trajectory' or 'messages'"
        )
    info = object_or_empty(document.get("info"))
    given = list_of_objects(
        document.get("messages" if is_mini_swe_agent(document) else "history"), "the history"
    )
    found, start = (
        _history(given)
        if given
        else _executed(list_of_objects(document.get("trajectory"), "trajectory"))
    )
    conversation = split_conversation([turn for turn, _ in found], start)
    actions = [action for turn, action in found[start:] if turn.message.role == "assistant"]
    task = Task(id=_task_id(document, row.file), environment="swe")
    return Trajectory(
        id=f"{task.id}-{row.content_hash}",
        task=task,
        prompt=conversation.prompt,
        tools=read_tools(document.get("tools")) or (),
        steps=tuple(
            _with_action(step, action)
            for step, action in zip(conversation.steps, actions, strict=True)
        ),
        final_observation=conversation.final_observation or _last_observation(document),
        outcome=_outcome(info),
        source=row.source("swe_agent", _details(document, info)),
    )


# A turn, and the action in it that was executed.
TurnAndAction = tuple[Turn, str | None]


def _history(given: Sequence[Mapping[str, Any]]) -> tuple[list[TurnAndAction], int]:
    """The turns of a history, and how many are prompt: system messages, demonstrations."""
    found: list[TurnAndAction] = []
    start = 0
    for index, message in enumerate(given):
        found += _message(message, index)
        if message.get("is_demo") or (
            start == len(found) - 1 and found[-1][0].message.role == "system"
        ):
            start = len(found)
    return found, start


def _message(given: Mapping[str, Any], index: int) -> list[TurnAndAction]:
    fields = dict(given)
    if given.get("object") == "response":
        fields = _of_response(given, index)
    elif given.get("type") == "function_call_output":
        fields = {
            "role": "tool",
            "content": given.get("output"),
            "tool_call_id": given.get("call_id"),
        }
    if given.get("role") == "exit":
        # mini-SWE-agent says last why it stopped.
        fields["role"] = "user"
    ids = given.get("tool_call_ids")
    if isinstance(ids, list) and ids:
        fields["tool_call_id"] = ids[0]
    thoughts = [
        block.get("thinking")
        for block in list_of_objects(given.get("thinking_blocks"), "thinking_blocks", index)
    ]
    if thoughts and given.get("reasoning_content") is None:
        fields["reasoning_content"] = (
            "".join(thought for thought in thoughts if isinstance(thought, str)) or None
        )
    return [(turn, _action(given)) for turn in read_message(fields, index)]


def _of_response(given: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The fields of a chat message from an answer of OpenAI's Responses API.

    mini-SWE-agent keeps such answers as they came.
    """
    items = list_of_objects(given.get("output"), "output", index)
    said = [
        part
        for item in items
        if item.get("type") == "message"
        for part in list_of_objects(item.get("content"), "content", index)
    ]
    calls = [
        {"id": item.get("call_id"), "name": item.get("name"), "arguments": item.get("arguments")}
        for item in items
        if item.get("type") == "function_call"
    ]
    thoughts = [
        part
        for item in items
        if item.get("type") == "reasoning"
        for part in list_of_objects(item.get("summary"), "summary", index)
    ]
    reasoning = "".join(part["text"] for part in thoughts if isinstance(part.get("text"), str))
    return {
        "role": "assistant",
        "content": said,
        "reasoning_content": reasoning or None,
        **({"tool_calls": calls} if calls else {}),
    }


def _executed(steps: Sequence[Mapping[str, Any]]) -> tuple[list[TurnAndAction], int]:
    """The turns of a run without history.

    What a step saw is the end of its `query`, or else the observation before it.
    """
    found: list[TurnAndAction] = []
    start = 0
    seen: list[TurnAndAction] = []
    for index, step in enumerate(steps):
        query = list_of_objects(step.get("query"), "query", index)
        shown, num_prompt = _history([message for message in query if message])
        if not found:
            answered = [
                place + 1
                for place, (turn, _) in enumerate(shown)
                if turn.message.role == "assistant"
            ]
            start = max([num_prompt, *answered])
            found += shown
        else:
            last = max(
                (
                    place
                    for place, (turn, _) in enumerate(shown)
                    if turn.message.role == "assistant"
                ),
                default=-1,
            )
            found += shown[last + 1 :] if last >= 0 else seen
        if not isinstance(step.get("response"), str):
            raise BadRowError(f"response is {step.get('response')!r:.60}, expected a text", index)
        found.append((Turn(Message(role="assistant", content=step["response"])), _action(step)))
        observation = step.get("observation")
        seen = (
            [(Turn(Message(role="user", content=observation)), None)]
            if isinstance(observation, str)
            else []
        )
    return found + seen, start


def _with_action(step: Step, action: str | None) -> Step:
    return step if action is None else step.model_copy(update={"action": action})


def _action(given: Mapping[str, Any]) -> str | None:
    """What was executed: SWE-agent's `action`, mini-SWE-agent's one command."""
    if isinstance(given.get("action"), str):
        return str(given["action"])
    extra = given.get("extra")
    actions = extra.get("actions") if isinstance(extra, dict) else None
    if (
        isinstance(actions, list)
        and len(actions) == 1
        and isinstance(actions[0], dict)
        and isinstance(actions[0].get("command"), str)
    ):
        return str(actions[0]["command"])
    return None


def _last_observation(document: Mapping[str, Any]) -> tuple[Message, ...]:
    """The answer to the last action, which older versions write only in `trajectory`."""
    executed = document.get("trajectory")
    last = object_or_empty(executed[-1]) if isinstance(executed, list) and executed else {}
    text = text_or_none(last.get("observation"))
    return (Message(role="user", content=text),) if text else ()


def _outcome(info: Mapping[str, Any]) -> Outcome:
    given = text_or_none(info.get("exit_status"))
    if given is None:
        return Outcome(status="unknown", reason="the file has no exit status")
    # "submitted (exit_cost)": the harness submitted what there was, for the reason in brackets.
    status = given.lower().removeprefix("submitted (").removesuffix(")").strip()
    if status in LIMITS:
        return Outcome(status="truncated", reason=given)
    if status in ENDS:
        return Outcome(
            status="unknown",
            reason=f"exit status '{given}'; the file does not say whether the issue is solved",
        )
    return Outcome(status="error", reason=given)


def _task_id(document: Mapping[str, Any], file: str) -> str:
    replay = object_or_empty(decode_nested(document.get("replay_config")))
    for owner in (document, object_or_empty(replay.get("problem_statement"))):
        if id_ := text_or_none(owner.get("instance_id")) or text_or_none(owner.get("id")):
            return id_
    name = PurePath(file).name
    return name.split(".traj")[0] or name


def _details(document: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: info[key] for key in DETAILS if info.get(key)}
    kept |= {
        key: text
        for key in ("environment", "trajectory_format")
        if (text := text_or_none(document.get(key)))
    }
    return kept
