"""Finds out from short conversations how a chat template opens and closes a turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.errors import ModelError
from atlas.records import Message, ToolCall
from atlas.rendering.chat_messages import THINK
from atlas.rendering.conversation_turns import Writer

_ASKED, _ANSWER, _ASKED_AGAIN = "Which?", "Xyzzy", "Why?"


@dataclass(frozen=True, slots=True)
class TurnShape:
    """The text and tokens that a template writes around a response.

    Attributes:
        opener: the end of the generation prompt that the template omits when it writes a response:
            `<think>` and a newline, or an empty block of thoughts. Empty if a written response
            continues its generation prompt.
        thinking: the end of the generation prompt that opens thinking; empty if none is opened.
        end_of_turn: the tokens that close a response, for instance `<|im_end|>`.
        tail: the text between the end of turn and the next message (ChatML's newline).
        finale: the text after the last message of a conversation only (Phi-3's `<|endoftext|>`).
    """

    opener: str
    thinking: str
    end_of_turn: tuple[int, ...]
    tail: str
    finale: str


def read_turn_shape(
    render: Callable[[Sequence[Message], bool], str], tokenizer: Any, name: str
) -> TurnShape:
    """The shape of a template's turns.

    Args:
        render: a function (messages, whether to open a turn) -> text.
        name: the model's name for error messages.

    Raises:
        ModelError: the template does not continue its own generation prompt, or closes a turn
            without a special token.
    """
    question = Message(role="user", content=_ASKED)
    answer = Message(role="assistant", content=_ANSWER)
    opened, closed = render([question], True), render([question, answer], False)
    goes_on = render([question, answer, Message(role="user", content=_ASKED_AGAIN)], False)
    found = re.search(rf"{THINK}\s*\Z", opened)
    thinking = found.group() if found else ""
    end = _first_difference(opened, closed)
    # The template may write an empty block of thinking where the prompt opens one.
    opener = opened[min(end, len(opened) - len(thinking)) :] if end < len(opened) else ""
    asked = render([question], False)
    is_lost = _ANSWER not in closed or _ANSWER not in goes_on
    if is_lost or (opener and not opened.removesuffix(opener).startswith(asked)):
        raise ModelError(
            f"the chat template of {name} does not continue its own generation prompt with the "
            "response. Give a model whose template does, or fix the template."
        )
    closing, going_on = closed.partition(_ANSWER)[2], goes_on.partition(_ANSWER)[2]
    num_kept = len(closing)
    if not going_on.startswith(closing):
        num_kept = _num_common(tokenizer, closing, going_on)
    if not _special_places(tokenizer, closing[:num_kept]):
        # Only the last turn ends in this way (gpt-oss, OLMo-3). It is what a model generates.
        num_kept = len(closing)
    finale, closing = closing[num_kept:], closing[:num_kept]
    encoded = _encode(tokenizer, closing)
    special = _special_places(tokenizer, closing)
    if not special:
        raise ModelError(
            f"the chat template of {name} closes a turn without a special token ({closing!r}), so "
            "a tuned model would never learn to stop. Use a template that ends each turn with one, "
            "such as <|im_end|>."
        )
    end = special[-1]
    return TurnShape(
        opener,
        thinking,
        tuple(encoded["input_ids"][: end + 1]),
        closing[encoded["offset_mapping"][end][1] :],
        finale,
    )


def read_end_of_call(writer: Writer, tokenizer: Any) -> int | None:
    """The special token that ends a turn with a call, or None if there is none."""
    call = ToolCall(id="call_1", name="xyzzy", arguments='{"plugh": "Frotz"}')
    chat = [Message(role="user", content=_ASKED), Message(role="assistant", tool_calls=(call,))]
    try:
        text = writer.response(chat, ())
    except ModelError:
        return None
    last: int | None = next(iter(_encode(tokenizer, text)["input_ids"][::-1]), None)
    token = tokenizer.added_tokens_decoder.get(last)
    return last if call.name in text and token is not None and token.special else None


def _special_places(tokenizer: Any, text: str) -> list[int]:
    """The places of special tokens among the tokens of a text."""
    added = tokenizer.added_tokens_decoder.items()
    special_ids = {*tokenizer.all_special_ids, *(index for index, token in added if token.special)}
    ids = _encode(tokenizer, text)["input_ids"]
    return [place for place, token in enumerate(ids) if token in special_ids]


def _first_difference(text: str, other: str) -> int:
    pairs = enumerate(zip(text, other, strict=False))
    return next((place for place, (one, two) in pairs if one != two), len(text))


def _num_common(tokenizer: Any, one: str, other: str) -> int:
    """The number of characters in the tokens that both texts begin with.

    Whole tokens are compared, because `<|end` is not a common beginning with `<|endoftext|>`.
    """
    first, second = _encode(tokenizer, one), _encode(tokenizer, other)
    end = 0
    tokens = zip(first["input_ids"], second["input_ids"], first["offset_mapping"], strict=False)
    for token, there, (_, stop) in tokens:
        if token != there:
            break
        end = stop
    return end


def _encode(tokenizer: Any, text: str) -> Any:
    return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
