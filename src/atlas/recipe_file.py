"""Reads recipes within limits: `YAML text -> values`.

Recipes may come from strangers: depth, size and aliases are bounded before anything is built.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import ConfigError
from atlas.shipped import shipped

# Limits of a recipe. The largest of this project has 2 kB, 150 values and a depth of 4.
MAX_RECIPE_BYTES = 1 << 20
MAX_RECIPE_VALUES = 10_000
MAX_RECIPE_DEPTH = 50
MAX_DIGITS = 80


class _RecipeLoader(yaml.SafeLoader):
    """Refuses a key that is given twice: the first value, such as a whole arm, would be lost.

    Aliases are expanded only within the limits of a recipe.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._num_values = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what is too large or too deep before the rest is read."""
        self._num_values += 1
        self._depth += 1
        if self._num_values > MAX_RECIPE_VALUES or self._depth > MAX_RECIPE_DEPTH:
            raise _too_large(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _measure(node, {}, ())
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted(key for key, n in Counter(keys).items() if n > 1 and key != "<<"):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{twice[0]}' stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _construct_scalar(loader: _RecipeLoader, node: yaml.ScalarNode) -> Any:
    """A string or an integer. Half of a surrogate pair and huge integers are refused."""
    text = node.value
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        reason = "a text holds half of a surrogate pair"
        raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
    if node.tag.endswith(":str"):
        return text
    if len(text) > MAX_DIGITS:
        reason = f"an integer has more than {MAX_DIGITS} digits"
        raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
    return loader.construct_yaml_int(node)


for _tag in ("str", "int"):
    _RecipeLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct_scalar)


def _measure(
    node: yaml.Node, known: dict[yaml.Node, tuple[int, int]], above: tuple[yaml.Node, ...]
) -> tuple[int, int]:
    """The number of values and the depth of a node, aliases expanded. Refuses larger ones."""
    if node in known:
        return known[node]
    if node in above:
        raise yaml.constructor.ConstructorError(
            None, None, "an alias is inside the value that it repeats", node.start_mark
        )
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    sizes = [_measure(part, known, (*above, node)) for part in inner]
    size = 1 + sum(values for values, _ in sizes)
    depth = 1 + max((depth for _, depth in sizes), default=0)
    if size > MAX_RECIPE_VALUES or depth > MAX_RECIPE_DEPTH:
        raise _too_large(node.start_mark)
    known[node] = size, depth
    return known[node]


def _too_large(mark: yaml.Mark) -> yaml.YAMLError:
    limits = f"{MAX_RECIPE_VALUES:,} values or {MAX_RECIPE_DEPTH} levels"
    reason = f"more than {limits}, aliases written out"
    return yaml.constructor.ConstructorError(None, None, reason, mark)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is not YAML, or exceeds the limits of a recipe.
    """
    try:
        return yaml.load(text, _RecipeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError(f"it has more than {MAX_RECIPE_DEPTH} levels") from None


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file cannot be read, or exceeds the limits of a recipe.
    """
    try:
        with shipped(path).open("rb") as file:
            written = file.read(MAX_RECIPE_BYTES + 1)
        if len(written) > MAX_RECIPE_BYTES:
            raise ValueError(f"it has more than {MAX_RECIPE_BYTES:,} bytes")
        values = parse_yaml(written.decode("utf-8"))
    except FileNotFoundError:
        advice = "Give the path of a YAML file, or only key=value settings."
        raise ConfigError(f"recipe {path} does not exist. {advice}") from None
    except (OSError, ValueError) as error:
        # ValueError: also not UTF-8, or a date that does not exist.
        raise ConfigError(f"recipe {path} cannot be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        given = type(values).__name__
        raise ConfigError(f"recipe {path} holds a {given}, expected 'key: value' lines.")
    return values
