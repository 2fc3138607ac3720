"""Finds the recipes, the demo's base model and its trajectories, which come with the package.

A path that begins with `recipes/` and does not exist means the file of the package, so that the
commands of the docs work in any folder.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = "recipes"
# In an installed package, and in a clone of the repository.
_PLACES = (Path(__file__).parent, Path(__file__).parents[2])


def shipped(path: Path) -> Path:
    """The path, or the file of the package that it stands for."""
    if path.parts[:1] != (FOLDER,) or path.exists():
        return path
    return next((found for place in _PLACES if (found := place / path).exists()), path)
