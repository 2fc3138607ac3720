"""AgentTraj of AgentGym (arXiv 2406.04151).

    {"conversations": [{"from": "human", "loss": null, "value": …}, …], "item_id": "babyai_0"}

AgentInstruct (arXiv 2310.12823) is the same with `id`. Human and gpt turns alternate. The first
human turn holds the instructions, and the first gpt turn may be a canned acknowledgement (`loss:
false`); both belong to the prompt. Every other gpt turn is a step. If `loss` is false on one of
them, the file is a masked export, and the trained steps are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.records import Message, Outcome
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    is_acknowledgement,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.conversations import OUTCOME_KEYS
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

SPEAKERS = ("human", "gpt")


class AgentTrajFormat(RowFormat):
    """Reads AgentTraj and AgentInstruct files, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        return is_agenttraj(row)

    def convert(self, row: SourceRow) -> Reading:
        fields = row.value
        if not isinstance(fields, dict) or "conversations" not in fields:
            raise BadRowError('no \'conversations\', expected {"conversations": […], "item_id": …}')
        given = fields["conversations"]
        if not isinstance(given, list) or not given:
            reason = "'conversations' is empty, expected a list of turns"
            raise BadRowError(f"{reason}. Is this a list of evaluation tasks?")
        turns = [_turn(turn, index) for index, turn in enumerate(given)]
        num_prompt = 2 if _opens_with_acknowledgement(turns) else 0
        if all(turn.is_trained for turn in turns[num_prompt + 1 :: 2]):
            # The data set as it was published, not a selection.
            turns = [Turn(turn.message) for turn in turns]
        digest = row.content_hash
        outcome = Outcome(status="unknown", reason="AgentTraj records no outcome")
        if any(fields.get(key) is not None for key in OUTCOME_KEYS):
            outcome = outcome_of_row(fields)
        details = details_of_row(fields, ("conversations", *OUTCOME_KEYS, *ID_KEYS))
        return build_reading(
            turns,
            num_prompt,
            task=task_of_row(fields, f"agenttraj-{digest}", item_keys=("item_id", "id")),
            digest=digest,
            outcome=outcome,
            source=row.source("agenttraj", details),
        )


def is_agenttraj(row: Any) -> bool:
    """Whether a row's turns all carry `loss` and alternate between human and gpt."""
    turns = object_or_empty(row).get("conversations")
    if not isinstance(turns, list) or not turns:
        return False
    return all(
        isinstance(turn, dict)
        and {"from", "value", "loss"} <= turn.keys()
        and turn["from"] == SPEAKERS[index % 2]
        for index, turn in enumerate(turns)
    )


def _opens_with_acknowledgement(turns: Sequence[Turn]) -> bool:
    """Turn 1 is untrained, and reads like an acknowledgement or is the only untrained one.

    If only one turn is untrained, it is not a selection of steps, which leaves out more.
    """
    if len(turns) < 2 or turns[1].is_trained:
        return False
    is_canned = is_acknowledgement(turns[1].message.content)
    return is_canned or all(turn.is_trained for turn in turns[3::2])


def _turn(turn: Any, index: int) -> Turn:
    if not isinstance(turn, dict):
        reason = f"{turn!r:.60} is not a turn, expected an object with 'from', 'loss' and 'value'"
        raise BadRowError(reason, index)
    expected = SPEAKERS[index % 2]
    who, said, loss = (turn.get(key) for key in ("from", "value", "loss"))
    if who != expected:
        raise BadRowError(f"role {who!r:.60} where '{expected}' was expected", index)
    if not isinstance(said, str):
        raise BadRowError(f"value is {said!r:.60}, expected a text", index)
    if expected == "gpt" and not isinstance(loss, bool):
        raise BadRowError(f"loss is {loss!r:.60} on a gpt turn, expected true or false", index)
    if expected == "human" and loss:
        raise BadRowError(f"loss is {loss!r:.60} on a human turn, expected null", index)
    return Turn(Message(role="assistant" if who == "gpt" else "user", content=said), loss)
