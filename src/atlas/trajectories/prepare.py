"""All that can be said about one item by itself: `trajectory -> its line, its facts and its oddities`, or the filter that drops it.

What depends on the items before it (duplicates, ids, sums) is left to the one who puts them in order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import NamedTuple

import orjson

from atlas.records import Problem, Trajectory
from atlas.store.record_files import to_json
from atlas.trajectories.checks import odd_steps
from atlas.trajectories.filters import dropped_by, make_filters
from atlas.trajectories.find_files import SourceFile
from atlas.trajectories.tally import Facts, facts_of

_fields = attrgetter("__dict__")


class Dropped(NamedTuple):
    """A trajectory that a filter dropped, and which one."""

    filter: str


class Kept(NamedTuple):
    """A trajectory that passed the filters; `digest` is one of the content where the id does not hold one."""

    id: str
    place: str
    digest: bytes | None
    line: bytes
    facts: Facts
    remarks: list[tuple[int, str]]


Prepared = Kept | Dropped | Problem


class Preparer(NamedTuple):
    """The settings of an import that an item meets on its own."""

    only: tuple[str, ...]
    min_steps: int | None
    max_steps: int | None
    where: tuple[str, ...]
    tokenizer: str | None

    def prepare(
        self, file: SourceFile, items: Iterable[Trajectory | Problem]
    ) -> Iterator[Prepared]:
        """The items of a file in order, called by the names that people know the file by."""
        filters = make_filters(self.only, self.min_steps, self.max_steps, self.where)
        count_tokens = _token_counter(self.tokenizer)
        is_ours = file.format == "atlas"
        is_renamed = file.name != file.path.name and not is_ours
        for item in items:
            if is_renamed:
                item = _renamed(item, file)
            if isinstance(item, Problem):
                yield item
            elif filters and (name := dropped_by(item, filters)):
                yield Dropped(name)
            else:
                line = to_json(item) if is_ours else line_of(item)
                place = (
                    f"{file.name}: {item.id}"
                    if is_ours or item.source.row is None
                    else f"{file.name} row {item.source.row}"
                )
                digest = hashlib.sha256(line).digest() if is_ours else None
                yield Kept(
                    item.id, place, digest, line, facts_of(item, count_tokens), odd_steps(item)
                )


def line_of(trajectory: Trajectory) -> bytes:
    """The same bytes as `to_json` in half the time.

    orjson would write null for an infinity (1e400 in the source), so what came as it was is looked at first.
    """
    numbers = [trajectory.outcome.score, *(step.reward for step in trajectory.steps)]
    try:
        if b"null" not in orjson.dumps([trajectory.tools, trajectory.source.details]) and all(
            map(_is_finite, numbers)
        ):
            return orjson.dumps(_fields(trajectory), default=_fields)
    except orjson.JSONEncodeError:  # whole numbers past 64 bits, great depth
        pass
    return to_json(trajectory)


def with_id(line: bytes, id_: str) -> bytes:
    """A trajectory's line under another id."""
    return to_json(Trajectory.model_validate_json(line).model_copy(update={"id": id_}))


def _is_finite(number: float | None) -> bool:
    return number is None or math.isfinite(number)


def _renamed(item: Trajectory | Problem, file: SourceFile) -> Trajectory | Problem:
    if isinstance(item, Problem):
        where = item.where
        return (
            item.model_copy(update={"where": file.name + where.removeprefix(file.path.name)})
            if where.startswith(file.path.name)
            else item
        )
    return item.model_copy(update={"source": item.source.model_copy(update={"path": file.name})})


@cache
def _token_counter(name: str | None) -> Callable[[str], int] | None:
    if name is None:
        return None
    from atlas.models.local.load import load_renderer, locate_model

    renderer = load_renderer(locate_model(name))
    return lambda text: len(renderer.encode(text))
