"""SWE-agent's `.traj` and mini-SWE-agent's `.traj.json`: one document, one run on one issue.

SWE-agent writes `history` (the conversation) beside `trajectory` (the executed steps). The history
is read if there is one, otherwise the trajectory. Demonstrations belong to the prompt.
mini-SWE-agent writes `messages`; rows of SWE-smith hold a history of SWE-agent there. The files do
not say whether the issue was solved, so the outcome is "unknown", unless the exit status is an
error or a limit. Rows of SWE-smith say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from atlas.records import Message, Outcome, Problem, Task
from atlas.trajectories.formats.agent_logs import build_reading, texts_of
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    outcome_of_row,
)
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, decode_nested, read_message
from atlas.trajectories.formats.responses.items import ItemReader, read_items
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.react_turns import Remark

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
ONLY_EXECUTED = "the history ends before this step, which stands among the executed steps only"
# A turn, and the action in it that was executed.
TurnAndAction = tuple[Turn, str | None]


class SWEAgentFormat(RowFormat):
    """Reads the trajectories of SWE-agent and of mini-SWE-agent."""

    # The trajectory is a copy of the history, beside what the harness measured.
    metadata = (
        "trajectory_format",
        "patch",
        "*.message_type",
        "*.agent",
        "*.is_demo",
        # Parsed from the content.
        "history.thought",
        # What mini-SWE-agent made the message of.
        "messages.extra.raw_output",
        "messages.extra.submission",
        "messages.extra.returncode",
        "messages.extra.traceback",
        "messages.extra.exception",
        "messages.extra.exception_info",
        "messages.extra.exception_type",
        "messages.extra.interrupt_type",
        "messages.thought",
        "trajectory.state",
        "trajectory.execution_time",
        "trajectory.action",
        "trajectory.thought",
        "trajectory.query",
        "info",
        "replay_config",
    )

    def matches(self, row: Any) -> bool:
        if is_mini_swe_agent(row) or is_swe_agent_chat(row):
            return True
        match row:
            case {"history": [dict(first), *_]}:
                return "role" in first and bool({"message_type", "agent"} & first.keys())
            case {"trajectory": [{"action": _, "response": _}, *_]}:
                return True
        return False

    def convert(self, row: SourceRow) -> Reading:
        document = row.value
        if not isinstance(document, dict):
            reason = "not a run, expected an object with 'history', 'trajectory' or 'messages'"
            raise BadRowError(reason)
        info = object_or_empty(document.get("info"))
        is_row = is_swe_agent_chat(document)
        if is_row:
            document = {**document, "history": decode_nested(document["messages"])}
        key = "messages" if is_mini_swe_agent(document) else "history"
        executed = list_of_objects(document.get("trajectory"), "trajectory")
        remarks: list[Remark] = []
        if given := list_of_objects(document.get(key), "the history"):
            found, start = _history(given)
            if missing := _missing(found[start:], executed):
                at = sum(turn.message.role == "assistant" for turn, _ in found[start:])
                remarks.append((at, ONLY_EXECUTED))
                found += missing
            num_said = sum(turn.message.role == "assistant" for turn, _ in found[start:])
            if (num_left := len(executed) - num_said) > 0:
                remarks.append((-1, f"{num_left} executed steps that the history does not hold"))
        else:
            found, start = _executed(executed)
        details = {key: info[key] for key in DETAILS if info.get(key)}
        outcome = _outcome_of_run(document, info)
        if is_row:
            details = details_of_row(document, ("messages", *ID_KEYS))
            outcome = outcome_of_row(document)
        reading = build_reading(
            [turn for turn, _ in found],
            start,
            task=Task(id=_task_id(document, row.file), environment="swe"),
            digest=row.content_hash,
            outcome=outcome,
            source=row.source(
                "swe_agent", details | texts_of(document, ("environment", "trajectory_format"))
            ),
            tools=read_tools(document.get("tools")) or (),
            remarks=[*remarks, *_remarks(given)],
        )
        actions = [action for turn, action in found[start:] if turn.message.role == "assistant"]
        steps = tuple(
            step if action is None else step.model_copy(update={"action": action})
            for step, action in zip(reading.trajectory.steps, actions, strict=True)
        )
        last = reading.trajectory.final_observation or _last_observation(document)
        made = reading.trajectory.model_copy(update={"steps": steps, "final_observation": last})
        return reading._replace(trajectory=made)

    def convert_all(
        self, rows: Iterable[SourceRow | Problem], ignored: tuple[str, ...]
    ) -> Iterator[Item]:
        return convert_rows(rows, self.convert, self.metadata, ignored, accounted=_accounted)


def _accounted(row: SourceRow) -> list[SourceRow]:
    """The row without the executed steps that its history holds too, perhaps spelled otherwise."""
    if not isinstance(row.value, dict) or not row.value.get("history"):
        return [row]
    return [row.part({key: value for key, value in row.value.items() if key != "trajectory"})]


def _missing(
    found: Sequence[TurnAndAction], executed: Sequence[Mapping[str, Any]]
) -> list[TurnAndAction]:
    """The executed steps after the end of the history, which lacks the last one in some versions.

    Earlier steps are in the history, also where they are more than its answers.
    """
    said = [turn.message for turn, _ in found if turn.message.role == "assistant"]
    texts = [message.content for message in said]
    turns: list[TurnAndAction] = []
    for step in executed[len(said) :]:
        response, observation = step.get("response"), step.get("observation")
        if not isinstance(response, str) or any(response.strip() in text for text in texts):
            continue
        turns.append((Turn(Message(role="assistant", content=response)), _action(step)))
        if isinstance(observation, str) and observation:
            turns.append((Turn(Message(role="user", content=observation)), None))
    return turns


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
    if given.get("object") == "response":
        # mini-SWE-agent keeps answers of OpenAI's Responses API, and results, as they came.
        output = list_of_objects(given.get("output"), "output", index)
        return [(turn, _action(given)) for turn in _turns_of_items(output, index)]
    if given.get("type") == "function_call_output":
        return [(turn, None) for turn in _turns_of_items([given], index)]
    fields = dict(given)
    if given.get("role") == "exit":
        # The last message of mini-SWE-agent says why it stopped.
        fields["role"] = "user"
    ids = given.get("tool_call_ids")
    if isinstance(ids, list) and ids:
        fields["tool_call_id"] = ids[0]
    thoughts = list_of_objects(given.get("thinking_blocks"), "thinking_blocks", index)
    if thoughts and given.get("reasoning_content") is None:
        fields["reasoning_content"] = _joined(thoughts, "thinking")
    match given:
        case {
            "extra": {"response": {"choices": [{"message": {"reasoning_content": str(thought)}}]}}
        }:
            # mini-SWE-agent keeps the whole answer, the message may have only its content.
            if fields.get("reasoning_content") is None:
                fields["reasoning_content"] = thought or None
    return [(turn, _action(given)) for turn in read_message(fields, index)]


def _remarks(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """What is left out of answers of the Responses API, each kind once."""
    answers = [message for message in history if message.get("object") == "response"]
    texts = (text for each in answers for _, text in read_items(each.get("output") or ()).remarks)
    return [(-1, text) for text in dict.fromkeys(texts)]


def _turns_of_items(items: Sequence[Any], index: int) -> list[Turn]:
    reader = ItemReader()
    for item in items:
        reader.add(item, index)
    reader.end_turn()
    return reader.turns or [Turn(Message(role="assistant"))]


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


def _outcome_of_run(document: Mapping[str, Any], info: Mapping[str, Any]) -> Outcome:
    """What an evaluation wrote into the document; else what the exit status says."""
    fields = {"instance_id": "", "reward": info.get("reward"), **document}
    stated = outcome_of_row(fields)
    if stated.status != "unknown" or "; but " in (stated.reason or ""):
        return stated
    outcome = _outcome(text_or_none(info.get("exit_status")))
    return outcome.model_copy(update={"score": stated.score})


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


def is_mini_swe_agent(row: Any) -> bool:
    """Whether a row is a run of mini-SWE-agent."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        return False
    written, info = row.get("trajectory_format"), row.get("info")
    return (isinstance(written, str) and written.startswith("mini-swe-agent")) or (
        isinstance(info, dict) and "mini_version" in info
    )


def is_swe_agent_chat(row: Any) -> bool:
    """Whether a row holds a history of SWE-agent under `messages`, as SWE-smith publishes them."""
    messages = decode_nested(row.get("messages")) if isinstance(row, dict) else None
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and "role" in first and "message_type" in first
