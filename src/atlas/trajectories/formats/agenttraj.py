"""AgentTraj of AgentGym (arXiv 2406.04151): `{"conversations": [{"from", "loss", "value"}, …], "item_id": "babyai_0"}`.

Human and gpt turns alternate. The first human turn holds the instructions, the first gpt turn may be the canned
acknowledgement (`loss: false`): both are prompt. Every other gpt turn has `loss: true` and is a step. The files say
nothing about how a trajectory ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.records import Message, Outcome, Problem, Source, Step, Trajectory
from atlas.trajectories.formats.conventions import parse_action, task_of_row
from atlas.trajectories.formats.rows import BadRowError, Row, convert_rows


class AgentTrajFormat:
    """Reads AgentTraj files, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        turns = row.get("conversations") if isinstance(row, dict) else None
        return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and {"from", "value"} <= turns[0].keys()

    def read(self, path: Path) -> Iterator[Trajectory | Problem]:
        return convert_rows(path, lambda row: _trajectory(row, path.name))


def _trajectory(row: Row, file_name: str) -> Trajectory:
    if not isinstance(row.value, dict) or "conversations" not in row.value:
        raise BadRowError('no \'conversations\', expected {"conversations": […], "item_id": …}')
    turns = row.value["conversations"]
    if not isinstance(turns, list) or not turns:
        raise BadRowError("'conversations' is empty, expected a list of turns. Is this a list of evaluation tasks?")
    if row.value.get("item_id") in (None, ""):
        raise BadRowError("no 'item_id', expected one such as 'babyai_0'")
    messages = [_message(turn, index) for index, turn in enumerate(turns)]
    start = 2 if len(turns) > 1 and turns[1]["loss"] is False else 0
    if masked := [index for index in range(start, len(turns)) if turns[index].get("loss") is False]:
        raise BadRowError(
            "loss is false on a gpt turn after the first, so it is neither prompt nor step. Is this a masked export? Import its original",
            masked[0],
        )
    steps = tuple(
        Step(observation=(messages[index - 1],), response=messages[index], action=parse_action(messages[index].content))
        for index in range(start + 1, len(messages), 2)
    )
    if not steps:
        raise BadRowError("no gpt turn with loss true, so no step")
    task = task_of_row(row.value, otherwise="")
    return Trajectory(
        id=f"{task.id}-{row.content_hash}",
        task=task,
        prompt=tuple(messages[:start]),
        steps=steps,
        final_observation=tuple(messages[-1:]) if messages[-1].role == "user" else (),
        outcome=Outcome(status="unknown", reason="AgentTraj records no outcome"),
        source=Source(name="agenttraj", path=file_name, row=row.index),
    )


def _message(turn: Any, index: int) -> Message:
    expected = "gpt" if index % 2 else "human"
    if not isinstance(turn, dict):
        raise BadRowError(f"{turn!r:.60} is no turn, expected an object with 'from', 'loss' and 'value'", index)
    if turn.get("from") != expected:
        raise BadRowError(f"role {turn.get('from')!r:.60} where '{expected}' was expected", index)
    if not isinstance(turn.get("value"), str):
        raise BadRowError(f"value is {turn.get('value')!r:.60}, expected a text", index)
    if expected == "gpt" and not isinstance(turn.get("loss"), bool):
        raise BadRowError(f"loss is {turn.get('loss')!r:.60} on a gpt turn, expected true or false", index)
    if expected == "human" and turn.get("loss"):
        raise BadRowError(f"loss is {turn.get('loss')!r:.60} on a human turn, expected null", index)
    return Message(role="assistant" if expected == "gpt" else "user", content=turn["value"])
