"""How a chat template opens and closes a turn, read off conversations of a few words."""

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
    """What a template writes around a response.

    Attributes:
        thinking_opener: the end of the generation prompt (`<think>` and a newline) that the template itself leaves out when it
            writes the response down, because it strips thinking; empty where a written response continues its generation prompt.
        end_of_turn: the tokens that close a response, for instance `<|im_end|>`.
        tail: the text between the end of turn and the next message (ChatML's newline).
        finale: the text after the last message of a conversation, and after no other (Phi-3's `<|endoftext|>`).
    """

    thinking_opener: str
    end_of_turn: tuple[int, ...]
    tail: str
    finale: str


def read_turn_shape(
    render: Callable[[Sequence[Message], bool], str], tokenizer: Any, name: str
) -> TurnShape:
    """The shape of a template's turns; `render` takes messages and whether to open a turn, `name` is the model's in errors.

    Raises:
        ModelError: the template does not continue its own generation prompt, or closes a turn without a special token.
    """
    question, answer = (
        Message(role="user", content=_ASKED),
        Message(role="assistant", content=_ANSWER),
    )
    opened, closed = render([question], True), render([question, answer], False)
    goes_on = render([question, answer, Message(role="user", content=_ASKED_AGAIN)], False)
    parts_at = next(
        (
            place
            for place, (one, other) in enumerate(zip(opened, closed, strict=False))
            if one != other
        ),
        len(opened),
    )
    opener = opened[parts_at:]
    if _ANSWER not in closed or _ANSWER not in goes_on or (opener and opener.strip() != THINK):
        raise ModelError(
            f"the chat template of {name} does not continue its own generation prompt with the response."
        )
    closing, going_on = closed.partition(_ANSWER)[2], goes_on.partition(_ANSWER)[2]
    num_kept = (
        len(closing) if going_on.startswith(closing) else _num_common(tokenizer, closing, going_on)
    )
    finale, closing = closing[num_kept:], closing[:num_kept]
    encoded = tokenizer(closing, add_special_tokens=False, return_offsets_mapping=True)
    special_ids = {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    } | set(tokenizer.all_special_ids)
    special = [place for place, token in enumerate(encoded["input_ids"]) if token in special_ids]
    if not special:
        raise ModelError(
            f"the chat template of {name} closes a turn without a special token ({closing!r}), so a tuned model would never "
            "learn to stop. Use a template that ends each turn with one, such as <|im_end|>."
        )
    end = special[-1]
    return TurnShape(
        opener,
        tuple(encoded["input_ids"][: end + 1]),
        closing[encoded["offset_mapping"][end][1] :],
        finale,
    )


def _num_common(tokenizer: Any, one: str, other: str) -> int:
    """How many characters of `one` belong to tokens that both texts begin with: `<|end` is no beginning of `<|endoftext|>`."""
    first, second = (
        tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for text in (one, other)
    )
    end = 0
    for token, span, there in zip(
        first["input_ids"], first["offset_mapping"], second["input_ids"], strict=False
    ):
        if token != there:
            break
        end = span[1]
    return end
