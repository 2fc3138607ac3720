"""Reads a user's rubric: `file -> text`, which takes the place of the rubric by atlas in a prompt.

The file says what the judge is and which steps it looks for. What follows it is fixed: the form of
an answer, the fence around the trajectory, and the request with the budget. So a rubric is plain
text without placeholders.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from atlas.errors import ConfigError
from atlas.selection.judging.transcript import BEGIN, END
from atlas.store.run_folders import Input

# A shorter text defines nothing.
SHORTEST_RUBRIC = 20
# A rubric may take this share of a question; the trajectory needs the rest.
LARGEST_SHARE = 0.5
# `{budget}`, `{{ steps }}`, `${task}`, but not the braces of JSON.
_PLACEHOLDER = re.compile(r"\{{1,3}%?\s*[A-Za-z_][\w.]*\s*%?\}{1,3}")


def read_rubric(path: Path, max_prompt_chars: int) -> tuple[str, Input]:
    """The text of a rubric file, and the file as an input of the run.

    Raises:
        ConfigError: the file cannot be read, is too short or too long, or has a placeholder, or a
            line that marks the beginning or end of a trajectory.
    """
    where = f"rubric {path}"
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(
            f"{where} cannot be read ({error.strerror}). Give rubric=FILE, a text file."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where} is not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from None
    if len(text) < SHORTEST_RUBRIC:
        raise ConfigError(
            f"{where} has {len(text)} characters, expected a text that says which steps to look "
            "for. docs/commands/select.md has an example."
        )
    if len(text) > (most := int(LARGEST_SHARE * max_prompt_chars)):
        raise ConfigError(
            f"{where} has {len(text):,} characters, at most {most:,} fit beside a trajectory in a "
            f"question of max_prompt_chars={max_prompt_chars:,}. Shorten it, or raise the limit."
        )
    for number, line in enumerate(text.splitlines(), start=1):
        if (found := _PLACEHOLDER.search(line)) is not None:
            raise ConfigError(
                f"{where} line {number}: '{found[0]:.60}' looks like a placeholder, and a rubric "
                "has none: the trajectory, its number of steps and the budget are in the request "
                "that follows the rubric. Remove it, or write the name without braces."
            )
        if BEGIN in line or END in line:
            raise ConfigError(
                f"{where} line {number}: it has the mark of a trajectory's {BEGIN} or {END}, which "
                "must stand only around the trajectory. Remove it."
            )
        if any(unicodedata.category(char) == "Cc" and char != "\t" for char in line):
            raise ConfigError(
                f"{where} line {number}: it has a control character. Expected plain text."
            )
    return text, Input(path=path.name, digest=hashlib.sha256(content).hexdigest())
