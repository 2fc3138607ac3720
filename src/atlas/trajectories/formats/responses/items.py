"""Items of OpenAI's Responses API -> turns.

What a model wrote between two inputs (reasoning, messages, calls) is one turn. A call that the
service executed ends a turn, because the model read its result before it went on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from atlas.records import Message, ToolCall
from atlas.trajectories.formats.fields import list_of_objects, text_or_none
from atlas.trajectories.formats.messages import ROLES, Turn, read_message
from atlas.trajectories.formats.responses.item_texts import (
    answer_text,
    result_text,
    text_of,
    thoughts_of,
    type_of,
)
from atlas.trajectories.formats.responses.item_types import (
    CALLS,
    COMPACTIONS,
    RESULTS,
    SERVED,
    SILENT,
    CallType,
)
from atlas.trajectories.formats.rows import BadRowError

# Types of items that are remarks.
LEFT_OUT = {
    **dict.fromkeys(COMPACTIONS, "the summary of a compaction is encrypted and not carried over"),
    "item_reference": "an item that is only referred to by its id is not carried over",
}
# A message of a chat has more, such as its calls.
PLAIN_KEYS = frozenset(("role", "content", "id", "status", "phase", "name"))
PARAGRAPHS = "\n\n"
HIDDEN_REASONING = "encrypted reasoning is not carried over"
SHORT_SUMMARY = "the summary of a reasoning is left out: its full text is carried over"
UNRECORDED_SEARCH = "a search by the service, of which nothing is recorded, is not carried over"
IN_ANSWER = "a part of an answer that is not text is not carried over"


@dataclass(slots=True)
class _Draft:
    """A turn of the assistant that is being read."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    is_trained: bool | None = None
    # Whether there was a message, which may be empty.
    has_text: bool = False


class ItemReader:
    """Reads items one by one; `turns` is complete after `end_turn`.

    Attributes:
        remarks: what was left out, with the index of the turn.
        tools: schemas that the service listed.
    """

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.remarks: list[tuple[int, str]] = []
        self.tools: list[dict[str, Any]] = []
        self._draft: _Draft | None = None
        self._is_trained: bool | None = None

    def read(self, items: Iterable[Any], is_trained: bool | None = None) -> None:
        """Read items and end the turn; `is_trained` is a flag for what the model wrote.

        Raises:
            BadRowError: something is not an item; the error names which.
        """
        self._is_trained = is_trained
        for index, item in enumerate(items):
            self.add(item, index)
        self.end_turn()

    def add(self, item: Any, index: int | None = None) -> None:
        """Read the next item.

        Raises:
            BadRowError: it is not an item.
        """
        if not isinstance(item, Mapping):
            raise BadRowError(f"{item!r:.60} is not an item, expected an object", index)
        if item.get("role") is not None and item.get("type") is None and _is_of_chat(item):
            self.end_turn()
            turns = read_message(item, index or 0)
            self.turns += (turn._replace(is_trained=self._is_trained) for turn in turns)
            return
        kind = item.get("type") or ("message" if item.get("role") is not None else None)
        if not isinstance(kind, str):
            raise BadRowError(f"an item has the type {kind!r:.60}, expected a text", index)
        if kind in CALLS:
            self._open().calls.append(_call(item, CALLS[kind], index))
        elif kind in SERVED:
            self._add_served(item, kind, index)
        elif kind in RESULTS:
            content = result_text(_result_of(item, RESULTS[kind], index), index)
            id_ = text_or_none(item.get("call_id")) or text_or_none(item.get("id"))
            self.add_message(Message(role="tool", content=content, tool_call_id=id_))
        elif kind in LEFT_OUT:
            self.note(LEFT_OUT[kind])
        elif kind not in SILENT:
            self._add_other(item, kind, index)

    def add_message(self, message: Message) -> None:
        """Add what the model did not write; it ends the turn."""
        self.end_turn()
        self.turns.append(Turn(message))

    @property
    def turn_index(self) -> int:
        """The index of the turn to which the last item belongs."""
        return len(self.turns) if self._draft is not None else len(self.turns) - 1

    def end_turn(self) -> None:
        """The model's next items belong to another turn."""
        draft, self._draft = self._draft, None
        if draft is None or not (draft.texts or draft.reasoning or draft.calls or draft.has_text):
            return
        message = Message(
            role="assistant",
            content=PARAGRAPHS.join(draft.texts),
            reasoning=PARAGRAPHS.join(draft.reasoning) or None,
            tool_calls=tuple(draft.calls),
        )
        self.turns.append(Turn(message, draft.is_trained))

    def _open(self) -> _Draft:
        if self._draft is None:
            self._draft = _Draft(is_trained=self._is_trained)
        return self._draft

    def note(self, text: str) -> None:
        """Remark on the turn that is being read, or else on the next one."""
        self.remarks.append((len(self.turns), text))

    def _add_other(self, item: Mapping[str, Any], kind: str, index: int | None) -> None:
        match kind:
            case "message":
                self._add_message(item, index)
            case "reasoning":
                self._add_reasoning(item, index)
            case "agent_message":
                self._add_agent_message(item, index)
            case "mcp_list_tools":
                self.tools += list_of_objects(item.get("tools"), "tools", index)
            case _:
                raise BadRowError(f"an item of type {kind!r:.60} is not known", index)

    def _add_message(self, item: Mapping[str, Any], index: int | None) -> None:
        spelled = item.get("role")
        role = ROLES.get(spelled.lower()) if isinstance(spelled, str) else None
        if role is None:
            raise BadRowError(f"role is {spelled!r:.60}, expected one of {', '.join(ROLES)}", index)
        if item.get("content") is None:
            raise BadRowError("a message has no 'content'", index)
        if role == "assistant":
            text, num_left = answer_text(item["content"], index)
            draft = self._open()
            draft.has_text = True
            if text:
                draft.texts.append(text)
            for _ in range(num_left):
                self.note(IN_ANSWER)
            return
        id_ = text_or_none(item.get("tool_call_id")) or text_or_none(item.get("call_id"))
        content = text_of(item["content"], index)
        name = text_or_none(item.get("name"))
        self.add_message(Message(role=role, content=content, name=name, tool_call_id=id_))

    def _add_agent_message(self, item: Mapping[str, Any], index: int | None) -> None:
        """What another agent sent to this one."""
        parts = item.get("content", item.get("text"))
        if isinstance(parts, list):
            hidden = [part for part in parts if type_of(part) == "encrypted_content"]
            if hidden:
                self.note("an encrypted message of another agent is not carried over")
            parts = [part for part in parts if type_of(part) != "encrypted_content"]
            if hidden and not parts:
                return
        if parts is None:
            raise BadRowError("a message of an agent has no 'content'", index)
        author = text_or_none(item.get("author"))
        self.add_message(Message(role="user", content=text_of(parts, index), name=author))

    def _add_reasoning(self, item: Mapping[str, Any], index: int | None) -> None:
        full, short = (thoughts_of(item.get(key), key, index) for key in ("content", "summary"))
        if text := text_or_none(item.get("text")):
            full = [*full, text]
        draft = self._open()
        draft.reasoning += full or short
        if full and short and full != short:
            self.note(SHORT_SUMMARY)
        elif not (full or short):
            if item.get("encrypted_content"):
                self.note(HIDDEN_REASONING)
            elif item.get("summary") is None and item.get("content") is None:
                expected = "'summary', 'content' or 'encrypted_content'"
                raise BadRowError(f"a reasoning has no {expected}", index)

    def _add_served(self, item: Mapping[str, Any], kind: str, index: int | None) -> None:
        form = SERVED[kind]
        if all(item.get(key) is None for key in form.given):
            if kind == "mcp_call":
                raise BadRowError("an 'mcp_call' has no 'arguments'", index)
            self.note(UNRECORDED_SEARCH if "search" in kind else f"a {kind} is not carried over")
            return
        call = _call(item, form, index)
        self._open().calls.append(call)
        found = next((item[key] for key in form.results if item.get(key) is not None), None)
        if found is None:
            self.note(f"the service executed {call.name}; what it returned is not recorded")
            self.end_turn()
            return
        content = result_text(found, index)
        self.add_message(Message(role="tool", content=content, tool_call_id=call.id))


def read_items(items: Iterable[Any]) -> ItemReader:
    """The items of one conversation, all read."""
    reader = ItemReader()
    reader.read(items)
    return reader


def remarks_of_steps(
    turns: list[Turn], remarks: Iterable[tuple[int, str]], prompt_length: int
) -> list[tuple[int, str]]:
    """Remarks on turns as remarks on steps; -1 is the whole trajectory."""
    num_before = [0, *accumulate(turn.message.role == "assistant" for turn in turns)]
    num_steps = num_before[-1] - num_before[prompt_length]
    found = []
    for place, text in remarks:
        step = num_before[min(place, len(turns))] - num_before[prompt_length]
        found.append((step if 0 <= step < num_steps and place >= prompt_length else -1, text))
    return found


def chat_tools(tools: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Schemas of tools, functions in the form of chats, which chat templates expect."""
    return tuple(
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        if tool.get("type") == "function" and isinstance(tool.get("name"), str)
        else tool
        for tool in tools
    )


def _is_of_chat(item: Mapping[str, Any]) -> bool:
    """Whether a message has a field that only messages of chats have."""
    return any(value is not None and key not in PLAIN_KEYS for key, value in item.items())


def _call(item: Mapping[str, Any], form: CallType, index: int | None) -> ToolCall:
    name = item.get("name") or form.name
    if not isinstance(name, str):
        raise BadRowError(f"a {item.get('type')} has no 'name'", index)
    space = text_or_none(item.get("namespace"))
    if space and not name.startswith(space):
        name = f"{space}{name}" if space.endswith(("__", ".")) else f"{space}.{name}"
    key = next((key for key in form.given if item.get(key) is not None), None)
    if key is None:
        raise BadRowError(
            f"the call of {name!r:.60} has no '{form.given[0]}', its arguments", index
        )
    given = item[key]
    if not form.is_whole:
        given = {key: given}
    elif not isinstance(given, str | dict):
        raise BadRowError(
            f"the arguments of {name!r:.60} are {given!r:.60}, expected a JSON text or an object",
            index,
        )
    arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    id_ = text_or_none(item.get("call_id")) or text_or_none(item.get("id"))
    return ToolCall(id=id_, name=name, arguments=arguments)


def _result_of(item: Mapping[str, Any], keys: tuple[str, ...], index: int | None) -> Any:
    for key in keys:
        if key in item:
            return "" if item[key] is None else item[key]
    raise BadRowError(f"a {item.get('type')} has no '{keys[0]}'", index)
