"""The package's own solutions, which take seconds to find: kept in memory and on disk.

On disk they are in the user's cache folder, by version of the package.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from atlas.environments.scienceworld.game import ScienceGame
from atlas.store.record_files import write_text

_known: dict[tuple[str, int, str], tuple[str, ...]] = {}


def gold_path(kind: str, variation: int, simplifications: str) -> tuple[str, ...]:
    """The actions of the package's solution of a task."""
    key = (kind, variation, simplifications)
    if key not in _known:
        path = _file_of(kind, variation, simplifications)
        found = _read(path)
        if found is None:
            found = _find(kind, variation, simplifications)
            _write(path, found)
        _known[key] = found
    return _known[key]


def _find(kind: str, variation: int, simplifications: str) -> tuple[str, ...]:
    game = ScienceGame()
    try:
        return tuple(game.find_path(kind, variation, simplifications))
    finally:
        game.close()


@cache
def _folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("atlas") / f"scienceworld-{version('scienceworld')}"


def _file_of(kind: str, variation: int, simplifications: str) -> Path:
    settings = simplifications.replace(",", "+") or "plain"
    return _folder() / settings / f"{kind}-{variation}.json"


def _read(path: Path) -> tuple[str, ...] | None:
    """The path in a file; None if there is none, or it is not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_path = isinstance(found, list) and all(isinstance(action, str) for action in found)
    return tuple(found) if is_path else None


def _write(path: Path, actions: tuple[str, ...]) -> None:
    # Where the cache cannot be written, the path is found again next time.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(actions))
