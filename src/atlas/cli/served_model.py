"""`--base-url URL` and `--model URL`: a model on a server, in short."""

from __future__ import annotations

import json

from atlas.errors import ConfigError

ENDPOINT = "endpoint"


def at_server(
    model: str | None, player: str | None, base_url: str | None, settings: list[str] | None
) -> tuple[str | None, str | None, list[str] | None]:
    """Model, player and settings of a command, for a model on a server.

    If a server serves only one model, its name may be left out.

    Raises:
        ConfigError: the player is another one, or the server does not say which model to take.
    """
    if model is not None and model.startswith(("http://", "https://")):
        if base_url is not None:
            raise ConfigError(
                "both --base-url and --model are addresses, expected a name as --model"
            )
        model, base_url = None, model
    if base_url is None:
        return model, player, settings
    if player not in (None, ENDPOINT):
        raise ConfigError(
            f"--player {player} does not play at an address. Leave out the player, or the address."
        )
    # Settings that are given by the user come later, and win.
    address = f"player.endpoint.base_url={json.dumps(base_url)}"
    settings = [address, *(settings or [])]
    if model is None:
        model = _only_model(base_url, settings)
    return model, ENDPOINT, settings


def _only_model(base_url: str, settings: list[str]) -> str:
    """The model of a server; its address and key are in the settings."""
    from atlas.config import load_config
    from atlas.models.endpoints.endpoint import Endpoint
    from atlas.models.endpoints.served_models import only_served_model

    prefixes = ("player.endpoint.", "endpoint.")
    given = [
        setting.removeprefix(prefix)
        for setting in settings
        for prefix in prefixes
        if setting.startswith(prefix)
    ]
    return only_served_model(load_config(Endpoint, None, given, {"base_url": base_url}))
