"""Simulates a trainer: renders the whole conversation and finds the flagged turns in it.

The method differs on purpose from rendering/renderer.py, which renders the conversation message by
message. Here the whole conversation is rendered once, and again with one turn replaced. The turn is
where the two texts differ. Trainers that use flags, such as axolotl, find turns like this. If two
different methods agree, the result is more reliable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.errors import ModelError
from atlas.records import Message
from atlas.rendering.renderer import Renderer
from atlas.rendering.text_prefix import num_common

# Private use characters: no template trims them, and no text begins or ends with them.
_STAND_IN = "\ue000\ue001"


Tokens = tuple[int, ...]
# The tokens before a supervised turn, and the tokens of the turn.
SupervisedTurn = tuple[Tokens, Tokens]


def simulate_trainer(
    renderer: Renderer,
    messages: Sequence[Message],
    supervised: Sequence[bool],
    tools: Sequence[Mapping[str, Any]] = (),
) -> dict[int, SupervisedTurn]:
    """The supervised turns of a conversation by the index of their message.

    Args:
        tools: the tool schemas in the row.

    Raises:
        ModelError: the chat template refuses the conversation, or does not support system messages.
            The renderer moves system text into user turns, but a trainer does not.
    """
    if renderer.folds_system and any(message.role == "system" for message in messages):
        raise ModelError(
            f"the chat template of {renderer.name} has no system turn: a trainer that renders this "
            "row refuses it, or loses the system text. Use --to trl, which holds the tokens."
        )
    text = renderer.render(messages, tools=tools)
    encoded = renderer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = tuple(encoded["input_ids"]), encoded["offset_mapping"]
    header = _generation_header(renderer)
    closings = [str(renderer.tokenizer.decode(list(end))) for end in renderer.ends]
    found: dict[int, SupervisedTurn] = {}
    for index in (index for index, flag in enumerate(supervised) if flag):
        start, end = _turn(renderer, text, messages, index, header, closings, tools)
        end = _after_closing(text, end, messages[index], closings)
        inside = [place for place, (low, high) in enumerate(offsets) if start <= low < high <= end]
        first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)
        found[index] = ids[:first], ids[first:last]
    return found


def _turn(
    renderer: Renderer,
    text: str,
    messages: Sequence[Message],
    index: int,
    header: str,
    closings: Sequence[str],
    tools: Sequence[Mapping[str, Any]],
) -> tuple[int, int]:
    """Characters [start, end) that the message at `index` adds to `text` after the header."""
    other = renderer.render(
        [*messages[:index], Message(role="assistant", content=_STAND_IN), *messages[index + 1 :]],
        tools=tools,
    )
    start = num_common(text, other)
    end = len(text) - num_common(text[start:][::-1], other[start:][::-1])
    if not header:
        # The text has no generation prompt, so the turn begins where the messages before it end.
        before = renderer.render(messages[:index], tools=tools) if index else ""
        start = len(before) if text.startswith(before) else start
    elif (opened := text.rfind(header, 0, start)) >= 0:
        opened += len(header)
        # An empty <think> block that both texts open with belongs to the turn. The header of an
        # earlier turn, which is closed, does not: some templates write none after results of tools.
        if not any(closing in text[opened:start] for closing in closings):
            start = opened
    return start, end


def _after_closing(text: str, end: int, message: Message, closings: Sequence[str]) -> int:
    """The end of a turn with the token that closes it.

    A turn with a call may be closed by another token than the turn that stood in for it
    (`<|call|>`, `<|end|>`). Then the texts differ in that token, or only in a part of it.
    """
    if message.tool_calls and any(text.endswith(closing, 0, end) for closing in closings[1:]):
        return end
    for closing in closings if message.tool_calls else closings[:1]:
        parts = range(len(closing)) if message.tool_calls else (0,)
        for part in parts:
            if text.startswith(closing, max(0, end - part)):
                return end - part + len(closing)
    return end


def _generation_header(renderer: Renderer) -> str:
    question = [Message(role="user", content="a")]
    return renderer.render(question, open_turn=True).removeprefix(renderer.render(question))
