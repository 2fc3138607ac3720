"""A choice is a row in a literal table: `name -> "module:object"`. Outsiders name their own `package.module:Object`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from atlas.errors import ConfigError


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the closest known word, or all of them: the tail of an error message."""
    words = sorted(known)
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(words)}."


def look_up(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """The object that `name` stands for in `table`, imported now; `package.module:Object` passes the table by.

    Raises:
        ConfigError: the name is neither a row nor an importable object.
    """
    target = table.get(name, name if ":" in name else None)
    if target is None:
        raise ConfigError(
            f"{kind} '{name}' is not known. {nearest(name, table)} Your own is named 'package.module:Object'."
        )
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        if name in table and isinstance(error, AttributeError):
            raise
        raise ConfigError(
            f"{kind} '{name}' cannot be imported: {error}. Expected 'package.module:Object', installed or in a folder on PYTHONPATH."
        ) from error
