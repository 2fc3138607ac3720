"""The files and run folders that settings name (`instruction=RUN`), as inputs of a run.

A run that is continued after such a file was changed would hold episodes of two kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.config import Config, Mark, metadata_of
from atlas.store.manifests import MANIFEST_FILE, Input, content_digest, relative_path


def named_inputs(config: Config, out: Path) -> dict[str, Input]:
    """The inputs that settings with the mark MAY_NAME_FILE name, by the names of the settings."""
    return {
        name: Input(path=relative_path(path, out), digest=content_digest(file))
        for name, path in _named_paths(config)
        if (file := _file_at(path)) is not None
    }


def _named_paths(config: Config) -> Iterator[tuple[str, Path]]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, str | Path) and Mark.MAY_NAME_FILE in metadata_of(field):
            yield name, Path(value)
        entries: dict[str, Any] = value if isinstance(value, dict) else {"": value}
        for key, entry in entries.items():
            inner = entry if isinstance(entry, Config) else getattr(entry, "settings", None)
            if isinstance(inner, Config):
                where = f"{name}.{key}" if key else name
                yield from ((f"{where}.{one}", path) for one, path in _named_paths(inner))


def _file_at(path: Path) -> Path | None:
    """The file whose content counts: of a run folder, its manifest. None for a text."""
    try:
        file = path / MANIFEST_FILE if path.is_dir() else path
        return file if file.is_file() else None
    except OSError:
        # A text that is too long for the name of a file.
        return None
