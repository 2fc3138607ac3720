"""Which trajectory to label next: those about which the selections are the least certain.

With scores, a trajectory is uncertain if the last score within the budget and the first one beyond
it are close: a little noise would select another step. Without scores, it is uncertain if the
selections differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.records import Selection
from atlas.store.record_files import read_records
from atlas.viewing.web.index_lines import read_scores_line


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A trajectory, the step to look at, and the reason as a phrase."""

    trajectory_id: str
    step: int
    reason: str


def rank_uncertain(
    selections: Sequence[Mapping[str, Selection]],
    scores: Mapping[str, Sequence[float | None]] | None = None,
    budgets: Mapping[str, int] | None = None,
) -> tuple[Uncertain, ...]:
    """The trajectories in the order in which a person should label them, most uncertain first.

    Those with scores come first, by the distance between the two scores at the budget; then those
    whose selections differ, by the share of their selected steps that only some selected. The rest
    is left out.

    Args:
        selections: one mapping per selection, by trajectory id.
        scores: of one selector, by trajectory id; scores of several cannot be compared.
        budgets: the number of steps that this selector may take, by trajectory id.
    """
    close: list[tuple[float, Uncertain]] = []
    for id_, of_steps in (scores or {}).items():
        if (found := _closest(of_steps, (budgets or {}).get(id_, 0))) is not None:
            gap, step = found
            reason = f"the scores at the budget differ by {gap:.3g}"
            close.append((gap, Uncertain(id_, step, reason)))
    ranked = {one.trajectory_id: one for _, one in sorted(close, key=lambda pair: pair[0])}
    differing = sorted(_differing(selections), key=lambda pair: -pair[0])
    for _, one in differing:
        ranked.setdefault(one.trajectory_id, one)
    return tuple(ranked.values())


def read_scores(file: Path) -> dict[str, tuple[float | None, ...]]:
    """The scores of a run of select by trajectory id.

    Trajectories with a problem, or with a line that cannot be read, have none.
    """
    if not file.exists():
        return {}
    with file.open("rb") as lines:
        entries = [entry for line in lines if (entry := read_scores_line(line)) is not None]
    return {entry.trajectory_id: entry.scores for entry in entries if entry.problem is None}


def read_usable(file: Path) -> dict[str, Selection]:
    """The selections of a run by trajectory id, without those that have a problem."""
    read = read_records(file, Selection)
    return {one.trajectory_id: one for one in read if one.problem is None}


def _closest(scores: Sequence[float | None], budget: int) -> tuple[float, int] | None:
    """The distance between the scores on both sides of the budget, and the last step within it."""
    known = sorted((-score, step) for step, score in enumerate(scores) if score is not None)
    if not 0 < budget < len(known):
        return None
    (inside, step), (outside, _) = known[budget - 1 : budget + 1]
    return outside - inside, step


def _differing(
    selections: Sequence[Mapping[str, Selection]],
) -> Iterator[tuple[float, Uncertain]]:
    for id_ in _ids(selections):
        chosen = [one[id_].indices for one in selections if id_ in one]
        any_of, all_of = frozenset().union(*chosen), frozenset.intersection(*chosen)
        if differing := sorted(any_of - all_of):
            share = len(differing) / len(any_of)
            reason = f"the selections differ on {len(differing)} of {len(any_of)} steps"
            yield share, Uncertain(id_, differing[0], reason)


def _ids(selections: Iterable[Mapping[str, Selection]]) -> dict[str, None]:
    return {id_: None for one in selections for id_ in one}
