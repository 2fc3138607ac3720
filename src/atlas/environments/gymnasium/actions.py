"""Text -> action of a space: the text itself, a number, or what a word stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from atlas.environments.react import parse_number
from atlas.errors import ConfigError

# Characters of a text that are listed in a hint.
MAX_SHOWN = 70


class ActionWords:
    """How the actions of a space are written.

    Args:
        space: the action space of an environment.
        words: the setting `actions`.

    Raises:
        ConfigError: the space has no text form, or a word stands for no action of it.
    """

    def __init__(self, space: Any, words: Mapping[str, Any] | Sequence[str] | None) -> None:
        from gymnasium.spaces import Discrete, Text

        self._space = space
        self._actions: dict[str, Any] | None = None
        self._is_number = isinstance(space, Discrete) and words is None
        if words is not None:
            self._actions = _actions_of(space, words)
        elif type(space).__module__.startswith("gymnasium.") and not isinstance(
            space, Discrete | Text
        ):
            raise ConfigError(
                f"gymnasium: the actions of {space} have no text. Give the words for them: "
                "actions={left: …, right: …}."
            )

    @property
    def hint(self) -> str:
        """What an action looks like, in one sentence."""
        if self._actions is not None:
            return f"Actions: {', '.join(self._actions)}."
        if self._is_number:
            first = int(self._space.start)
            return f"An action is a number from {first} to {first + int(self._space.n) - 1}."
        first, last = getattr(self._space, "min_length", 0), getattr(self._space, "max_length", 0)
        characters = "".join(sorted(getattr(self._space, "characters", "")))
        # A world that declares no characters takes letters and digits only.
        made_of = f" of {characters!r}" if 0 < len(characters) <= MAX_SHOWN else ""
        return f"An action is a text{made_of}, {first} to {last} characters long."

    def read(self, text: str) -> Any:
        """The action for a text, or None if it stands for none."""
        if self._actions is not None:
            # A copy, because a world may change what it is given.
            return deepcopy(self._actions.get(_plain(text)))
        if self._is_number:
            number = parse_number(text)
            return number if number is not None and self._space.contains(number) else None
        return text if _is_of(self._space, text) else None


def _actions_of(space: Any, words: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    if not isinstance(words, Mapping):
        first = int(space.start) if hasattr(space, "start") and np.ndim(space.start) == 0 else 0
        words = {word: first + index for index, word in enumerate(words)}
    if not words:
        raise ConfigError("gymnasium: actions is empty. Give words for actions, or leave it out.")
    found: dict[str, Any] = {}
    for word, value in words.items():
        action = _action(space, value)
        if not _is_of(space, action):
            raise ConfigError(
                f"gymnasium: actions: '{word}' stands for {value!r:.60}, which is not an action "
                f"of {space}."
            )
        if _plain(word) in found:
            raise ConfigError(f"gymnasium: actions: '{word}' is given twice.")
        found[_plain(word)] = action
    return found


def _action(space: Any, value: Any) -> Any:
    """A value of a recipe as an action of a space: arrays, tuples and mappings of them."""
    from gymnasium.spaces import Box, Dict, MultiBinary, MultiDiscrete, Tuple

    if isinstance(space, Dict) and isinstance(value, Mapping) and value.keys() == space.keys():
        return {key: _action(space[key], value[key]) for key in space}
    is_list = isinstance(value, list | tuple)
    if isinstance(space, Tuple) and is_list and len(value) == len(space.spaces):
        return tuple(map(_action, space.spaces, value))
    if not isinstance(space, Box | MultiBinary | MultiDiscrete):
        return value
    try:
        given = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return value
    array = given.astype(space.dtype)
    # A fraction is not an action of a space of whole numbers.
    return array if np.allclose(array, given) else value


def _is_of(space: Any, action: Any) -> bool:
    try:
        return bool(space.contains(action))
    except Exception:
        # Some spaces raise an error for a value of another type.
        return False


def _plain(word: str) -> str:
    return " ".join(word.casefold().split())
