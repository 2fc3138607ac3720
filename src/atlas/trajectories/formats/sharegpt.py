"""ShareGPT, as LLaMA-Factory extends it.

    {"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]}

It also reads `system` and `tools` of the row, turns of calls (`function_call`, with the JSON of one
call or several as value) and turns of results (`observation`). A row whose turns all have `loss`
and alternate between human and gpt is AgentTraj.
"""

from __future__ import annotations

from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.calls import decode_nested, has_content
from atlas.trajectories.formats.chats import CHAT_KEYS, CHAT_METADATA, ChatForm, read_chat
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.trajectory_lines import TrajectoryLine

TURN_KEYS = ("conversations", "conversation", "messages")
FORM = ChatForm("sharegpt", ("from", "value"), CHAT_KEYS.union(TURN_KEYS), CHAT_METADATA)


class ShareGPTFormat(RowFormat):
    """Reads ShareGPT conversations, JSON or JSON Lines."""

    metadata = FORM.metadata

    def matches(self, row: Any) -> bool:
        turns = _turns_of(row)
        return bool(turns) and isinstance(turns[0], dict) and {"from", "value"} <= turns[0].keys()

    def convert(self, row: SourceRow) -> Trajectory | TrajectoryLine | Reading:
        turns = _turns_of(row.value)
        if not turns:
            raise BadRowError("no turns, expected a list of them, bare or under 'conversations'")
        return read_chat(row, turns, FORM)


def _turns_of(row: Any) -> list[Any]:
    given = (
        next((row[key] for key in TURN_KEYS if has_content(row.get(key))), None)
        if isinstance(row, dict)
        else row
    )
    turns = decode_nested(given)
    return turns if isinstance(turns, list) else []
