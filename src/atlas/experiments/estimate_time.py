"""How long an experiment still takes: `stages -> seconds`, from finished stages of the same kind.

A stage takes as long as the finished ones that are most like it: the same arm with another seed,
else the same split, else any of its kind. They may come from this experiment or from a pilot, an
experiment of the same form in another folder; then they are scaled by the size of the stage.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from atlas.config import Config
from atlas.errors import RunError
from atlas.experiments.run_stages import Stage
from atlas.store.manifests import MANIFEST_FILE, Manifest, parse_manifest

SEED = re.compile(r"-seed-?\d+$")
# What a folder in an experiment is: the kind, such as training, and the names in it.
Place = tuple[str, ...]


@dataclass(slots=True)
class KindTime:
    """The stages of one kind.

    Attributes:
        left: seconds that the unfinished stages take, those with an estimate.
        num_unknown: unfinished stages that nothing finished is like.
    """

    kind: str
    num_stages: int = 0
    num_finished: int = 0
    spent: float = 0.0
    left: float = 0.0
    num_unknown: int = 0

    @property
    def num_left(self) -> int:
        return self.num_stages - self.num_finished


@dataclass(slots=True)
class StageTimes:
    """What stages took, by how like they are: seconds for one unit of their size."""

    _known: dict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, place: Place, seconds: float, size: float) -> None:
        """One finished stage."""
        for like in _likes(place):
            self._known[like].append(seconds / size)

    def estimate(self, place: Place, size: float) -> float | None:
        """The seconds of a stage; None if nothing is like it."""
        found = next((self._known[like] for like in _likes(place) if like in self._known), None)
        return None if found is None else fmean(found) * size


def estimate_time(
    stages: Sequence[Stage], out: Path, pilot: Path | None = None
) -> tuple[KindTime, ...]:
    """What each kind of stage has taken and still takes.

    Raises:
        RunError: `pilot` has no finished stage.
    """
    times, manifests = StageTimes(), {stage.out: _manifest(stage.out) for stage in stages}
    for stage in stages:
        manifest = manifests[stage.out]
        if manifest is not None and manifest.finished:
            times.add(_place(stage.out, out), manifest.wall_seconds, _size(stage.config))
    if pilot is not None:
        _add_pilot(times, pilot)
    kinds: dict[str, KindTime] = {}
    for stage in stages:
        place, manifest = _place(stage.out, out), manifests[stage.out]
        kind = kinds.setdefault(place[0], KindTime(place[0]))
        kind.num_stages += 1
        spent = 0.0 if manifest is None else manifest.wall_seconds
        kind.spent += spent
        if manifest is not None and manifest.finished:
            kind.num_finished += 1
        elif (seconds := times.estimate(place, _size(stage.config))) is None:
            kind.num_unknown += 1
        else:
            kind.left += max(0.0, seconds - spent)
    return tuple(kinds.values())


def duration(seconds: float) -> str:
    """A time in words.

    >>> [duration(seconds) for seconds in (8, 100, 5400, 200_000)]
    ['8 s', '1 min 40 s', '1 h 30 min', '2 d 7 h']
    """
    whole = round(seconds)
    for size, unit, part, smaller in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _add_pilot(times: StageTimes, pilot: Path) -> None:
    found = 0
    for file in _manifest_files(pilot):
        manifest = _manifest(file.parent)
        if manifest is not None and manifest.finished:
            found += 1
            size = _size(manifest.config)
            times.add(_place(file.parent, pilot), manifest.wall_seconds, size)
    if not found:
        raise RunError(
            f"{pilot} has no finished stage, expected the folder of an experiment that was run at "
            "a smaller size. Give another --pilot."
        )


def _manifest_files(folder: Path) -> Iterable[Path]:
    # A suite is a run of runs: the outer one has the time.
    for depth in range(1, 4):
        for file in sorted(folder.glob("/".join(["*"] * depth + [MANIFEST_FILE]))):
            if not any((above / MANIFEST_FILE).exists() for above in file.parent.parents):
                yield file


def _manifest(folder: Path) -> Manifest | None:
    with suppress(RunError):
        return parse_manifest(folder / MANIFEST_FILE)
    return None


def _place(folder: Path, out: Path) -> Place:
    return tuple(SEED.sub("", part) for part in folder.relative_to(out).parts)


def _likes(place: Place) -> list[Place]:
    """From the most to the least like: this arm and split, any arm on this split, any stage."""
    kind, *names = place
    return [place, (kind, "*", *names[1:]), (kind,)]


def _size(settings: Config | Mapping[str, Any]) -> float:
    """By what the time of a stage grows: episodes that are played, or passes over the data."""
    given = settings.model_dump() if isinstance(settings, Config) else settings
    if episodes := _episodes(given):
        return float(episodes)
    return float(given.get("epochs") or 1.0)


def _episodes(given: Mapping[str, Any]) -> int:
    """The episodes that a stage with these settings collects or plays."""
    suite = given.get("suite")
    entries = suite.get("entries") if isinstance(suite, Mapping) else None
    if entries is None:
        return _played(given)
    return sum(_played({"limit": given.get("limit"), **entry}) for entry in entries.values())


def _played(given: Mapping[str, Any]) -> int:
    """A limit lowers the number of episodes."""
    numbers = (given.get(name) for name in ("episodes", "limit"))
    return min((number for number in numbers if isinstance(number, int)), default=0)
