"""Thinking in tags before the JSON of calls, as LLaMA-Factory writes a turn of calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any

# Where the JSON of calls may begin after thinking.
_END_OF_THINKING = re.compile(r"</think>\s*(?=[\[{])")
MAX_ENDS = 20


def split_thinking(content: Any, decode: Callable[[Any], Any]) -> tuple[str, Any] | None:
    """The thinking, and the value of the JSON after it; None if a text is anything else.

    Args:
        decode: gives the value of a JSON text, and any other text as it is.
    """
    if not isinstance(content, str) or not content.lstrip().startswith("<think>"):
        return None
    # The thinking and the arguments may hold the tag too.
    for end in islice(_END_OF_THINKING.finditer(content), MAX_ENDS):
        value = decode(content[end.end() :])
        if not isinstance(value, str):
            thought = content[: end.start()].lstrip().removeprefix("<think>")
            return thought.removeprefix("\n").removesuffix("\n"), value
    return None
