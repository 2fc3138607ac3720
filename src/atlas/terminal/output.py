"""Output on terminals that cannot show every character: `text -> the nearest ASCII`."""

from __future__ import annotations

import codecs
import sys
from contextlib import suppress

HANDLER = "atlas.nearest"
# The signs that the commands print. All other characters become escapes.
NEAREST = {
    "…": "...",
    "▶": ">",
    "⟦": "[[",
    "⟧": "]]",
    "×": "x",
    "÷": "/",
    "≤": "<=",
    "≥": ">=",
    "−": "-",
    "–": "-",
    "—": "-",
    "·": "-",
    "→": "->",
    "█": "#",
    "━": "-",
    "─": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "\u00a0": " ",
    "\u202f": " ",
}


def tolerate_encodings() -> None:
    """Make both output streams replace characters that they cannot encode."""
    codecs.register_error(HANDLER, _nearest)
    for stream in (sys.stdout, sys.stderr):
        # A stream that a caller replaced may have no encoding.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors=HANDLER)  # type: ignore[union-attr]


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    written = (
        NEAREST.get(character) or character.encode("ascii", "backslashreplace").decode()
        for character in characters
    )
    return "".join(written), error.end
