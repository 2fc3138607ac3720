"""Imports objects by name from a literal table `name -> "module:Object"`.

A name that is not in the table may be `package.module:Object` itself.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from atlas.errors import AtlasError, ConfigError

# Characters of a name in a message.
MAX_NAME = 120


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: suggests the closest known word, or lists all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(words)}."


def look_up(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Import the object that `name` stands for.

    Args:
        kind: the noun for error messages, such as "selector".

    Raises:
        ConfigError: the name is neither a row nor an importable object.
    """
    target = table.get(name, name if ":" in name else None)
    # A name may be a whole text by mistake.
    name = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
    if target is None:
        advice = f"{nearest(name, table)} Name your own class as 'package.module:Object'."
        raise ConfigError(f"{kind} '{name}' is not known. {advice}")
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except AtlasError:
        raise
    except Exception as error:
        if name in table and not isinstance(error, ImportError):
            raise
        is_plain = isinstance(error, ImportError | AttributeError)
        said = str(error) if is_plain else f"{type(error).__name__}: {error}"
        expected = "Expected 'package.module:Object', installed or in a folder on PYTHONPATH."
        raise ConfigError(f"{kind} '{name}' cannot be imported: {said}. {expected}") from error
