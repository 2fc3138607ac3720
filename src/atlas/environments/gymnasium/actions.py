"""Text -> action of a space: the text itself, a number, or what a word stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atlas.errors import ConfigError


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
        return "An action is a text."

    def read(self, text: str) -> Any:
        """The action for a text, or None if it stands for none."""
        if self._actions is not None:
            return self._actions.get(" ".join(text.casefold().split()))
        if self._is_number:
            digits = text.strip().removesuffix(".")
            number = int(digits) if digits.lstrip("-").isdecimal() and len(digits) < 10 else None
            return number if number is not None and self._space.contains(number) else None
        return text if self._space.contains(text) else None


def _actions_of(space: Any, words: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    first = int(getattr(space, "start", 0))
    given = (
        words
        if isinstance(words, Mapping)
        else {word: first + index for index, word in enumerate(words)}
    )
    found: dict[str, Any] = {}
    for word, value in given.items():
        action = np.asarray(value, dtype=space.dtype) if isinstance(value, list) else value
        if not space.contains(action):
            raise ConfigError(
                f"gymnasium: actions: '{word}' stands for {value!r:.60}, which is not an action "
                f"of {space}."
            )
        found[" ".join(word.casefold().split())] = action
    return found
