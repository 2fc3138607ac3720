"""ShareGPT, as LLaMA-Factory extends it.

    {"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]}

Read with it: `system` and `tools` of the row, turns of calls (`function_call`, with the JSON of one
call or several as value) and turns of results (`observation`). A row whose turns all have `loss`
and alternate between human and gpt is AgentTraj.
"""

from __future__ import annotations

from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.agenttraj import is_agenttraj
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conversations import chat_parts, chat_trajectory
from atlas.trajectories.formats.messages import decode_nested, read_turns
from atlas.trajectories.formats.rows import BadRowError, SourceRow

TURN_KEYS = ("conversations", "conversation", "messages")


class ShareGPTFormat(RowFormat):
    """Reads ShareGPT conversations, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        match _turns_of(row):
            case [{"from": _, "value": _}, *_]:
                return not is_agenttraj(row)
        return False

    def convert(self, row: SourceRow) -> Trajectory:
        given = _turns_of(row.value)
        if not given:
            raise BadRowError("no turns, expected a list of them, bare or under 'conversations'")
        turns = read_turns(given, keys=("from", "value"))
        return chat_trajectory(row, "sharegpt", chat_parts(row, turns), TURN_KEYS)


def _turns_of(row: Any) -> list[Any]:
    if isinstance(row, dict):
        row = next((row[key] for key in TURN_KEYS if key in row), None)
    turns = decode_nested(row)
    return turns if isinstance(turns, list) else []
