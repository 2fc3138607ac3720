"""The settings of `atlas view`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.config import Config

# Bookmarks keep working while this port is free.
DEFAULT_PORT = 8765


class ViewConfig(Config):
    """Where the viewer listens, and who labels."""

    host: str = Field(
        default="127.0.0.1",
        description="the address to listen on; beyond this machine, a token is asked for",
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description=f"the port; 0 takes a free one; by default {DEFAULT_PORT}, or a free one if it "
        "is taken",
    )
    annotator: str = Field(default="unnamed", description="the person who labels")
    labels: Path | None = Field(
        default=None,
        description="the file of labels; by default one beside the first run (RUN.labels.sqlite)",
    )
    blind: bool = Field(
        default=False,
        description="hide what selectors, other people and the source say about a trajectory until "
        "the annotator has finished it",
    )

    tokenizer: str | None = Field(
        default=None,
        description="whose tokens are shown first: a hub id, a model folder, or a run folder of "
        "train",
    )

    def needed_extras(self) -> tuple[str, ...]:
        """FastAPI and uvicorn."""
        return ("view",)
