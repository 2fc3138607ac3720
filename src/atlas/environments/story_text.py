"""What worlds made of story files (Z-machine games) share: commands in, words out."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_filters = threading.Lock()
# They steer the program, not the game, and some write files; `oops save` stands for `save`.
PROGRAM_COMMANDS = frozenset(
    (
        *("quit", "q", "restart", "restore", "save", "undo", "verify", "version", "oops"),
        *("script", "noscript", "unscript", "transcript", "recording", "replay", "restrict"),
    )
)
# Commands that look into a story, or into a game of TextWorld.
PROGRAM_PREFIXES = ("tw-", "$", "#")
MAX_CHARACTERS = 200
NO_COMMAND = "That is not a command of the game. Give one command."
# `look then go north` is two commands; `turtle, go north then east` is one order.
_THEN = re.compile(r"\bthen\b", re.IGNORECASE)
# What starts a command in one story or another.
_BETWEEN_PARTS = re.compile(r"[.,;:!?\"]|\b(?:then|and)\b")
# The prompt with the status line after it, and the question at the end of a game.
_PROMPT = re.compile(r"^(?:[^\S\n]*>|Would you like to RESTART).*", re.DOTALL | re.MULTILINE)


@contextmanager
def unknown_stories_allowed() -> Iterator[None]:
    """Without jericho's warning of a story that it does not know; for one thread at a time.

    Two threads that change the filters of warnings at once leave them changed.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def story_command(action: str) -> str | None:
    """The action as a story reads it: printable ASCII, lower case; None if it is not a command.

    That is so if nothing is left, if it is more than one, or if a part of it is for the program.
    """
    text = " ".join(re.sub(r"[^ -~]", " ", action).lower().split())[:MAX_CHARACTERS]
    for part in _BETWEEN_PARTS.split(text):
        first = part.strip().partition(" ")[0]
        if first in PROGRAM_COMMANDS or first.startswith(PROGRAM_PREFIXES):
            return None
    commands = single_commands(text)
    return commands[0] if len(commands) == 1 and re.search(r"[a-z0-9]", text) else None


def single_commands(line: str) -> list[str]:
    """The commands of a line, such as `look. go north`."""
    parts: list[str] = []
    for sentence in line.split("."):
        parts += [sentence] if "," in sentence else _THEN.split(sentence)
    return [found for part in parts if (found := part.strip())]


def story_words(text: str) -> str:
    """The words of a story without prompt, status line, and empty lines in a row."""
    lines = (line.strip() for line in _PROMPT.sub("", text).strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
