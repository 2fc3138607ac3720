"""`limit=N`: the first N, counted in the manifest, and said by every command that reads the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

import atlas
from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.selection.estimate_cost import estimate_cost
from atlas.store.readers import read_selected
from atlas.viewing.terminal.show import show_trajectories, show_trajectory
from tests.run_folders import selections_in

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "recipes" / "demo" / "trajectories.jsonl"
RULES = Choice("rules")


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    atlas.import_trajectories(atlas.ImportConfig(paths=(str(SAMPLE),)), tmp_path / "t")
    return tmp_path / "t"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_an_import_keeps_the_first_and_says_so(limit: int, imported: Path, tmp_path: Path) -> None:
    # The second file is not read at all, but it is an input of the run.
    copy = tmp_path / "again.jsonl"
    copy.write_bytes(SAMPLE.read_bytes())
    config = atlas.ImportConfig(paths=(str(SAMPLE), str(copy)), limit=limit)
    manifest = atlas.import_trajectories(config, tmp_path / "few")
    kept = list(atlas.read_trajectories(tmp_path / "few"))
    assert kept == list(atlas.read_trajectories(imported))[:limit]
    assert manifest.summary["trajectories"] == limit
    assert f"the first {limit} trajectories" in manifest.summary["limit"]
    assert [given.digest is not None for given in manifest.inputs.values()] == [True, True]
    assert atlas.import_trajectories(config, tmp_path / "few") == manifest


def test_a_limit_that_is_not_reached_is_no_limit(tmp_path: Path) -> None:
    config = atlas.ImportConfig(paths=(str(SAMPLE),), limit=100)
    assert "limit" not in atlas.import_trajectories(config, tmp_path / "t").summary


@pytest.mark.parametrize("scope", ["trajectory", "dataset"])
def test_a_selection_of_the_first_is_a_part_of_the_whole_one(
    scope: str, imported: Path, tmp_path: Path
) -> None:
    selector = RULES if scope == "trajectory" else Choice("tests.outside_faults:Scoring")
    few = atlas.SelectConfig(selector=selector, scope=scope, limit=2)  # type: ignore[arg-type]
    manifest = atlas.select_steps(few, imported, tmp_path / "few")
    assert manifest.summary["trajectories"] == 2
    assert manifest.summary["limit"] == "the first 2 of 4"
    if scope == "trajectory":
        atlas.select_steps(atlas.SelectConfig(selector=selector), imported, tmp_path / "all")
        assert selections_in(tmp_path / "few") == selections_in(tmp_path / "all")[:2]
    assert len(list(read_selected(tmp_path / "few", imported))) == 2


def test_later_commands_say_that_a_part_was_selected(imported: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    atlas.select_steps(atlas.SelectConfig(selector=RULES, limit=2), imported, few)
    said = "holds the first 2 trajectories of its input only (limit=2)"
    config = atlas.ExportConfig(dialect=Choice("openai"))
    exported = atlas.export_selection(config, imported, few, tmp_path / "o.jsonl")
    assert said in exported.summary["limited"]
    assert exported.summary["exported"] <= 2
    console = Console(record=True, width=200)
    show_trajectories(console, imported, few)
    assert said in console.export_text()
    last = list(atlas.read_trajectories(imported))[-1].id
    with pytest.raises(atlas.AtlasError, match=r"was not selected from: .* holds the first 2"):
        show_trajectory(console, imported, last, few)
    other = atlas.SelectConfig(selector=Choice("random"), limit=2)
    atlas.select_steps(other, imported, tmp_path / "other")
    compared = atlas.compare_selections(
        atlas.CompareConfig(selections=(few, tmp_path / "other"), plot=False), tmp_path / "c"
    )
    assert said in compared.summary["limited"]


def test_a_limited_selection_goes_on_to_the_rest(imported: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    atlas.select_steps(atlas.SelectConfig(selector=RULES, limit=2), imported, few)
    rest = atlas.SelectConfig(
        selector=Choice("tests.test_limit:Refuses"), retry_problems_of=str(few)
    )
    with pytest.raises(ConfigError, match="was selected differently"):
        atlas.select_steps(rest, imported, tmp_path / "x")
    rest = atlas.SelectConfig(selector=RULES, retry_problems_of=str(few))
    whole = atlas.select_steps(rest, imported, tmp_path / "all")
    assert whole.summary["trajectories"] == 4
    assert selections_in(tmp_path / "all")[:2] == selections_in(few)


class Refuses:
    """A selector that is never asked."""

    def __init__(self, *given: object) -> None: ...

    def select(self, *given: object) -> None:
        raise AssertionError


def test_an_estimate_is_of_the_first_only(imported: Path, tmp_path: Path) -> None:
    asks = Choice("oracle", {"model": "m", "endpoint": {"base_url": "http://127.0.0.1:9/v1"}})
    both = [
        estimate_cost(atlas.SelectConfig(selector=asks, limit=limit), imported, tmp_path / "o")
        for limit in (2, None)
    ]
    assert [one.trajectories for one in both] == [2, 4]


def test_an_evaluation_plays_the_first_of_the_same_tasks(tmp_path: Path) -> None:
    whole = atlas.EvaluateConfig(
        model="m",
        environment=Choice("tests.outside_faults:World"),
        player=Choice("tests.outside_faults:Playing"),
        episodes=5,
    )
    few = whole.model_copy(update={"limit": 2})
    atlas.evaluate_agent(whole, tmp_path / "whole")
    manifest = atlas.evaluate_agent(few, tmp_path / "few")
    assert manifest.summary["limit"] == "the first 2 of 5 tasks"
    played = [
        [json.loads(line) for line in (tmp_path / name / "episodes.jsonl").read_text().splitlines()]
        for name in ("whole", "few")
    ]
    assert played[1] == played[0][:2]
