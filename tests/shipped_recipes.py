"""The recipes that atlas brings, told apart by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
# A key that only recipes of this kind have.
MARKS = {
    "experiment": "arms",
    "suite": "entries",
    # Settings of recipes/base/make_base.py.
    "base": "lessons",
}


def shipped_recipes(kind: str) -> list[Path]:
    """All recipes of one kind."""
    return [path for path in all_recipes() if MARKS[kind] in _read(path)]


def kinds_of(path: Path) -> list[str]:
    return [kind for kind, mark in MARKS.items() if mark in _read(path)]


def all_recipes() -> list[Path]:
    return sorted((ROOT / "recipes").rglob("*.yaml"))


def _read(path: Path) -> Mapping[str, Any]:
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(written, Mapping)
    return written
