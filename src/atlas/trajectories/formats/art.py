"""Trajectories of ART (OpenPipe): `{"messages_and_choices": […], "reward": …, "metrics": {…}}`.

Choices of a model stand among messages. A choice is a step; other assistant messages are context
(without any choice, all are steps). A row is a trajectory, or a group of them. Each of the
`additional_histories` is a trajectory too. ART defines no success.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT, details_of_row, is_id
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty
from atlas.trajectories.formats.messages import decode_nested, read_message
from atlas.trajectories.formats.rollouts import History, RewardConfig, outcome_without_rule
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

MESSAGES_KEY = "messages_and_choices"
ID_KEYS = ("scenario_id", "task_id", "id")


class ARTFormat(RowFormat):
    """Reads trajectories and groups of ART, JSON or JSON Lines."""

    Config = RewardConfig
    config: RewardConfig
    metadata = (
        "exceptions",
        "*.initial_policy_version",
        "*.final_policy_version",
        *(
            f"{place}{key}"
            for place in ("", "trajectories.")
            for key in ("metrics", "metadata", "logs")
        ),
    )

    def matches(self, row: Any) -> bool:
        match row:
            case {"messages_and_choices": list()}:
                return True
            case {"trajectories": [{"messages_and_choices": list()}, *_]}:
                return True
        return False

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        fields = object_or_empty(row.value)
        group: Mapping[str, Any] = fields if MESSAGES_KEY not in fields else {}
        parts = list_of_objects(fields.get("trajectories"), "trajectories") if group else [fields]
        number = 0
        for part in parts:
            histories = [part]
            histories += list_of_objects(part.get("additional_histories"), "additional_histories")
            for place, history in enumerate(histories):
                yield self._trajectory(row, group, part, history, place, number)
                number += 1
        if not number:
            reason = f"no '{MESSAGES_KEY}', expected a trajectory of ART or a group of them"
            raise BadRowError(reason)

    def _trajectory(
        self,
        row: SourceRow,
        group: Mapping[str, Any],
        part: Mapping[str, Any],
        history: Mapping[str, Any],
        place: int,
        number: int,
    ) -> Reading:
        read, cut = _history(history)
        turns, start = read.parts()
        given = history.get("tools")
        tools = read_tools(part.get("tools") if given is None else given)
        if tools is None:
            raise BadRowError(f"tools are {given!r:.60}, expected a list of tool schemas")
        details = details_of_row(part, ("reward",))
        for key in ("metrics", "metadata"):
            if known := details_of_row(object_or_empty(decode_nested(part.get(key))), ()):
                details[key] = known
        if known := details_of_row(object_or_empty(group.get("metadata")), ()):
            details["group"] = known
        if place:
            details["additional_history"] = place - 1
        owners = (object_or_empty(part.get("metadata")), object_or_empty(group.get("metadata")))
        named = [owner[key] for owner in owners for key in ID_KEYS if is_id(owner.get(key))]
        id_ = str(named[0]) if named else f"art-{row.content_hash}"
        return build_reading(
            turns,
            start,
            task=Task(id=id_, environment=UNKNOWN_ENVIRONMENT),
            digest=f"{row.content_hash}-{number}" if number else row.content_hash,
            outcome=outcome_without_rule(part.get("reward"), self.config, "ART"),
            source=row.source("art", details),
            tools=tools,
            remarks=read.remarks(start, cut),
        )


def _history(owner: Mapping[str, Any]) -> tuple[History, set[int]]:
    """The conversation, and which of its items were cut by length."""
    given = owner.get(MESSAGES_KEY)
    if not isinstance(given, list) or not given:
        raise BadRowError(f"{MESSAGES_KEY} is {given!r:.60}, expected a list of messages")
    has_choices = any(isinstance(object_or_empty(each).get("message"), dict) for each in given)
    history, cut = History(), set()
    for index, item in enumerate(given):
        choice = object_or_empty(item).get("message")
        is_choice = isinstance(choice, dict)
        turns = [*read_message(choice if is_choice else item, index)]
        history.add(turns, are_made=is_choice or not has_choices, call=index)
        if is_choice and item.get("finish_reason") == "length":
            cut.add(index)
    return history, cut
