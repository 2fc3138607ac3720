"""Everything that the pages show, in one object: `sources + index -> rows, records`."""

from __future__ import annotations

from atlas.records import Trajectory
from atlas.viewing.web.query import Query
from atlas.viewing.web.rows import NamedSelection, Page, Row
from atlas.viewing.web.sources import Source


class Library:
    """The runs that the viewer shows. Safe to use from several threads; it never writes to a run.

    Raises of all methods that take a source or an id: `NotFound` (a DataError): no such source or
    trajectory. Pages need not catch it; the app answers 404 with its reason.
    """

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, in the order in which they were given."""
        raise NotImplementedError

    def source(self, key: str) -> Source:
        """The source with a key."""
        raise NotImplementedError

    def of_kind(self, kind: str) -> tuple[Source, ...]:
        """The sources of one kind, such as `checkpoint`."""
        raise NotImplementedError

    def find(self, query: Query) -> Page:
        """The page of the list that a query asks for."""
        raise NotImplementedError

    def row(self, source_key: str, trajectory_id: str) -> Row:
        """What the list shows about one trajectory."""
        raise NotImplementedError

    def trajectory(self, source_key: str, trajectory_id: str) -> Trajectory:
        """One trajectory; only its bytes are read."""
        raise NotImplementedError

    def selections(self, source_key: str, trajectory_id: str) -> tuple[NamedSelection, ...]:
        """The selections of one trajectory, in the order of their sources."""
        raise NotImplementedError

    def neighbors(
        self, query: Query, source_key: str, trajectory_id: str
    ) -> tuple[Row | None, Row | None]:
        """The trajectories before and after one in the list of a query."""
        raise NotImplementedError

    def same_task(self, source_key: str, trajectory_id: str) -> tuple[Row, ...]:
        """All other episodes on the same task, of all sources."""
        raise NotImplementedError

    def paired(self, left_key: str, right_key: str) -> tuple[tuple[Row, Row], ...]:
        """The episodes of two sources on the same task: tasks that flipped first."""
        raise NotImplementedError
