"""Reads tool calls that a model wrote as text, in the form of the built-in chat templates."""

from __future__ import annotations

import json

from atlas.errors import ModelError
from atlas.records import Message, ToolCall
from atlas.rendering.openai_messages import encode_arguments
from atlas.rendering.renderer import Renderer
from atlas.rendering.unwritten import ASKED, CALL_ID, EXAMPLE_TOOL

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def read_text_calls(text: str, first_id: int = 0) -> Message:
    """A response with the calls that are its last words; without them if the form is not kept.

    >>> read_text_calls('Hm. <tool_call>{"name": "look", "arguments": {}}</tool_call>').tool_calls
    (ToolCall(id='call00000', name='look', arguments='{}'),)

    Args:
        first_id: the number in the id of the first call. No text has ids.
    """
    plain = Message(role="assistant", content=text)
    words, tag, rest = text.partition(OPEN)
    calls: list[ToolCall] = []
    while tag:
        try:
            call, end = json.JSONDecoder().raw_decode(rest.lstrip())
        except (ValueError, RecursionError):
            return plain
        rest = rest.lstrip()[end:].lstrip()
        is_call = isinstance(call, dict) and call.keys() == {"name", "arguments"}
        if not is_call or not isinstance(call["name"], str) or not rest.startswith(CLOSE):
            return plain
        arguments = encode_arguments(call["arguments"])
        id_ = CALL_ID.format(first_id + len(calls))
        calls.append(ToolCall(id=id_, name=call["name"], arguments=arguments))
        between, tag, rest = rest.removeprefix(CLOSE).partition(OPEN)
        if between.strip():
            return plain
    content = words.removesuffix("\n") if calls else text
    return plain.model_copy(update={"content": content, "tool_calls": tuple(calls)})


def writes_text_calls(renderer: Renderer) -> bool:
    """Whether `read_text_calls` reads back what the chat template of `renderer` writes."""
    call = ToolCall(id=CALL_ID.format(0), name="look", arguments='{"at": "door"}')
    response = Message(role="assistant", content="Hm.", tool_calls=(call,))
    try:
        text = renderer.parts.write_response([ASKED, response], [EXAMPLE_TOOL])
    except ModelError:
        return False
    for end in renderer.ends:
        text = text.removesuffix(str(renderer.tokenizer.decode(list(end))))
    # Llama 2 and Mistral write a space before a response.
    return read_text_calls(text.strip()) == response
