"""Each trajectory is parsed once a command, and so is each selection of another run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import DataError
from atlas.records import Selection, Trajectory
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.select_steps import select_steps
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import completion, failure, serve
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config
from tests.selection.oracle_answers import judge_answer
from tests.selection.outside import NAME

NUM_TRAJECTORIES = 7


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_trajectories(
        tmp_path / "run", [make_trajectory(3, f"t{index}") for index in range(NUM_TRAJECTORIES)]
    )


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many records of each kind were parsed."""
    found: Counter[str] = Counter()

    for kind in (Trajectory, Selection):

        def parse(text: Any, kind: type = kind, plain: Any = kind.model_validate_json) -> Any:
            found[kind.__name__] += 1
            return plain(text)

        monkeypatch.setattr(kind, "model_validate_json", parse)
    return found


@pytest.mark.parametrize("name", ["all", "rules", "random", "errors", NAME])
def test_a_selection_parses_each_trajectory_once(
    name: str, run: Path, tmp_path: Path, parses: Counter[str]
) -> None:
    select_steps(select_config(name), run, tmp_path / "out")
    assert parses["Trajectory"] == NUM_TRAJECTORIES


def test_an_oracle_parses_each_trajectory_once_a_start_and_so_does_its_dry_run(
    run: Path, tmp_path: Path, parses: Counter[str]
) -> None:
    with serve(lambda body, number: completion(judge_answer(body))) as server:
        config = select_config("oracle", model="judge", base_url=server.url)
        estimate_cost(config, run, tmp_path / "out")
        assert parses["Trajectory"] == NUM_TRAJECTORIES
        select_steps(config, run, tmp_path / "out")
    assert parses["Trajectory"] == 2 * NUM_TRAJECTORIES


@pytest.mark.parametrize(
    ("name", "num_others"), [("complement", 1), ("vote", 2)], ids=["complement", "vote"]
)
def test_selections_of_other_runs_are_read_once_and_trajectories_too(
    name: str, num_others: int, run: Path, tmp_path: Path, parses: Counter[str]
) -> None:
    of = [str(tmp_path / f"other-{seed}") for seed in range(num_others)]
    for seed, other in enumerate(of):
        select_steps(select_config("random", seed=seed), run, Path(other))
    parses.clear()
    config = select_config(name, of=of[0] if num_others == 1 else of)
    manifest = select_steps(config, run, tmp_path / "out")
    assert parses["Trajectory"] == NUM_TRAJECTORIES
    # Each once from each other run, and once for the summary of this one.
    assert parses["Selection"] == (num_others + 1) * NUM_TRAJECTORIES
    assert all(manifest.inputs[name].digest for name in manifest.inputs)


def test_problems_are_retried_without_reading_the_trajectories_for_it(
    run: Path, tmp_path: Path, parses: Counter[str]
) -> None:
    def breaks(body: dict[str, Any], number: int) -> Any:
        return failure(400) if number == 2 else completion(judge_answer(body))

    with serve(breaks) as server:
        first = {"model": "judge", "base_url": server.url, "max_in_flight": 1}
        select_steps(select_config("oracle", **first), run, tmp_path / "first")
        parses.clear()
        again = select_config("oracle", retry_problems_of=str(tmp_path / "first"), **first)
        manifest = select_steps(again, run, tmp_path / "second")
    assert manifest.summary["problems"] == 0
    assert parses["Trajectory"] == NUM_TRAJECTORIES


def test_an_id_that_stands_twice_ends_the_run(tmp_path: Path) -> None:
    run = write_trajectories(
        tmp_path / "run", [make_trajectory(2, name) for name in ("a", "b", "a")]
    )
    with pytest.raises(DataError, match="trajectory id 'a' more than once"):
        select_steps(select_config("random"), run, tmp_path / "out")
