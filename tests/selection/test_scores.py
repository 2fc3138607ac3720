"""From scores to selections: ties, steps never chosen, both scopes, a run that breaks off."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ConfigError, DataError, EndpointError
from atlas.kinds import NoConfig
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.budget import dataset_budgets, step_budget
from atlas.selection.config import SelectConfig
from atlas.selection.scores import StepScores, score_steps, select_best
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.base import Scores, SelectorContext
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import select_config

SCORES = st.lists(st.none() | st.sampled_from([-1.0, 0.0, 0.5]) | st.floats(-5, 5), max_size=8)
SETS = st.lists(SCORES, max_size=8).map(
    lambda rows: [(f"t{index}", row) for index, row in enumerate(rows)]
)


def of(*scores: float | None) -> StepScores:
    return StepScores(trajectory_id="t", num_steps=len(scores), scores=scores)


def test_the_best_are_taken_and_of_equals_the_earlier() -> None:
    assert select_best(of(1.0, 3.0, 2.0, 3.0, 2.0), "s", 3).indices == {1, 2, 3}
    assert [step.score for step in select_best(of(1.0, 3.0, 2.0), "s", 2).critical_steps] == [
        3.0,
        2.0,
    ]


def test_a_step_without_a_score_is_never_chosen() -> None:
    assert select_best(of(None, -7.0, None), "s", 3).indices == {1}


@given(SETS, st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_the_whole_sets_best_are_chosen_and_never_more_than_its_budget(
    rows: list[tuple[str, Scores]], ratio: float
) -> None:
    budgets = dataset_budgets(rows, ratio)
    everything = [score for _, scores in rows for score in scores if score is not None]
    num_allowed = step_budget(sum(len(scores) for _, scores in rows), ratio, min_steps=0)
    chosen, left = [], []
    for id_, scores in rows:
        picked = select_best(
            StepScores(trajectory_id=id_, num_steps=len(scores), scores=tuple(scores)),
            "s",
            budgets[id_],
        )
        assert len(picked.indices) == picked.budget
        chosen += [scores[index] for index in picked.indices]
        left += [
            score
            for index, score in enumerate(scores)
            if index not in picked.indices and score is not None
        ]
    assert len(chosen) == sum(budgets.values()) == min(num_allowed, len(everything))
    assert min(chosen, default=9.0) >= max(left, default=-9.0)


@given(SETS, st.randoms(use_true_random=False))
def test_the_order_of_the_set_does_not_matter(
    rows: list[tuple[str, Scores]], rng: random.Random
) -> None:
    assert dataset_budgets(rng.sample(rows, len(rows)), 0.4) == dataset_budgets(rows, 0.4)


def test_equal_scores_are_shared_out_by_step_before_a_trajectory_gets_a_second() -> None:
    assert dataset_budgets([(f"t{index}", [0.0] * 4) for index in range(5)], 0.25) == {
        f"t{index}": 1 for index in range(5)
    }


# ---- runs ----


class Lengths:
    """Scores a step by the trajectory's length and its own index; keeps what it was asked about."""

    asked: list[str] = []  # noqa: RUF012 - read by the tests
    unanswered: set[str] = set()  # noqa: RUF012

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        pass

    async def score(self, trajectory: Trajectory) -> Scores | Problem:
        self.asked.append(trajectory.id)
        if trajectory.id in self.unanswered:
            raise EndpointError("busy")
        if trajectory.id == "t-5":
            return Problem(where="here", reason="nothing to score")
        return [len(trajectory.steps) + index / 10 for index in range(len(trajectory.steps))]


class Both(Lengths):
    """Selects the first step, though it has scores too."""

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        return select_best(
            of(*[1.0] * len(trajectory.steps)).model_copy(update={"trajectory_id": trajectory.id}),
            "both",
            1,
        )


@pytest.fixture(autouse=True)
def _nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lengths, "asked", [])
    monkeypatch.setattr(Lengths, "unanswered", set())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_trajectories(
        tmp_path / "trajectories",
        [make_trajectory(num_steps, f"t-{num_steps}") for num_steps in range(2, 8)],
    )


def chosen(out: Path) -> dict[str, tuple[int, list[int]]]:
    """Budget and indices by trajectory."""
    selections = selections_in(out)
    return {
        selection.trajectory_id: (selection.budget, sorted(selection.indices))
        for selection in selections
    }


def config(kind: str = "Lengths", **settings: Any) -> SelectConfig:
    return select_config(selector=f"{__name__}:{kind}", **settings)


def test_under_scope_trajectory_each_gets_its_own_share(run: Path, tmp_path: Path) -> None:
    manifest = select_steps(config(ratio=0.4), run, tmp_path / "out")
    assert chosen(tmp_path / "out") == {
        "t-2": (1, [1]),
        "t-3": (1, [2]),
        "t-4": (1, [3]),
        "t-5": (2, []),
        "t-6": (2, [4, 5]),
        "t-7": (2, [5, 6]),
    }
    assert manifest.summary["problems"] == 1
    scores = list(read_records(tmp_path / "out" / "scores.jsonl", StepScores))
    assert scores[0].scores == (2.0, 2.1)
    assert scores[3].problem == "nothing to score"


def test_under_scope_dataset_the_best_of_all_are_taken_and_the_budget_is_what_each_got(
    run: Path, tmp_path: Path
) -> None:
    manifest = select_steps(config(scope="dataset", ratio=0.4), run, tmp_path / "out")
    assert chosen(tmp_path / "out") == {
        "t-2": (0, []),
        "t-3": (0, []),
        "t-4": (0, []),
        "t-5": (0, []),
        "t-6": (1, [5]),
        "t-7": (7, [0, 1, 2, 3, 4, 5, 6]),
    }
    assert manifest.summary["budget"] == "ratio 0.4 of all steps together, floor"
    assert manifest.summary["selected_steps"] == 8  # of 22 steps with scores


@pytest.mark.parametrize("scope", ["trajectory", "dataset"])
def test_a_run_that_broke_off_scores_the_missing_trajectories_alone(
    run: Path, tmp_path: Path, scope: str
) -> None:
    Lengths.unanswered = {"t-3", "t-7"}
    with pytest.raises(EndpointError, match="2 of 6"):
        select_steps(config(scope=scope), run, tmp_path / "out")
    assert not (tmp_path / "out" / "selections.jsonl").exists()
    Lengths.unanswered = set()
    Lengths.asked = []
    select_steps(config(scope=scope), run, tmp_path / "out")
    assert sorted(Lengths.asked) == ["t-3", "t-7"]
    select_steps(config(scope=scope), run, tmp_path / "whole")
    for file in ("scores.jsonl", "selections.jsonl"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_class_that_does_both_selects_unless_the_whole_set_is_ranked(
    run: Path, tmp_path: Path
) -> None:
    select_steps(config("Both"), run, tmp_path / "a")
    assert {tuple(indices) for _, indices in chosen(tmp_path / "a").values()} == {(0,)}
    select_steps(config("Both", scope="dataset"), run, tmp_path / "b")
    assert chosen(tmp_path / "b")["t-7"][0] > 1


def test_a_selector_without_scores_cannot_rank_the_whole_set(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'random' gives no scores, so scope=dataset"):
        select_steps(select_config(selector="random", scope="dataset"), run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_of_a_wrong_number_or_kind_are_problems() -> None:
    class Wrong:
        def __init__(self, scores: list[float]) -> None:
            self.scores = scores

        def score(self, trajectory: Trajectory) -> Scores:
            return self.scores

    def problem(scores: list[float]) -> str | None:
        return asyncio.run(score_steps(Wrong(scores), make_trajectory(3))).problem

    assert problem([1.0, 2.0]) == "2 scores for 3 steps"
    assert (
        problem([1.0, float("nan"), 2.0])
        == "step 1 has the score nan, expected a finite number or None"
    )
    assert problem([1.0, 2.0, 3.0]) is None


def test_a_run_in_which_nothing_can_be_scored_is_an_error(tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "trajectories", [make_trajectory(5, "t-5")])
    with pytest.raises(DataError, match="nothing to score"):
        select_steps(config(), run, tmp_path / "out")


class OddSelector:
    """Returns what the test says."""

    returned: Any = None

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        pass

    def select(self, trajectory: Trajectory, budget: int) -> Any:
        return self.returned


class NoSelector:
    """Has neither method."""

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        pass


@pytest.mark.parametrize("scores", [None, "abc", ["a", "b", "c"], 3])
def test_scores_that_are_no_numbers_are_a_problem(scores: Any) -> None:
    class Odd:
        def score(self, trajectory: Trajectory) -> Any:
            return scores

    assert asyncio.run(score_steps(Odd(), make_trajectory(3))).problem


@pytest.mark.parametrize(
    ("name", "returned", "said"),
    [
        ("OddSelector", [0], "expected a Selection"),
        (
            "OddSelector",
            Selection(trajectory_id="other", selector="x", num_steps=3, budget=1),
            "expected one of this trajectory",
        ),
        ("NoSelector", None, "has neither select"),
    ],
)
def test_an_own_selector_that_returns_something_else_is_named(
    name: str, returned: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OddSelector, "returned", returned)
    run = write_trajectories(tmp_path / "trajectories", [make_trajectory(3)])
    with pytest.raises(ConfigError, match=said):
        select_steps(select_config(f"{__name__}:{name}"), run, tmp_path / "selected")
