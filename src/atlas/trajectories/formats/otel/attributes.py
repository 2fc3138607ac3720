"""Flat attributes <-> nested values: `llm.tools.0.tool.json_schema` is a field of a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MAX_DEPTH = 40


def nested(attributes: Mapping[str, Any], prefix: str) -> Any:
    """The value under a dotted prefix, its numbered keys as lists; None if there is none."""
    if prefix in attributes:
        return unflattened(attributes[prefix])
    start = f"{prefix}."
    inner = {
        key.removeprefix(start): value for key, value in attributes.items() if key.startswith(start)
    }
    return unflattened(inner) if inner else None


def unflattened(value: Any, depth: int = 0) -> Any:
    """A value whose dotted keys are nested objects, and objects with numbered keys are lists."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, list):
        return [unflattened(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    parts: dict[str, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    for key, each in value.items():
        head, dot, rest = str(key).partition(".")
        if dot and head and rest:
            parts.setdefault(head, {})[rest] = each
        else:
            whole[str(key)] = each
    for head, fields in parts.items():
        if isinstance(whole.get(head), dict):
            whole[head] = {**whole[head], **fields}
        elif head in whole:
            # A text and fields of the same name: both are kept.
            whole |= {f"{head}.{rest}": each for rest, each in fields.items()}
        else:
            whole[head] = fields
    found = {
        key: unflattened(each, depth + 1) if isinstance(each, dict | list) else each
        for key, each in whole.items()
    }
    if found and all(key.isdecimal() and len(key) < 10 for key in found):
        return [found[key] for key in sorted(found, key=int)]
    return found


def without(attributes: Mapping[str, Any], used: Iterable[str]) -> dict[str, Any]:
    """The attributes that stand neither under nor below one of the names."""
    names = tuple(used)
    starts = tuple(f"{name}." for name in names)
    return {
        key: value
        for key, value in attributes.items()
        if key not in names and not key.startswith(starts)
    }
