"""Checks paths and names that a user gives before they are used, and shows paths."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

from atlas.config import StrPath
from atlas.errors import ConfigError

MAX_NAME_BYTES = 200
FAULTS = {
    errno.ELOOP: "links in it lead back to themselves",
    errno.ENAMETOOLONG: "it is longer than the file system allows",
    errno.ENOTDIR: "a part of it is a file, not a folder",
}


def check_path(path: StrPath, what: str = "the path", longest_ending: str = "") -> None:
    """Refuse a path that can neither be read nor written.

    Args:
        what: what the path is, for the message, such as `--out`.
        longest_ending: of the names of files that are written beside it.

    Raises:
        ConfigError: it is empty, not UTF-8, too long, or a link to nothing.
    """
    text = os.fspath(path)
    if reason := _fault(text) or (longest_ending and _fault(text + longest_ending)):
        advice = "Give another path."
        raise ConfigError(f"{what} '{text}' cannot be used: {reason}. {advice}")


def shown_path(path: StrPath) -> str:
    r"""A path as text that can be stored: bytes that are not UTF-8 become escapes (`\xff`)."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def short_path(path: StrPath) -> str:
    """A path relative to the working directory, or absolute if that is shorter."""
    return min(os.path.relpath(path), os.path.abspath(path), key=len)  # noqa: PTH100


def name_fault(name: str) -> str | None:
    """Why a name of a recipe cannot be the name of a folder; None if it can."""
    if not name or name in (".", ".."):
        return "it is empty, a dot or two dots"
    if "/" in name or "\\" in name:
        return "it contains a slash. Leave it out"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        return "it contains invisible characters. Leave them out"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes. Shorten it"
    if name != name.strip() or name.startswith("-"):
        return "it begins or ends with a space, or begins with a dash. Leave these out"
    return None


def _fault(text: str) -> str | None:
    if not text:
        return "it is empty"
    if "\0" in text:
        return "it contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, so no manifest can hold it"
    # Parents come first, so that the message names the first part that is wrong.
    for part in (*reversed(Path(text).parents), Path(text)):
        try:
            part.stat()
        except FileNotFoundError:
            if part.is_symlink():
                return f"{part} is a link to {part.readlink()}, which does not exist"
        except OSError as error:
            return FAULTS.get(error.errno or 0, str(error.strerror))
    return None
