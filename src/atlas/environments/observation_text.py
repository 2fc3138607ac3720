"""Observations of worlds from outside as text: a part of them, JSON, or a drawing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from atlas.errors import ConfigError

# Digits of a number with a fraction.
DIGITS = 4
# Text between color codes of a terminal, which is how drawings mark the agent.
_COLORED = re.compile(r"\x1b\[[\d;]*[1-9][\d;]*m(.*?)\x1b\[0?m", re.DOTALL)
_CODE = re.compile(r"\x1b\[[\d;]*m")


def part_of(observation: Any, path: str | None, setting: str) -> Any:
    """The part of nested mappings at a path such as `text` or `view.text`.

    Args:
        setting: the setting that holds the path, for the message.

    Raises:
        ConfigError: the observation lacks this part.
    """
    part = observation
    for key in path.split(".") if path is not None else ():
        if not isinstance(part, Mapping) or key not in part:
            known = f"with {', '.join(map(str, part))}" if isinstance(part, Mapping) else ""
            raise ConfigError(
                f"{setting}={path}: the observation has no '{key}'; it is a "
                f"{type(part).__name__} {known}".rstrip()
                + "."
            )
        part = part[key]
    return part


def json_text(value: Any) -> str:
    """A value as JSON; arrays are lists, and numbers have few digits."""
    return json.dumps(_plain(value), ensure_ascii=False)


def drawing_text(drawing: str) -> str:
    """A drawing for a terminal without its codes: what is colored stands in brackets."""
    return _CODE.sub("", _COLORED.sub(r"[\1]", drawing)).strip("\n")


def _plain(value: Any) -> Any:
    match value:
        case np.ndarray():
            return _plain(value.tolist())
        case np.generic():
            return _plain(value.item())
        case bool() | int() | str() | None:
            return value
        case float():
            return float(f"{value:.{DIGITS}g}")
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case set() | frozenset():
            # The order of a set differs from process to process.
            return sorted(map(_plain, value), key=json.dumps)
    return str(value)
