"""The settings of `atlas view`."""

from __future__ import annotations

from pathlib import Path

from atlas.config import Config


class ViewConfig(Config):
    """Settings of the viewer."""

    host: str = "127.0.0.1"
    """The address to listen on. Beyond this machine, a token is asked for."""
    port: int = 0
    """The port; 0 takes a free one."""
    annotator: str = "unnamed"
    """Who labels."""
    labels: Path | None = None
    """The file of labels; beside the first run if not given."""
    blind: bool = False
    """Hide what selectors chose until a trajectory is labeled."""
