"""Messages as any framework records them -> messages of a trajectory.

Traces and callbacks hold what a framework handed to a model, in the framework's own words: OpenAI,
Anthropic, Gemini, Responses items, LangChain, the AI SDK, OpenTelemetry's GenAI convention. One
reader takes them all, since traces mix them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Message, Role
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.calls import read_result
from atlas.trajectories.formats.frameworks.kinds import CALLS, RESULTS
from atlas.trajectories.formats.frameworks.parts import FrameworkContent
from atlas.trajectories.formats.frameworks.shapes import ITEMS, decoded_messages
from atlas.trajectories.formats.langchain import messages as langchain_messages
from atlas.trajectories.formats.messages import ROLES, decode_nested
from atlas.trajectories.formats.rows import BadRowError

FRAMEWORK_ROLES: dict[str, Role] = {
    **ROLES,
    "ai": "assistant",
    "bot": "assistant",
    "tools": "tool",
    "tool-result": "tool",
}
REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details")
ALTERNATIVES = ("choices", "candidates", "generations")
SYSTEM = ("system", "system_instruction", "systemInstruction", "system_prompt")
# One of these is enough for an object to be a message.
OF_A_MESSAGE = frozenset(("role", "parts", "content", "tool_calls", *REASONING))
# Marks a message that has no role.
DEFAULT = "without role"
# A message may have these and say nothing.
SILENT = frozenset((DEFAULT, "role", "name", "id", "index", "type", "finish_reason", "status"))
# Objects of Python that were printed instead of written as JSON.
_REPRESENTATION = re.compile(
    r"\{'role': '|role='\w+' content=|\w*Message\(content=|content='.*' additional_kwargs="
)


class FrameworkMessages:
    """Reads messages of one model call.

    Attributes:
        notes: what was left out, in words.
        tools: schemas of tools that stood beside the messages.
        system: instructions that stood beside an answer.
    """

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self.tools: list[Any] = []
        self.system: str | None = None
        self._called: set[str] = set()

    def sent(self, value: Any) -> list[Message]:
        """What a model was given; a bare text is the user's.

        Raises:
            BadRowError: something is not a message.
        """
        return self._read(value, "user", is_answer=False)

    def answered(self, value: Any) -> list[Message]:
        """What a model answered; several messages of one answer are joined.

        Raises:
            BadRowError: something is not a message.
        """
        return self._read(value, "assistant", is_answer=True)

    def worked(self, value: Any) -> list[Message]:
        """What an agent did until its end: answers and what came between them.

        Raises:
            BadRowError: something is not a message.
        """
        return self._read(value, "assistant", is_answer=False)

    def _read(self, value: Any, role: Role, is_answer: bool) -> list[Message]:
        value = decoded_messages(value)
        if value is None or value == "":
            return []
        messages: list[Message] = []
        was_item = False
        unwrapped = [*self._unwrapped(value, role)]
        for index, given in enumerate(unwrapped):
            if DEFAULT in given and len(unwrapped) > 1 and not is_answer:
                keys = ", ".join(map(str, given.keys() - {DEFAULT}))[:80]
                raise BadRowError(f"a message without 'role' (its keys: {keys})", index)
            is_item = given.get("type") in ITEMS
            for message in self._message(given, role, index):
                self._called.update(call.name for call in message.tool_calls)
                last = messages[-1] if messages else None
                may_join = is_answer or (is_item and was_item)
                if may_join and last and last.role == message.role == "assistant":
                    messages[-1] = joined(last, message)
                else:
                    messages.append(message)
            was_item = is_item
        return messages

    def _unwrapped(self, value: Any, role: Role) -> Iterator[Mapping[str, Any]]:
        """The single messages in a value, each an object with a role or a type."""
        if isinstance(value, str):
            if _REPRESENTATION.match(value):
                reason = f"a message written as an object of Python, {value!r:.60}"
                raise BadRowError(f"{reason}, cannot be read safely; expected JSON")
            yield {"role": role, "content": value}
        elif isinstance(value, list):
            for each in value:
                yield from self._unwrapped(each, role)
        elif isinstance(value, dict):
            kind = langchain_messages.kind_of(value)
            is_written = kind is not None and (
                "role" not in value or langchain_messages.is_telling(value)
            )
            if kind is not None and is_written:
                if kind != "remove":
                    yield langchain_messages.as_chat(value, kind)
                return
            contained = self._contained(value, role)
            yield from self._single(value, role) if contained is None else contained
        else:
            raise BadRowError(f"messages are {value!r:.60}, expected a list of them")

    def _contained(
        self, value: Mapping[str, Any], role: Role
    ) -> Iterator[Mapping[str, Any]] | None:
        """The messages in an object that holds some; None if it is a message itself."""
        for key in ALTERNATIVES:
            if isinstance(value.get(key), list):
                return self._first_of(value[key], role)
        if isinstance(value.get("message"), dict):
            return self._unwrapped(value["message"], role)
        if "role" in value:
            return None
        if "messages" in value or "contents" in value:
            return self._request(value, value.get("messages", value.get("contents")))
        if isinstance(value.get("output"), list):
            return self._response(value)
        if isinstance(value.get("content"), dict) and "parts" in value["content"]:
            return self._unwrapped(value["content"], role)
        if isinstance(value.get("prompt"), str | list) and not OF_A_MESSAGE & value.keys():
            return self._request(value, value["prompt"])
        return None

    def _single(self, value: Mapping[str, Any], role: Role) -> Iterator[Mapping[str, Any]]:
        kind = value.get("type")
        if value.get("role") == "tool" and _is_schema(value.get("content")):
            # LangChain's callbacks append the schemas of tools to the messages.
            self.tools.append(value["content"])
        elif kind in ITEMS and kind != "message" and "role" not in value:
            yield value
        elif {"toolCallId", "toolName"} & value.keys() and "role" not in value:
            yield {**value, "type": "tool_call"}
        elif OF_A_MESSAGE & value.keys() or kind == "message":
            yield value if "role" in value else {DEFAULT: True, **value}
        elif isinstance(value.get("text"), str) and not kind:
            yield {"role": role, "content": value["text"]}
        else:
            keys = ", ".join(map(str, value))[:80]
            raise BadRowError(f"an object with the keys {keys} holds no messages that are known")

    def _first_of(self, found: list[Any], role: Role) -> Iterator[Mapping[str, Any]]:
        if len(found) > 1:
            self.notes[f"{len(found) - 1} further answers to the same request"] = None
        if found:
            yield from self._unwrapped(found[0], role)

    def _request(self, value: Mapping[str, Any], messages: Any) -> Iterator[Mapping[str, Any]]:
        """The messages of a request, after the system prompt that stands beside them."""
        for owner in (value, object_or_empty(value.get("config"))):
            for given in (owner[key] for key in SYSTEM if owner.get(key)):
                content = given.get("parts", given) if isinstance(given, dict) else given
                yield {"role": "system", "content": content}
            self._take_tools(owner)
        yield from self._unwrapped(messages, "user")

    def _response(self, value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The items of a response of OpenAI's, which repeats the instructions of its request."""
        system = value.get("instructions")
        self.system = system if isinstance(system, str) and system else self.system
        self._take_tools(value)
        yield from self._unwrapped(value["output"], "assistant")

    def _take_tools(self, owner: Mapping[str, Any]) -> None:
        for key in ("tools", "functions"):
            tools = decode_nested(owner.get(key))
            if isinstance(tools, list):
                self.tools += [tool for tool in tools if tool not in self.tools]

    def _message(self, given: Mapping[str, Any], role: Role, index: int) -> list[Message]:
        kind, name = given.get("type"), given.get("role")
        if kind in RESULTS and name is None:
            return [read_result(given)]
        if kind in (*CALLS, "reasoning") and name is None:
            content = FrameworkContent("assistant", index, self.notes)
            content.add([given])
            return content.messages()
        found = FRAMEWORK_ROLES.get(name.lower()) if isinstance(name, str) else None
        if found is None and isinstance(name, str) and name in self._called:
            # Langfuse's handler of LangChain writes the name of the tool as the role.
            found, given = "tool", {**given, "name": name}
        if name is not None and found is None:
            expected = ", ".join(FRAMEWORK_ROLES)
            raise BadRowError(f"role is {name!r:.60}, expected one of {expected}", index)
        role = found or role
        if role == "user" and isinstance(given.get("tool_call_id"), str):
            # Anthropic's results are the user's messages.
            role = "tool"
        if calls := _calls_in_text(given, role):
            content = FrameworkContent("assistant", index, self.notes)
            content.add_calls(calls)
            return content.messages()
        return self._of_role(given, role, index)

    def _of_role(self, given: Mapping[str, Any], role: Role, index: int) -> list[Message]:
        says = given.keys() & {"content", "parts", "contents", "tool_calls", "function_call"}
        says = says or {key for key in (*REASONING, "refusal") if given.get(key)}
        # A message that says nothing still has its place.
        if not says and given.keys() - SILENT:
            keys = ", ".join(map(str, given))[:80]
            reason = f"no 'content', expected the text of the message (its keys: {keys})"
            raise BadRowError(reason, index)
        content = self._content(given, role, index)
        self._add_calls(content, given)
        name, id_ = given.get("name"), given.get("tool_call_id", given.get("call_id"))
        id_ = given.get("id") if id_ is None else id_
        return content.messages(
            tool_call_id=str(id_) if isinstance(id_, str | int) and role == "tool" else None,
            name=name if isinstance(name, str) and name else None,
        )

    def _content(self, given: Mapping[str, Any], role: Role, index: int) -> FrameworkContent:
        parts = given.get("parts", given.get("content"))
        is_of_results = isinstance(parts, list) and any(map(_is_result, parts))
        # A message of a tool is one result, or it holds results.
        content = FrameworkContent(
            "user" if role == "tool" and is_of_results else role, index, self.notes
        )
        for key in ("content", "parts", "contents"):
            content.add(given.get(key))
        if not content.text and not content.done and isinstance(given.get("refusal"), str):
            content.add(given["refusal"])
        for key in REASONING:
            content.add_reasoning(given.get(key))
        return content

    def _add_calls(self, content: FrameworkContent, given: Mapping[str, Any]) -> None:
        for owner in (given, object_or_empty(given.get("additional_kwargs"))):
            if owner is not given:
                for key in REASONING:
                    content.add_reasoning(owner.get(key))
            if not content.calls or owner is given:
                content.add_calls(decode_nested(owner.get("tool_calls")))
            if not content.calls and owner.get("function_call"):
                content.add_calls([owner["function_call"]])


def joined(first: Message, second: Message) -> Message:
    """One turn of two messages of the same answer."""
    thoughts = [each.reasoning for each in (first, second) if each.reasoning]
    return first.model_copy(
        update={
            "content": first.content + second.content,
            "reasoning": "\n".join(thoughts) or None,
            "tool_calls": (*first.tool_calls, *second.tool_calls),
        }
    )


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and (
        str(part.get("type")).lower().replace("-", "_") in RESULTS
        or bool({"functionResponse", "function_response", "toolResult"} & part.keys())
    )


def _is_schema(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") == "function"
        and "parameters" in object_or_empty(value.get("function"))
    )


def _calls_in_text(given: Mapping[str, Any], role: Role) -> list[Any]:
    """Calls that an agent wrote down as the content of a message, a list or its JSON text."""
    content = given.get("content")
    if role not in ("assistant", "tool"):
        return []
    calls = (
        decode_nested(content)
        if isinstance(content, list) or (isinstance(content, str) and content[:1] == "[")
        else None
    )
    is_calls = isinstance(calls, list) and all(
        object_or_empty(call).get("type") == "function"
        and "arguments" in object_or_empty(object_or_empty(call).get("function"))
        and "id" in call
        for call in calls
    )
    return calls if is_calls and calls else []
