"""Where things usually are: common sense, read from the table that the package ships."""

from __future__ import annotations

import json
from functools import cache

from atlas.environments.textworld_express.game import PROGRAM


@cache
def usual_places() -> dict[str, frozenset[str]]:
    """Thing -> the places where it belongs, over all folds of the package's table."""
    found: dict[str, set[str]] = {}
    table = json.loads((PROGRAM.folder / "twc_objects.folds.json").read_text(encoding="utf-8"))
    for things in table.values():
        for name, row in things.items():
            found.setdefault(name, set()).update(row["locations"])
    return {name: frozenset(places) for name, places in found.items()}
