"""Everything that the pages show, in one object: `sources + index -> rows, records`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import DatabaseError
from sqlite3 import Row as Found
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from atlas.errors import DataError
from atlas.records import Problem, Selection, Trajectory
from atlas.viewing.web.database import is_damage
from atlas.viewing.web.facets import read_facets
from atlas.viewing.web.find_rows import count_rows, row_beside, row_of, rows_of_page
from atlas.viewing.web.index import SCORES_FILE, Index
from atlas.viewing.web.index_lines import read_scores_line
from atlas.viewing.web.marks import pairs_of
from atlas.viewing.web.query import Query
from atlas.viewing.web.rows import Facet, FoundPage, NamedSelection, Row
from atlas.viewing.web.sources import ShownRun, Sources, reread

RecordT = TypeVar("RecordT", bound=BaseModel)
# How often the files of runs are looked at: often while one is being written.
SECONDS_BETWEEN_LOOKS = 2.0
MAX_COUNTS = 1_000
# How many episodes of one task a page names.
MAX_SAME_TASK = 200


class NotFound(DataError):
    """A source or trajectory that the viewer does not show."""


@dataclass(frozen=True, slots=True)
class _State:
    """What is true while the index has this version."""

    version: tuple[tuple[object, ...], ...]
    sources: tuple[ShownRun, ...]
    facets: Mapping[str, tuple[Facet, ...]]
    counts: dict[Query, int]


class Library:
    """The runs that the viewer shows. Safe to use from several threads; it never writes to a run.

    Raises of all methods that take a source or an id: `NotFound` (a DataError): no such source or
    trajectory. Pages need not catch it; the app answers 404 with its reason.
    """

    def __init__(self, found: Sources, index_folder: Path, *, shows_progress: bool = False) -> None:
        self._problems = found.problems
        self._index = Index(found.sources, index_folder)
        self._looking = threading.Lock()
        self._looked = time.monotonic()
        try:
            self._state = self._make_state(found.sources, shows_progress)
        except DatabaseError as error:
            if not is_damage(error):
                raise
            # A power cut can damage an index; it only holds what the runs hold.
            self._index.database.remove()
            self._index = Index(found.sources, index_folder)
            self._state = self._make_state(found.sources, shows_progress)

    @property
    def sources(self) -> tuple[ShownRun, ...]:
        """All sources; what they were made from comes first."""
        return self._state.sources

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What of the given paths could not be shown."""
        return self._problems

    def source(self, key: str) -> ShownRun:
        """The source with a key."""
        for source in self.sources:
            if source.key == key:
                return source
        known = ", ".join(source.key for source in self.sources)
        raise NotFound(f"no run has the key '{key}', expected one of: {known}. Open the list.")

    def of_kind(self, kind: str) -> tuple[ShownRun, ...]:
        """The sources of one kind, such as `checkpoint`."""
        return tuple(source for source in self.sources if source.kind == kind)

    def find(self, query: Query) -> FoundPage:
        """The page of the list that a query asks for."""
        self._look()
        state, connection = self._state, self._index.database.connection
        asked = replace(query, sort="order", page=1)
        if (total := state.counts.get(asked)) is None:
            if len(state.counts) >= MAX_COUNTS:
                state.counts.clear()
            total = state.counts[asked] = count_rows(connection, query)
        return FoundPage(tuple(rows_of_page(connection, query)), total, state.facets)

    def row(self, source_key: str, trajectory_id: str) -> Row:
        """What the list shows about one trajectory."""
        return row_of(self._found(source_key, trajectory_id))

    def trajectory(self, source_key: str, trajectory_id: str) -> Trajectory:
        """One trajectory; only its bytes are read."""
        found = self._found(source_key, trajectory_id)
        source = self.source(source_key)
        trajectory = _read_record(source.current_file(), found, Trajectory)
        if trajectory.id != trajectory_id:
            raise _changed(source.path)
        return trajectory

    def selections(self, source_key: str, trajectory_id: str) -> tuple[NamedSelection, ...]:
        """The selections of one trajectory, in the order of their sources."""
        self._found(source_key, trajectory_id)
        keys = {one for one, of in pairs_of(self.sources) if of == source_key}
        chosen = [source for source in self.sources if source.key in keys]
        named = (self._selection(source, trajectory_id) for source in chosen)
        return tuple(one for one in named if one is not None)

    def neighbors(
        self, query: Query, source_key: str, trajectory_id: str
    ) -> tuple[Row | None, Row | None]:
        """The trajectories before and after one in the list of a query."""
        number = self._found(source_key, trajectory_id)["number"]
        connection = self._index.database.connection
        return (
            row_beside(connection, query, number, is_next=False),
            row_beside(connection, query, number, is_next=True),
        )

    def same_task(self, source_key: str, trajectory_id: str) -> tuple[Row, ...]:
        """Other episodes on the same task, of all sources; at most 200."""
        found = self._found(source_key, trajectory_id)
        sql = (
            "select * from trajectories where task = ? and environment = ? and number <> ? "
            "order by number limit ?"
        )
        values = (found["task"], found["environment"], found["number"], MAX_SAME_TASK)
        return tuple(map(row_of, self._index.database.connection.execute(sql, values)))

    def have_a_task_in_common(self, left_key: str, right_key: str) -> bool:
        """Whether two sources have an episode on the same task."""
        self.source(left_key), self.source(right_key)
        sql = (
            "select 1 from trajectories l join trajectories r "
            "on r.task = l.task and r.environment = l.environment "
            "where l.source = ? and r.source = ? and l.task <> '' limit 1"
        )
        found = self._index.database.connection.execute(sql, (left_key, right_key)).fetchone()
        return found is not None

    def episodes(self, source_key: str, task_id: str | None = None) -> Iterator[Row]:
        """All rows of one source, or those of one of its tasks, in the order of the run."""
        self.source(source_key)
        sql, values = "select * from trajectories where source = ?", [source_key]
        if task_id is not None:
            sql, values = f"{sql} and task = ?", [source_key, task_id]
        connection = self._index.database.connection
        return map(row_of, connection.execute(f"{sql} order by number", values).fetchall())

    def close(self) -> None:
        """Close the index."""
        self._index.database.close()

    def _found(self, source_key: str, trajectory_id: str) -> Found:
        sql = "select * from trajectories where source = ? and id = ? order by number limit 1"
        # A lone surrogate of an address is in no id.
        values = (source_key, trajectory_id.encode("utf-8", "replace").decode())
        found: Found | None = self._index.database.connection.execute(sql, values).fetchone()
        if found is None:
            title = self.source(source_key).title
            raise NotFound(f"{title} has no trajectory '{trajectory_id}'. Open the list.")
        return found

    def _selection(self, source: ShownRun, trajectory_id: str) -> NamedSelection | None:
        connection = self._index.database.connection
        place = "source = ? and id = ? order by offset limit 1"
        values = (source.key, trajectory_id)
        found = connection.execute(f"select * from selections where {place}", values).fetchone()
        if found is None:
            return None
        try:
            selection = _read_record(source.current_file(), found, Selection)
        except DataError as error:
            # The page of the trajectory is shown all the same, with the reason.
            selection = Selection(
                trajectory_id=trajectory_id,
                selector=source.key,
                num_steps=0,
                budget=0,
                problem=str(error),
            )
        if selection.trajectory_id != trajectory_id:
            return None
        values = (f"{source.key}/scores", trajectory_id)
        scored = connection.execute(f"select * from scores where {place}", values).fetchone()
        scores = _read_scores(source.path / SCORES_FILE, scored) if scored else None
        return NamedSelection(source.key, source.key, selection, scores)

    def _look(self) -> None:
        """Read what runs in progress have written, if the last look was some time ago."""
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        # Another thread looks already.
        if not self._looking.acquire(blocking=False):
            return
        try:
            sources = tuple(
                reread(source) if source.is_partial else source for source in self.sources
            )
            self._index.try_update(sources)
            # Another process may have updated the index.
            if self._index.version() != self._state.version or sources != self.sources:
                self._state = self._read_state(sources)
        finally:
            self._looked = time.monotonic()
            self._looking.release()

    def _make_state(self, sources: Sequence[ShownRun], shows_progress: bool) -> _State:
        self._index.update(sources, shows_progress=shows_progress)
        return self._read_state(sources)

    def _read_state(self, sources: Sequence[ShownRun]) -> _State:
        # First the version: a change in the meantime is found by the next look.
        version = self._index.version()
        facets = read_facets(self._index.database.connection, sources)
        return _State(version, tuple(sources), facets, {})


def _read_record(file: Path | None, place: Found, kind: type[RecordT]) -> RecordT:
    if file is None:
        raise DataError("the file of this run is gone. Restore it, and open the list again.")
    try:
        return kind.model_validate_json(_read_bytes(file, place))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        line = f" line {place['line']}" if "line" in place.keys() else ""  # noqa: SIM118
        raise DataError(
            f"{file.name}{line}: {where}: {first['msg']}, expected a {kind.__name__}. "
            "Make the run again."
        ) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Check the disk.") from None


def _read_bytes(file: Path, place: Found) -> bytes:
    with file.open("rb") as opened:
        return os.pread(opened.fileno(), place["length"], place["offset"])


def _read_scores(file: Path, place: Found) -> tuple[float | None, ...] | None:
    try:
        entry = read_scores_line(_read_bytes(file, place))
    except OSError:
        return None
    return None if entry is None else entry.scores


def _changed(run: Path) -> DataError:
    return DataError(f"{run} was changed while it was shown. Open the list again.")
