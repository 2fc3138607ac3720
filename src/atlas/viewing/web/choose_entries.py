"""Which trajectories a file holds: `library + query + ids -> entries`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from atlas.errors import ConfigError, DataError
from atlas.records import Problem, Trajectory
from atlas.viewing.web.library import Library
from atlas.viewing.web.query import MAX_ROWS_PER_PAGE, Query
from atlas.viewing.web.rows import Row
from atlas.viewing.web.static_page import StaticEntry
from atlas.viewing.web.token_masks import describe_masks

if TYPE_CHECKING:
    from atlas.rendering.renderer import Renderer
    from atlas.viewing.web.labels.edits import Labeling

LabelsOf = Callable[[Trajectory], Sequence["Labeling"]]


@dataclass(frozen=True, slots=True)
class ShownParts:
    """What is shown of each trajectory beside its steps.

    With `is_blind`, nobody's choice of steps is shown. `labels_of` gives the labels of people,
    `renderer` the tokens of the loss masks.
    """

    is_blind: bool = False
    labels_of: LabelsOf | None = None
    renderer: Renderer | None = None


def choose_rows(
    library: Library, query: Query, ids: Sequence[str] = (), limit: int | None = None
) -> list[Row]:
    """The rows of a query, in its order; with `ids` only those trajectories.

    An id that no row has is the beginning of others.

    Raises:
        ConfigError: an id fits no row.
    """
    rows = list(_rows(library, query, None if ids else limit))
    if not ids:
        return rows
    known = {row.id for row in rows}
    wanted: set[str] = set()
    for given in ids:
        found = {given} if given in known else {one for one in known if one.startswith(given)}
        if not found:
            where = "among those that the filters leave" if query.is_filtered else "in the runs"
            raise ConfigError(
                f"--trajectory '{given}': no trajectory {where} has this id or one that begins "
                "with it. atlas view RUN lists the ids."
            )
        wanted |= found
    return [row for row in rows if row.id in wanted][:limit]


def make_entries(
    library: Library, rows: Sequence[Row], shown: ShownParts
) -> Iterator[StaticEntry | Problem]:
    """Read each trajectory with its selections, labels and masks; a problem if it cannot be."""
    for row in rows:
        try:
            trajectory = library.trajectory(row.source, row.id)
        except DataError as error:
            yield Problem(where=row.source, reason=str(error), item=row.id)
            continue
        selections = () if shown.is_blind else library.selections(row.source, row.id)
        labelings = shown.labels_of(trajectory) if shown.labels_of and not shown.is_blind else ()
        masks = describe_masks(trajectory, selections, shown.renderer) if shown.renderer else ()
        yield StaticEntry(
            trajectory,
            selections,
            tuple(label for one in labelings for label in one.labels.values()),
            tuple(one.annotator for one in labelings if one.is_finished),
            row.source,
            tuple(masks),
            shown.is_blind,
        )


def _rows(library: Library, query: Query, limit: int | None) -> Iterator[Row]:
    """The rows with an id; a second row of an id in a run would show the first one again."""
    query, seen = replace(query, size=MAX_ROWS_PER_PAGE), set[tuple[str, str]]()
    while page := library.find(query).rows:
        for row in page:
            if row.id and (row.source, row.id) not in seen:
                yield row
                seen.add((row.source, row.id))
            if len(seen) == limit:
                return
        query = replace(query, page=query.page + 1)
