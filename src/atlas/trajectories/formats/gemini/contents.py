"""Contents of Gemini's API -> turns: `{"role", "parts"}`, in camelCase or snake_case.

A part is text, thought, call, response of a function, code that the service ran, or a file. What
the service ran is a call; its result stands in the next observation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError

ROLES: dict[str, Role] = {
    "user": "user",
    "model": "assistant",
    "assistant": "assistant",
    "gemini": "assistant",
    "function": "user",
    "tool": "user",
    "system": "system",
}
CODE = "code_execution"
CALL_KEYS = frozenset(("id", "name", "args", "partialArgs", "willContinue"))
PART_KEYS = frozenset(
    (
        "text",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "inlineData",
        "fileData",
    )
)
# Parts of other dialects have one of them.
OTHER_KEYS = frozenset(("type", "part_kind", "kind"))
# They say nothing of what was said.
PART_METADATA = ("thoughtSignature", "thought_signature", "videoMetadata", "video_metadata")
CONTENTS_METADATA = tuple(
    f"*.{key}"
    for key in (
        *PART_METADATA,
        "thought",
        "inlineData",
        "inline_data",
        "fileData",
        "file_data",
        "usageMetadata",
        "outcome",
    )
)


def is_contents(value: Any) -> bool:
    """Whether a value is a list of contents; parts of other dialects have a type."""
    first = object_or_empty(value[0]) if isinstance(value, list) and value else {}
    parts = first.get("parts")
    if not isinstance(parts, list) or "content" in first:
        return False
    if not parts:
        return isinstance(first.get("role"), str)
    return all(
        isinstance(part, dict)
        and not OTHER_KEYS & part.keys()
        and any(_camel(key) in PART_KEYS for key in part)
        for part in parts
    )


def turns_of_contents(contents: Sequence[Any]) -> list[Turn]:
    """The turns of contents; what the model said in several of them in a row is one turn.

    Raises:
        BadRowError: something is not a content; the error names which.
    """
    turns: list[Turn] = []
    for index, content in enumerate(contents):
        for message in messages_of_content(content, index):
            if turns and message.role == "assistant" == turns[-1].message.role:
                turns[-1] = Turn(joined(turns[-1].message, message))
            else:
                turns.append(Turn(message))
    return turns


def messages_of_content(content: Any, index: int, role: Role | None = None) -> Iterator[Message]:
    """The messages of one content: results apart from what was said.

    Raises:
        BadRowError: it is not a content, or has a part that is not known.
    """
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        raise BadRowError(
            f"{content!r:.60} is not a content, expected an object with 'role' and 'parts'", index
        )
    spelled = content.get("role") or "user"
    found = role or (ROLES.get(spelled.lower()) if isinstance(spelled, str) else None)
    if found is None:
        raise BadRowError(f"role is {spelled!r:.60}, expected one of {', '.join(ROLES)}", index)
    yield from messages_of_parts(content["parts"], found, index)


def messages_of_parts(parts: Any, role: Role, index: int) -> Iterator[Message]:
    """The messages of the parts of one content, in their order.

    Raises:
        BadRowError: a part is not known.
    """
    said = _Said(role)
    for part in parts if isinstance(parts, list) else [parts]:
        result = said.take({"text": part} if isinstance(part, str) else part, index)
        if result is not None:
            yield from said.message()
            said.is_untold = False
            yield result
    yield from said.message()
    if said.is_untold:
        yield Message(role=role)


def text_of_parts(value: Any, index: int) -> str:
    """The text of a content, of parts or of a text, as in a system instruction."""
    if isinstance(value, str):
        return value
    given = object_or_empty(value).get("parts", value)
    return "".join(message.content for message in messages_of_parts(given, "system", index))


def joined(first: Message, second: Message) -> Message:
    """Two parts of one generation."""
    return first.model_copy(
        update={
            "content": first.content + second.content,
            "reasoning": (first.reasoning or "") + (second.reasoning or "") or None,
            "tool_calls": (*first.tool_calls, *second.tool_calls),
        }
    )


def read_declarations(value: Any) -> tuple[dict[str, Any], ...] | None:
    """Declarations of functions as tools in OpenAI's form, others as they came; None if unlike."""
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(tool, dict) for tool in given):
        return None
    tools: list[dict[str, Any]] = []
    for tool in given:
        key = next(
            (
                key
                for key in ("functionDeclarations", "function_declarations")
                if isinstance(tool.get(key), list)
            ),
            None,
        )
        if key is None:
            tools.append(tool)
            continue
        if not all(isinstance(each, dict) for each in tool[key]):
            return None
        tools += [{"type": "function", "function": each} for each in tool[key]]
        if others := {name: rest for name, rest in tool.items() if name != key}:
            tools.append(others)
    return tuple(tools)


class _Said:
    """What was said since the last result."""

    def __init__(self, role: Role) -> None:
        self._role: Role = role
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self.is_untold = True

    def take(self, part: Any, index: int) -> Message | None:
        """Take a part; return it where it is a result.

        Raises:
            BadRowError: the part is not known.
        """
        if not isinstance(part, dict):
            raise BadRowError(f"a part is {part!r:.60}, expected an object", index)
        fields = {
            _camel(key): value
            for key, value in part.items()
            if value is not None and key not in PART_METADATA
        }
        thought = fields.pop("thought", False)
        text = fields.get("text")
        if isinstance(thought, str):
            self._thoughts.append(thought)
        if isinstance(text, str):
            (self._thoughts if thought is True else self._texts).append(text)
        elif (call := fields.get("functionCall")) is not None:
            self._calls.append(_call(call, index))
        elif (code := fields.get("executableCode")) is not None:
            arguments = json.dumps(object_or_empty(code), ensure_ascii=False)
            self._calls.append(ToolCall(name=CODE, arguments=arguments))
        elif (response := fields.get("functionResponse")) is not None:
            return _response(response, index)
        elif (result := fields.get("codeExecutionResult")) is not None:
            content = text_or_none(object_or_empty(result).get("output")) or ""
            return Message(role="tool", content=content, name=CODE)
        elif "inlineData" in fields or "fileData" in fields:
            self._file(fields, index)
        elif fields and not isinstance(thought, str):
            raise BadRowError(
                f"a part has the keys {', '.join(map(str, fields))[:80]}, expected text, "
                "functionCall, functionResponse, or a file",
                index,
            )
        return None

    def message(self) -> Iterator[Message]:
        """The message of all that was taken, if anything was."""
        if self._texts or self._thoughts or self._calls:
            if self._calls and self._role != "assistant":
                raise BadRowError(
                    "a call of a function stands in a content that is not the model's"
                )
            yield Message(
                role=self._role,
                content="".join(self._texts),
                reasoning="".join(self._thoughts) or None,
                tool_calls=tuple(self._calls),
            )
            self.is_untold = False
        self._texts, self._thoughts, self._calls = [], [], []

    def _file(self, fields: Mapping[str, Any], index: int) -> None:
        if self._role == "assistant":
            raise BadRowError("the answer of the model has a file, expected text or calls", index)
        data = object_or_empty(fields.get("inlineData", fields.get("fileData")))
        kind = data.get("mimeType", data.get("mime_type"))
        name = kind.partition("/")[0] if isinstance(kind, str) else ""
        self._texts.append(f"[{name if name in ('image', 'audio', 'video') else 'file'}]")


def _call(given: Any, index: int) -> ToolCall:
    call = object_or_empty(given)
    name, args = call.get("name"), call.get("args")
    if not isinstance(name, str) or not name:
        raise BadRowError("a functionCall has no name, expected {'name', 'args'}", index)
    if args is None and (unknown := [str(key) for key in call if key not in CALL_KEYS]):
        raise BadRowError(
            f"the functionCall {name!r:.60} has no args, but the keys {', '.join(unknown)[:80]}",
            index,
        )
    if args is not None and not isinstance(args, dict | str):
        raise BadRowError(
            f"the args of functionCall {name!r:.60} are {args!r:.60}, expected an object", index
        )
    arguments = args if isinstance(args, str) else json.dumps(args or {}, ensure_ascii=False)
    return ToolCall(id=text_or_none(call.get("id")), name=name, arguments=arguments)


def _response(given: Any, index: int) -> Message:
    """The result of a function: its output where that is all, else its JSON, and its files."""
    response = object_or_empty(given)
    value = response.get("response")
    text = value
    if isinstance(value, dict) and len(value) == 1:
        text = next((value[key] for key in ("output", "error", "result") if key in value), value)
    content = text if isinstance(text, str) else _json(value)
    if isinstance(response.get("parts"), list):
        content += "".join(
            message.content for message in messages_of_parts(response["parts"], "tool", index)
        )
    return Message(
        role="tool",
        content=content,
        tool_call_id=text_or_none(response.get("id")),
        name=text_or_none(response.get("name")),
    )


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _camel(key: Any) -> str:
    first, *others = str(key).split("_")
    return first + "".join(word.capitalize() for word in others)
