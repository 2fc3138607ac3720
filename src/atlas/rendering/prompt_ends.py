"""Finds a response where the template does not write the end of the prompt before it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from atlas.records import Message
from atlas.rendering.chat_messages import END_OF_THINKING, THINK, thinking_before
from atlas.rendering.text_prefix import num_common


def response_after(
    opened: str, text: str, message: Message, opener: str, markup: Sequence[str]
) -> str | None:
    """The response as it follows the prompt `opened`, which `text` does not begin with.

    Args:
        text: what the template writes through the response.
        opener: the end of a generation prompt that the template never writes.
        markup: the tokenizer's added tokens.

    Returns:
        None if the template writes the messages before the response in another way.
    """
    block = re.search(rf"{THINK}\s*({END_OF_THINKING}\s*)?\Z", opened)
    end = block.group() if block else opener
    header = opened.removesuffix(end)
    if not end or not text.startswith(header):
        return _after_closing_tokens(opened, text, markup)
    written = text[len(header) :]
    if not block:
        return written
    if block.group(1):
        # The model is given an empty block, and cannot think in it.
        return re.sub(rf"\A{THINK}.*?{END_OF_THINKING}\s*", "", written, flags=re.DOTALL)
    # The template writes an empty block where the model has been given an open one.
    empty = re.match(rf"{THINK}\s*{END_OF_THINKING}", written)
    if empty:
        return END_OF_THINKING + written[empty.end() :]
    return thinking_before(message, written) + written


def _after_closing_tokens(opened: str, text: str, markup: Sequence[str]) -> str | None:
    """The response after a prompt whose end is markup that the template does not write.

    DeepSeek-V3 closes the results of tools only where no call follows, and Gemma-4 closes a turn
    with a call and words only where nothing follows.
    """
    tokens = "|".join(map(re.escape, markup))
    start = num_common(opened, text)
    # Both may begin with another token of the same first letters.
    for side in (opened, text):
        low = max(0, start - 100)
        for found in re.finditer(tokens, side[low : start + 100]):
            if low + found.start() < start < low + found.end():
                start = low + found.start()
    if not tokens or not re.fullmatch(rf"(?:{tokens}|\s)*", opened[start:]):
        return None
    return text[start:]
