"""The time that is left, from finished stages that are most like the unfinished ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.config import Config
from atlas.errors import RunError
from atlas.experiments.estimate_time import KindTime, duration, estimate_time
from atlas.experiments.run_stages import Stage
from atlas.experiments.tell_time import tell_time, time_left
from atlas.store.manifests import Manifest, write_manifest


class Played(Config):
    """Settings of a stage whose time grows with its episodes."""

    episodes: int = 10
    limit: int | None = None


def stage(out: Path, episodes: int = 10, limit: int | None = None) -> Stage:
    config = Played(episodes=episodes, limit=limit)
    return Stage(out.name, out, lambda *_: None, (config,))  # type: ignore[arg-type]


def took(folder: Path, seconds: float, episodes: int = 10, status: str = "finished") -> None:
    folder.mkdir(parents=True)
    config = {"episodes": episodes}
    manifest = Manifest(command="evaluate", config=config, status=status, wall_seconds=seconds)
    write_manifest(folder / "manifest.json", manifest)


def left(stages: list[Stage], out: Path, pilot: Path | None = None) -> dict[str, KindTime]:
    return {kind.kind: kind for kind in estimate_time(stages, out, pilot)}


def test_a_stage_takes_as_long_as_those_that_are_most_like_it(tmp_path: Path) -> None:
    folder = tmp_path / "evaluations"
    took(folder / "all" / "in", 100)
    took(folder / "all" / "out", 40)
    took(folder / "base" / "out", 80)
    stages = [
        stage(folder / arm / split)
        for arm in ("base", "all", "all-seed1", "new")
        for split in ("in", "out")
    ]
    kind = left(stages, tmp_path)["evaluations"]
    assert (kind.num_stages, kind.num_finished, kind.num_left, kind.num_unknown) == (8, 3, 5, 0)
    # The arm itself with seed 1: 100 and 40; other arms on "in": 100 each, on "out": the mean.
    assert kind.left == pytest.approx(100 + 40 + 100 + 100 + 60)
    assert kind.spent == 220


def test_a_stage_that_was_killed_half_way_has_only_its_rest_left(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    took(folder / "all", 100)
    took(folder / "all-seed1", 30, status="running")
    took(folder / "all-seed2", 130, status="running")
    stages = [stage(folder / name) for name in ("all", "all-seed1", "all-seed2")]
    assert left(stages, tmp_path)["training"].left == pytest.approx(70)


def test_a_pilot_gives_the_times_scaled_by_the_size_of_the_stages(tmp_path: Path) -> None:
    out, pilot = tmp_path / "out", tmp_path / "pilot"
    took(pilot / "evaluations" / "all" / "in", 10, episodes=5)
    stages = [stage(out / "evaluations" / "all" / "in", 200), stage(out / "training" / "all")]
    found = left(stages, out, pilot)
    assert found["evaluations"].left == pytest.approx(400)
    assert found["training"].num_unknown == 1
    told = "\n".join(tell_time(tuple(found.values()), 2))
    assert "about 3 min 20 s with 2 at a time, and 1 stages whose time is not known" in told
    assert "not known yet: training" in told
    with pytest.raises(RunError, match="no finished stage"):
        left(stages, out, tmp_path / "nothing")


def test_a_limit_lowers_the_episodes_that_are_expected(tmp_path: Path) -> None:
    out, pilot = tmp_path / "out", tmp_path / "pilot"
    took(pilot / "evaluations" / "all" / "in", 10, episodes=5)
    stages = [stage(out / "evaluations" / "all" / "in", 200, limit=20)]
    assert left(stages, out, pilot)["evaluations"].left == pytest.approx(40)


def test_nothing_finished_is_no_estimate_and_all_finished_is_nothing_left(tmp_path: Path) -> None:
    one = [stage(tmp_path / "training" / "all")]
    assert "not known" in time_left(estimate_time(one, tmp_path), 1)
    took(tmp_path / "training" / "all", 5)
    assert time_left(estimate_time(one, tmp_path), 1) == "nothing is left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h")],
)
def test_durations_are_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_entry_of_a_suite_is_part_of_its_stage(tmp_path: Path) -> None:
    """A pilot's suite is one stage; the runs in it are not counted again."""
    pilot = tmp_path / "pilot"
    took(pilot / "evaluations" / "all", 50)
    manifest = json.loads((pilot / "evaluations" / "all" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    took(pilot / "evaluations" / "all" / "maze", 25)
    stages = [stage(tmp_path / "out" / "evaluations" / "new")]
    assert left(stages, tmp_path / "out", pilot)["evaluations"].left == pytest.approx(50)
