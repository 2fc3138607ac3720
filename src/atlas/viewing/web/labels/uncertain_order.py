"""The next trajectory to label in a run, from the selections that were made of it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from threading import Lock

from atlas.errors import DataError
from atlas.viewing.web.index import SCORES_FILE
from atlas.viewing.web.labels.edits import labeled_trajectory
from atlas.viewing.web.labels.uncertain import Uncertain, rank_uncertain, read_scores, read_usable
from atlas.viewing.web.library import Library
from atlas.viewing.web.marks import pairs_of
from atlas.viewing.web.sources import ShownRun


@dataclass(slots=True)
class _Kept:
    """The order of a run, and the digests of the selections that it was made from."""

    digests: tuple[str | None, ...]
    order: tuple[Uncertain, ...]


class UncertainOrder:
    """The order of each run, ranked when it is first asked for and when its selections change."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._kept: dict[str, _Kept] = {}
        self._lock = Lock()

    def of(self, source_key: str) -> tuple[Uncertain, ...]:
        """All uncertain trajectories of a run, the most uncertain first.

        Raises:
            DataError: no selection of this run is shown.
        """
        selections = self._selections_of(source_key)
        digests = tuple(source.digest for source in selections)
        with self._lock:
            kept = self._kept.get(source_key)
            if kept is None or kept.digests != digests:
                kept = self._kept[source_key] = _Kept(digests, _rank(selections))
            return kept.order

    def next_of(self, source_key: str, done: Set[str], after: str = "") -> Uncertain | None:
        """The first trajectory that is not done, or the first one behind `after`, if it is there.

        `done` holds digests of trajectories.
        """
        order = self.of(source_key)
        places = {one.trajectory_id: place for place, one in enumerate(order)}
        start = places.get(after, -1) + 1
        for one in (*order[start:], *order[:start]):
            if one.trajectory_id == after:
                continue
            trajectory = self._library.trajectory(source_key, one.trajectory_id)
            if labeled_trajectory(trajectory).digest not in done:
                return one
        return None

    def _selections_of(self, source_key: str) -> list[ShownRun]:
        title = self._library.source(source_key).title
        keys = {one for one, of in pairs_of(self._library.sources) if of == source_key}
        found = [
            source
            for source in self._library.of_kind("selection")
            if source.key in keys and source.file is not None and not source.is_partial
        ]
        if not found:
            raise DataError(
                f"{title}: no finished selection of it is shown, so nothing says what is "
                "uncertain. Give its selection to 'atlas view' as well."
            )
        return found


def _rank(sources: list[ShownRun]) -> tuple[Uncertain, ...]:
    selections = [read_usable(source.file) for source in sources if source.file is not None]
    for source, selection in zip(sources, selections, strict=True):
        if scores := read_scores(source.path / SCORES_FILE):
            budgets = {id_: one.budget for id_, one in selection.items()}
            return rank_uncertain(selections, scores, budgets)
    return rank_uncertain(selections)
