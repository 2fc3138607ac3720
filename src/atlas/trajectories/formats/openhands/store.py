"""Conversations that OpenHands stores as one file an event: `file -> files of the conversation`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.records import Problem
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.formats.source_file import SourceFile

# event-00012-ID.json of the SDK, 12.json of earlier versions.
_EVENT_FILE = re.compile(r"(?:event-)?(\d+)(?:-[\w-]+)?\.json")
EVENTS_FOLDER = "events"
# Earlier versions keep pages of the same events beside them.
CACHE_FOLDER = "event_cache"
STATE_KEYS = {"agent", "max_iterations", "stuck_detection"}


def is_state(row: Any) -> bool:
    """Whether a row is the state that the SDK keeps beside the events of a conversation."""
    return isinstance(row, dict) and row.keys() >= STATE_KEYS


def rows_of_conversation(source: SourceFile) -> Iterator[SourceRow | Problem]:
    """The rows of a file; for the first event of a conversation those of its other files too.

    Nothing for the other files: their events come with the first one.
    """
    files = _files_of_conversation(source.path)
    if files and source.path != files[0]:
        return
    yield from source.rows()
    for path in files[1:]:
        name = source.name.removesuffix(source.path.name) + path.name
        try:
            with SourceFile(path, name) as other:
                yield from other.rows()
        except OSError as error:
            yield Problem(where=name, reason=f"cannot be read: {error.strerror}")


def _files_of_conversation(path: Path) -> list[Path]:
    """The files of the events of a conversation in order; none if the file is not one of them."""
    folder = path.parent
    if folder.name == CACHE_FOLDER and (folder.parent / EVENTS_FOLDER).is_dir():
        folder = folder.parent / EVENTS_FOLDER
    elif folder.name != EVENTS_FOLDER or not _EVENT_FILE.fullmatch(path.name):
        return []
    numbered = [
        (int(match[1]), other.name, other)
        for other in folder.iterdir()
        if (match := _EVENT_FILE.fullmatch(other.name))
    ]
    return [other for _, _, other in sorted(numbered)]
