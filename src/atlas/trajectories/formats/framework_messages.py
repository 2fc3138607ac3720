"""Messages as any framework records them -> messages of a trajectory.

Traces and callbacks hold what a framework handed to a model, in the framework's own words: OpenAI,
Anthropic, Gemini, Responses items, LangChain, the AI SDK, OpenTelemetry's GenAI convention. One
reader takes them all, since traces mix them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Message, Role
from atlas.trajectories.formats import langchain_messages
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.langchain_messages import fields_of
from atlas.trajectories.formats.framework_parts import CALLS, RESULTS, Content, read_result
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
# Items of OpenAI's Responses; several may make up one turn.
ITEMS = ("message", "reasoning", *CALLS, *RESULTS)
# Objects of Python that were printed instead of written as JSON.
_REPRESENTATION = re.compile(r"\{'role': '|role='\w+' content=|\w*Message\(|content='.*' additional_kwargs=")
# Settings in a request or a response, next to the messages.
SETTINGS = tuple(
    "tool_choice toolChoice parallel_tool_calls response_format max_completion_tokens "
    "max_output_tokens max_tool_calls n stop seed user stream stream_options store extra_headers "
    "extra_query extra_body extra_args reasoning_effort safety_settings safetySettings labels "
    "generation_config generationConfig http_options config.http_options presence_penalty "
    "frequency_penalty logit_bias timeout betas thinking metadata top_k background truncation "
    "prompt_cache_key safety_identifier sdk_http_response model_version modelVersion "
    "usageMetadata avg_logprobs candidates.avg_logprobs candidates.score "
    "candidates.safety_ratings candidates.safetyRatings invocation_id author actions include "
    "previous_response_id incomplete_details top_logprobs reasoning.effort reasoning.summary "
    "text.format text.verbosity max_retries mode maxSteps config.temperature "
    "config.generation_config config.response_modalities config.thinking_config "
    "config.max_output_tokens config.safety_settings config.automatic_function_calling "
    "config.labels choices.message.annotations llm_output "
    "generations.generation_info".split()
)
# An object with one of these holds messages, or is one.
TELLING_KEYS = (
    "role",
    "messages",
    "choices",
    "candidates",
    "contents",
    "generations",
    "parts",
    "tool_calls",
    "toolCallId",
)


class FrameworkMessages:
    """Reads messages of one model call.

    Attributes:
        notes: what was left out, in words.
        tools: schemas of tools that stood beside the messages.
        system: instructions that stood beside the messages.
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
        value = _decoded(value)
        if value is None or value == "":
            return []
        messages: list[Message] = []
        was_item = False
        for index, given in enumerate(self._unwrapped(value, role)):
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

    def _unwrapped(self, value: Any, role: Role) -> Iterator[dict[str, Any]]:
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
            yield from self._unwrapped_object(value, role)
        else:
            raise BadRowError(f"messages are {value!r:.60}, expected a list of them")

    def _unwrapped_object(self, value: dict[str, Any], role: Role) -> Iterator[dict[str, Any]]:
        kind = langchain_messages.kind_of(value)
        if kind == "remove":
            return
        if kind is not None and (langchain_messages.is_telling(value) or "role" not in value):
            yield langchain_messages.as_chat(value, kind)
            return
        if _is_schema(value.get("content")) and value.get("role") == "tool":
            # LangChain's callbacks append the schemas of tools to the messages.
            self.tools.append(value["content"])
            return
        for key in ("choices", "candidates", "generations"):
            if isinstance(value.get(key), list):
                yield from self._alternatives(value[key], role)
                return
        inner = value.get("message")
        if isinstance(inner, dict):
            yield from self._unwrapped(inner, role)
        elif any(key in value for key in ("messages", "contents")):
            yield from self._request(value)
        elif isinstance(value.get("output"), list) and "role" not in value:
            system = value.get("instructions")
            self.system = system if isinstance(system, str) and system else self.system
            self._take_tools(value)
            yield from self._unwrapped(value["output"], "assistant")
        elif isinstance(value.get("content"), dict) and "parts" in value["content"]:
            yield from self._unwrapped(value["content"], role)
        elif value.get("type") in ITEMS and value["type"] != "message" and "role" not in value:
            yield value
        elif "role" in value or value.get("type") == "message" or "parts" in value:
            yield {"role": role, **value}
        elif any(key in value for key in ("toolCallId", "toolName")):
            yield {**value, "type": "tool_call"}
        elif any(key in value for key in ("content", "tool_calls", *REASONING)):
            yield {"role": role, **value}
        elif isinstance(value.get("prompt"), str | list):
            yield from self._request({**value, "messages": value["prompt"]})
        elif isinstance(value.get("text"), str) and not value.get("type"):
            yield {"role": role, "content": value["text"]}
        else:
            keys = ", ".join(map(str, value))[:80]
            raise BadRowError(f"an object with the keys {keys} holds no messages that are known")

    def _alternatives(self, found: list[Any], role: Role) -> Iterator[dict[str, Any]]:
        if len(found) > 1:
            self.notes[f"{len(found) - 1} further answers to the same request"] = None
        if found:
            yield from self._unwrapped(found[0], role)

    def _request(self, value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The messages of a request, after the system prompt that stands beside them."""
        config = object_or_empty(value.get("config"))
        for owner in (value, config):
            for key in ("system", "system_instruction", "systemInstruction", "system_prompt"):
                if owner.get(key):
                    given = owner[key]
                    content = given.get("parts", given) if isinstance(given, dict) else given
                    yield {"role": "system", "content": content}
            self._take_tools(owner)
        yield from self._unwrapped(value.get("messages", value.get("contents")), "user")

    def _take_tools(self, owner: Mapping[str, Any]) -> None:
        for key in ("tools", "functions"):
            tools = decode_nested(owner.get(key))
            if isinstance(tools, list):
                self.tools += [tool for tool in tools if tool not in self.tools]

    def _message(self, given: Mapping[str, Any], role: Role, index: int) -> list[Message]:
        kind = given.get("type")
        if kind in RESULTS and "role" not in given:
            return [read_result(given, index)]
        name = given.get("role")
        if kind in (*CALLS, "reasoning") and "role" not in given:
            content = Content("assistant", index, self.notes)
            content.add([given])
            return content.messages()
        found = FRAMEWORK_ROLES.get(name.lower()) if isinstance(name, str) else None
        if found is None and name in self._called:
            # Langfuse's handler of LangChain writes the name of the tool as the role.
            found, given = "tool", {**given, "name": name}
        if name is not None and found is None:
            expected = ", ".join(FRAMEWORK_ROLES)
            raise BadRowError(f"role is {name!r:.60}, expected one of {expected}", index)
        role = found or role
        if calls := _calls_in_text(given, role):
            content = Content("assistant", index, self.notes)
            content.add_calls(calls)
            return content.messages()
        return self._of_role(given, role, index)

    def _of_role(self, given: Mapping[str, Any], role: Role, index: int) -> list[Message]:
        fields = given.keys() & {"content", "parts", "contents", "tool_calls", "function_call"}
        if not fields and not any(given.get(key) for key in (*REASONING, "refusal", "content")):
            keys = ", ".join(map(str, given))[:80]
            reason = f"no 'content', expected the text of the message (its keys: {keys})"
            # A message without content, calls or reasoning still has its place.
            if given.keys() - {"role", "name", "id", "index", "type", "finish_reason", "status"}:
                raise BadRowError(reason, index)
        content = Content(role, index, self.notes)
        if role == "tool" and isinstance(given.get("parts", given.get("content")), list):
            content = self._results(given, index)
        else:
            for key in ("content", "parts", "contents"):
                content.add(given.get(key))
        if not content.text and not content.done and isinstance(given.get("refusal"), str):
            content.add(given["refusal"])
        for key in REASONING:
            content.add_reasoning(given.get(key))
        content.add_calls(decode_nested(given.get("tool_calls")))
        for owner in (given, object_or_empty(given.get("additional_kwargs"))):
            if not content.calls and owner.get("function_call"):
                content.add_calls([owner["function_call"]])
            if not content.calls and owner is not given:
                content.add_calls(decode_nested(owner.get("tool_calls")))
                for key in REASONING:
                    content.add_reasoning(owner.get(key))
        name, id_ = given.get("name"), given.get("tool_call_id", given.get("call_id"))
        if role == "tool" and id_ is None:
            id_ = given.get("id")
        return content.messages(
            tool_call_id=str(id_) if isinstance(id_, str | int) and role == "tool" else None,
            name=name if isinstance(name, str) and name else None,
        )

    def _results(self, given: Mapping[str, Any], index: int) -> Content:
        """The content of a message of a tool: result parts, or the parts of one result."""
        parts = given.get("parts", given.get("content"))
        marked = [
            part
            for part in parts or []
            if isinstance(part, dict)
            and (
                str(part.get("type", "")).replace("-", "_") in RESULTS
                or {"functionResponse", "function_response", "toolResult"} & part.keys()
            )
        ]
        content = Content("user" if marked else "tool", index, self.notes)
        if marked or "parts" in given:
            content.role = "user"
            content.add(parts)
            content.role = "user" if marked else "tool"
        else:
            content.add(parts)
        return content


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


def holds_messages(value: Any) -> bool:
    """Whether a decoded value looks like messages, or an object that holds them."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, dict | list) for each in value) and all(
            holds_messages(each) for each in value[:3]
        )
    if not isinstance(value, dict):
        return False
    return (
        any(key in value for key in TELLING_KEYS)
        or isinstance(value.get("message"), dict)
        or langchain_messages.is_telling(value)
        or (value.get("type") in ITEMS and bool(value.keys() & {"content", "name", "summary"}))
        or (isinstance(value.get("content"), dict) and "parts" in value["content"])
        or (value.get("object") == "response" and isinstance(value.get("output"), list))
        or set(value) == {"content"}
    )


def _decoded(value: Any) -> Any:
    """A JSON text of messages as its value; any other text is words."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        decoded = decode_nested(value)
        return decoded if holds_messages(decoded) else value
    return value


def as_words(value: Any) -> Any:
    """An answer that is data, and not a message, as the JSON text that a model wrote."""
    decoded = _decoded(value)
    if isinstance(decoded, dict | list) and not holds_messages(decoded):
        return json.dumps(decoded, ensure_ascii=False)
    return decoded


def finish_reason_of(answered: Any) -> str | None:
    """Why the model stopped, where its answer says so."""
    found: Any = None
    value = decode_nested(answered)
    for key in ("choices", "candidates"):
        if isinstance(value, dict) and isinstance(value.get(key), list):
            value = value[key]
    value = value[-1] if isinstance(value, list) and value else value
    if isinstance(value, dict):
        inner = (value, object_or_empty(value.get("message")), fields_of(value))
        names = ("finish_reason", "finishReason", "stop_reason", "done_reason")
        owners = (*inner, *(object_or_empty(one.get("response_metadata")) for one in inner))
        found = next((one[name] for one in owners for name in names if one.get(name)), None)
        if value.get("status") == "incomplete":
            found = object_or_empty(value.get("incomplete_details")).get("reason", "incomplete")
    return found if isinstance(found, str) else None


def _is_schema(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") == "function"
        and "parameters" in object_or_empty(value.get("function"))
    )


def _calls_in_text(given: Mapping[str, Any], role: Role) -> list[Any]:
    """Calls that an agent wrote down as the JSON text of a message."""
    text = given.get("content")
    if role not in ("assistant", "tool") or not isinstance(text, str) or text[:1] != "[":
        return []
    calls = decode_nested(text)
    is_calls = isinstance(calls, list) and all(
        object_or_empty(call).get("type") == "function"
        and "arguments" in object_or_empty(object_or_empty(call).get("function"))
        and "id" in call
        for call in calls
    )
    return calls if is_calls and calls else []
