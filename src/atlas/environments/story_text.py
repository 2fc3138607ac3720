"""What worlds made of story files (Z-machine games) share: commands in, words out."""

from __future__ import annotations

import re

# They steer the program, not the game: some write files. `oops save` stands for `save`.
PROGRAM_COMMANDS = frozenset(
    "quit q restart restore save undo script noscript unscript transcript recording replay verify "
    "version oops restrict".split()
)
# What TextWorld adds to its games to look into them.
PROGRAM_PREFIXES = ("tw-", "$", "#")
MAX_CHARACTERS = 200
NO_COMMAND = "That is not a command."
SEVERAL_COMMANDS = "That is more than one command. Give one."
# What separates commands.
_COMMANDS = re.compile(r"\.|\bthen\b")
# What may separate commands, in one story or another.
_PARTS = re.compile(r"[.,;:!?\"]|\bthen\b|\band\b")
# The prompt with the status line after it, and the question at the end of a game.
_PROMPT = re.compile(r"\n\s*>.*|\nWould you like to RESTART.*", re.DOTALL)


def story_command(action: str) -> str | None:
    """The action as a story reads it: printable ASCII, lower case; None if it is no command.

    That is so if nothing is left, or if the program would obey a part of it.
    """
    text = " ".join(re.sub(r"[^ -~]", " ", action).lower().split())[:MAX_CHARACTERS]
    for part in _PARTS.split(text):
        first = part.strip().partition(" ")[0]
        if first in PROGRAM_COMMANDS or first.startswith(PROGRAM_PREFIXES):
            return None
    return text.rstrip(" .") if re.search(r"[a-z]", text) else None


def single_commands(command: str) -> list[str]:
    """The commands of a line: a story carries out `look. go north` and `look then wait` in turn."""
    return [part for found in _COMMANDS.split(command) if (part := found.strip())]


def story_words(text: str) -> str:
    """The words of a story without prompt, status line, and empty lines in a row."""
    lines = (line.strip() for line in _PROMPT.sub("", f"\n{text}").strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
