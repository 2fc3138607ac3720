"""The lines about the time of an experiment: before it starts, and after each stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.experiments.estimate_time import KindTime, duration
from atlas.presenting.table import Table, text_table

COLUMNS = ("stages", "number", "finished", "spent", "left", "time left")
NO_ESTIMATE = "not known"


def time_table(kinds: Sequence[KindTime]) -> Table:
    """One row for each kind of stage."""
    rows = (
        (
            kind.kind,
            f"{kind.num_stages:,}",
            f"{kind.num_finished:,}",
            duration(kind.spent),
            f"{kind.num_left:,}",
            _time_left(kind),
        )
        for kind in kinds
    )
    return text_table("What is done, and what is left", COLUMNS, rows)


def tell_time(kinds: Sequence[KindTime], processes: int) -> Iterator[str]:
    """The time in all, and what is not in it."""
    yield time_left(kinds, processes)
    unknown = [kind.kind for kind in kinds if kind.num_unknown]
    if unknown:
        yield (
            f"not known yet: {', '.join(unknown)}. A pilot tells it: run a small copy of the recipe"
            " (episodes, seeds) into another folder, and give it as --pilot"
        )


def time_left(kinds: Sequence[KindTime], processes: int) -> str:
    """One line: the stages that are left, and how long they take."""
    left = sum(kind.num_left for kind in kinds)
    work = sum(kind.left for kind in kinds)
    unknown = sum(kind.num_unknown for kind in kinds)
    if left == 0:
        return "nothing is left"
    if unknown == left:
        return f"{left} stages are left; no stage like them is finished, so their time is not known"
    more = f", and {unknown} stages whose time is not known" if unknown else ""
    at_a_time = f" with {processes} at a time" if processes > 1 else ""
    return f"{left} stages are left: about {duration(work / processes)}{at_a_time}{more}"


def _time_left(kind: KindTime) -> str:
    if not kind.num_left:
        return ""
    if kind.num_unknown == kind.num_left:
        return NO_ESTIMATE
    more = f" + {kind.num_unknown} {NO_ESTIMATE}" if kind.num_unknown else ""
    return f"about {duration(kind.left)}{more}"
