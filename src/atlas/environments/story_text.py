"""What worlds made of story files (Z-machine games) share: commands in, words out."""

from __future__ import annotations

import re

# They steer the program, not the game.
PROGRAM_COMMANDS = frozenset(
    ("quit", "q", "restart", "restore", "save", "undo", "script", "transcript", "verify", "version")
)
MAX_CHARACTERS = 200
NO_COMMAND = "That is not a command."
# The prompt with the status line after it, and the question at the end of a game.
_PROMPT = re.compile(r"\n\s*>.*|\nWould you like to RESTART.*", re.DOTALL)


def story_command(action: str) -> str | None:
    """The action as a story reads it: printable ASCII, lower case; None if nothing is left."""
    text = " ".join(re.sub(r"[^ -~]", " ", action).lower().split())[:MAX_CHARACTERS]
    first = text.partition(" ")[0]
    return None if first in PROGRAM_COMMANDS or not re.search(r"[a-z]", text) else text


def story_words(text: str) -> str:
    """The words of a story without prompt, status line, and empty lines in a row."""
    lines = (line.strip() for line in _PROMPT.sub("", f"\n{text}").strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
