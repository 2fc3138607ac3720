"""The player of one or several evaluations of one model, which is loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.models.players import PLAYER, Player, Reopens
from atlas.store.run_folders import Input, relative_path


class OpenPlayer:
    """Makes players of one model. The model is loaded when it is first needed, and only once."""

    def __init__(self, name: str, model: str, seed: int) -> None:
        self._name = name
        self._model = model
        self._seed = seed
        self._player: Player | None = None
        self._described: tuple[Path, Input] | None = None

    def __enter__(self) -> OpenPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self, out: Path) -> Input:
        """The model as an input of the run at `out`; its files are hashed once."""
        if self._described is None:
            model = PLAYER.find(self._name).describe_model(self._model, out)
            if not isinstance(model, Input):
                raise ConfigError(
                    f"player '{self._name}': describe_model returned {model!r:.80}, expected an "
                    "atlas.store.run_folders.Input."
                )
            self._described = out, model
        first, model = self._described
        if model.digest is None or first == out:
            return model
        path = relative_path(first.resolve() / model.path, out)
        return model.model_copy(update={"path": path})

    def with_settings(self, settings: Any) -> Player:
        """A player with these settings; the one before is ended."""
        earlier: object = self._player
        if isinstance(earlier, Reopens):
            self._player = None
            self._player = earlier.reopened(settings)
        else:
            self.close()
            self._player = PLAYER.make(Choice(self._name, settings), self._model, self._seed)
        assert self._player is not None
        return self._player

    def close(self) -> None:
        """End the player, if there is one."""
        player, self._player = self._player, None
        if player is not None:
            player.end()
