"""What the paths of the command line hold: `paths -> sources`, one for each run that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SourceKind = Literal["trajectories", "selection", "checkpoint", "report", "scores"]


@dataclass(frozen=True, slots=True)
class Source:
    """One run that the viewer shows.

    `key` is short, unique and safe in a URL. `file` is the file of records: trajectories of a
    source of trajectories, selections of a selection, None for the other kinds. `digest` is that of
    the manifest, which selections name in `made_from`; `file_digest` is the SHA-256 of `file`. Both
    are None while the run is being written.
    """

    key: str
    kind: SourceKind
    path: Path
    title: str
    command: str
    file: Path | None = None
    digest: str | None = None
    file_digest: str | None = None
    made_from: str | None = None
    is_partial: bool = False
