"""Finds out from short conversations how a chat template opens and closes a turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.errors import ModelError
from atlas.records import Message
from atlas.rendering.chat_messages import THINK

_ASKED, _ANSWER, _ASKED_AGAIN = "Which?", "Xyzzy", "Why?"


@dataclass(frozen=True, slots=True)
class TurnShape:
    """The text and tokens that a template writes around a response.

    Attributes:
        thinking_opener: the end of the generation prompt (`<think>` and a newline) that the
            template omits when it writes the response, because it strips thinking. Empty if a
            written response continues its generation prompt.
        end_of_turn: the tokens that close a response, for instance `<|im_end|>`.
        tail: the text between the end of turn and the next message (ChatML's newline).
        finale: the text after the last message of a conversation only (Phi-3's `<|endoftext|>`).
    """

    thinking_opener: str
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
    opener = opened[_first_difference(opened, closed) :]
    if _ANSWER not in closed or _ANSWER not in goes_on or (opener and opener.strip() != THINK):
        raise ModelError(
            f"the chat template of {name} does not continue its own generation prompt with the "
            "response. Give a model whose template does, or fix the template."
        )
    closing, going_on = closed.partition(_ANSWER)[2], goes_on.partition(_ANSWER)[2]
    num_kept = len(closing)
    if not going_on.startswith(closing):
        num_kept = _num_common(tokenizer, closing, going_on)
    finale, closing = closing[num_kept:], closing[:num_kept]
    encoded = _encode(tokenizer, closing)
    added = tokenizer.added_tokens_decoder.items()
    special_ids = {*tokenizer.all_special_ids, *(index for index, token in added if token.special)}
    special = [place for place, token in enumerate(encoded["input_ids"]) if token in special_ids]
    if not special:
        raise ModelError(
            f"the chat template of {name} closes a turn without a special token ({closing!r}), so "
            "a tuned model would never learn to stop. Use a template that ends each turn with one, "
            "such as <|im_end|>."
        )
    end = special[-1]
    return TurnShape(
        opener,
        tuple(encoded["input_ids"][: end + 1]),
        closing[encoded["offset_mapping"][end][1] :],
        finale,
    )


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
