"""What an endpoint reports besides an answer: token counts and names, checked."""

from __future__ import annotations

from typing import Any

from atlas.records import Usage
from atlas.terminal.visible_text import one_line

# Maximum tokens of one answer or question. The longest context today has 10 million.
MOST_TOKENS = 100_000_000
# Maximum characters of a name, for example of a model.
LONGEST_NAME = 100


def read_usage(sent: Any, received: Any, text: str) -> tuple[Usage, bool]:
    """The usage of one request that was answered with `text`, and whether both counts are known.

    A count that is missing or cannot be true is 0.

    >>> read_usage(100, 7, "Yes.")
    (Usage(requests=1, input_tokens=100, output_tokens=7), True)
    >>> read_usage(100, 10**400, "Yes.")
    (Usage(requests=1, input_tokens=100, output_tokens=0), False)
    """
    counts = read_count(sent), read_count(received)
    # Every question has at least one token, and so has every answer with text.
    is_known = bool(counts[0]) and (counts[1] is not None if not text else bool(counts[1]))
    usage = Usage(requests=1, input_tokens=counts[0] or 0, output_tokens=counts[1] or 0)
    return usage, is_known


def read_name(given: Any) -> str | None:
    """A name, such as that of the model, as one short line; None if it is not text."""
    if not isinstance(given, str):
        return None
    return one_line(given[: 10 * LONGEST_NAME], LONGEST_NAME) or None


def read_count(given: Any) -> int | None:
    """A count that may be true; otherwise None."""
    # Some servers write whole numbers as 12.0.
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    is_count = isinstance(given, int) and not isinstance(given, bool)
    return given if is_count and 0 <= given <= MOST_TOKENS else None
