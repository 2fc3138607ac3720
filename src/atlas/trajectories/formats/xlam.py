r"""Rows of xLAM's function-calling data (arXiv 2406.18518).

    {"id": 0, "query": "…", "answers": "[{\"name\": …, \"arguments\": {…}}]", "tools": "[…]"}

One step: the query is seen, and the answers are its calls. Answers and tools are JSON texts or
lists.
"""

from __future__ import annotations

from typing import Any

from atlas.records import Message, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.calls import decode_nested, is_named_call, read_tool_call
from atlas.trajectories.formats.chats import CHAT_KEYS, ChatForm, chat_trajectory
from atlas.trajectories.formats.messages import ROLE_AND_CONTENT, Turn
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

QUERY, ANSWERS = "query", "answers"
FORM = ChatForm("xlam", ROLE_AND_CONTENT, CHAT_KEYS.union((QUERY, ANSWERS)))


class XLAMFormat(RowFormat):
    """Reads rows of a query and the calls that answer it."""

    def matches(self, row: Any) -> bool:
        if not isinstance(row, dict) or not isinstance(row.get(QUERY), str) or "tools" not in row:
            return False
        answers = decode_nested(row.get(ANSWERS))
        return isinstance(answers, list) and all(map(is_named_call, answers))

    def convert(self, row: SourceRow) -> Trajectory | Reading:
        fields = row.value if isinstance(row.value, dict) else {}
        query, answers = fields.get(QUERY), decode_nested(fields.get(ANSWERS))
        if not isinstance(query, str):
            raise BadRowError(f"{QUERY} is {query!r:.60}, expected a text")
        if not isinstance(answers, list) or not answers:
            raise BadRowError(f"{ANSWERS} is {answers!r:.60}, expected a list of calls")
        calls = tuple(read_tool_call(call, index) for index, call in enumerate(answers))
        turns = [
            Turn(Message(role="user", content=query)),
            Turn(Message(role="assistant", tool_calls=calls)),
        ]
        return chat_trajectory(row, turns, FORM)
