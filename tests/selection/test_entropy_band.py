"""The band of `entropy`: which steps or tokens are in it, and laws of bands."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ConfigError, DataError
from atlas.models.local.log_probabilities import load_scorer
from atlas.models.local.step_tokens import StepTokens
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.entropy import in_band, means_in_band
from tests.conftest import make_trajectory
from tests.models.endpoints.completions_server import TinyEngine, serve_scores
from tests.run_folders import write_trajectories
from tests.selection.configs import new_selector, select_config
from tests.selection.test_likelihood_selectors import scores, scores_there

Unit = Literal["quantile", "nats"]
VALUES = st.lists(st.floats(0, 12), max_size=12).map(np.array)


def rated(entropies: list[list[float]], **settings: Any) -> list[float | None]:
    selector = new_selector(select_config("entropy", model="m", **settings))
    steps = [StepTokens(np.zeros(len(one)), np.array(one)) for one in entropies]
    return list(selector.rate(steps))


STEPS = [[0.0, 0.2], [1.0, 3.0], [], [0.5, 0.7], [4.0, 5.0]]


def test_without_a_band_every_step_with_tokens_counts() -> None:
    assert rated(STEPS) == pytest.approx([0.1, 2.0, None, 0.6, 4.5])


def test_a_band_of_steps_leaves_out_the_surest_and_the_least_certain() -> None:
    assert rated(STEPS, band=[0.25, 0.75]) == pytest.approx([None, 2.0, None, 0.6, None])
    assert rated(STEPS, band=[0.5, 3], band_unit="nats") == pytest.approx(
        [None, 2.0, None, 0.6, None]
    )
    assert rated(STEPS, band=[0, 0.25]) == pytest.approx([0.1, None, None, None, None])


def test_a_band_of_tokens_takes_the_mean_of_those_inside() -> None:
    tokens = {"band_of": "tokens", "band_unit": "nats"}
    assert rated(STEPS, band=[0.6, 4.5], **tokens) == pytest.approx([None, 2.0, None, 0.7, 4.0])
    # The quantiles are of all tokens of the trajectory: 0.0 0.2 0.5 0.7 1.0 3.0 4.0 5.0.
    middle = rated(STEPS, band=[0.25, 0.75], band_of="tokens")
    assert middle == pytest.approx([None, 2.0, None, 0.6, None])


def test_the_only_step_stands_in_the_middle() -> None:
    assert rated([[2.0]], band=[0.4, 0.6]) == [2.0]
    assert rated([[2.0]], band=[0.6, 1]) == [None]
    assert rated([], band=[0.4, 0.6]) == []
    assert rated([[], []], band=[0.4, 0.6], band_of="tokens") == [None, None]


@given(VALUES, st.sampled_from(["quantile", "nats"]), st.lists(st.floats(0.01, 0.99), max_size=3))
def test_bands_that_touch_divide_the_values_among_them(
    values: np.ndarray, unit: Unit, cuts: list[float]
) -> None:
    top = 1.0 if unit == "quantile" else 13.0
    ends = [0.0, *sorted({cut * top for cut in cuts}), top]
    bands = [in_band(values, band, unit) for band in pairwise(ends)]
    assert np.array_equal(np.sum(bands, axis=0), np.ones(len(values)))


@given(VALUES, st.floats(0, 0.9), st.floats(0.01, 1), st.randoms())
def test_quantiles_depend_on_ranks_only(
    values: np.ndarray, low: float, width: float, random: Any
) -> None:
    band = (low, min(1.0, low + width))
    inside = in_band(values, band, "quantile")
    assert np.array_equal(in_band(values * 4, band, "quantile"), inside)
    order = list(range(len(values)))
    random.shuffle(order)
    assert np.array_equal(in_band(values[order], band, "quantile"), inside[order])
    for value in set(values.tolist()):
        assert len(set(inside[values == value].tolist())) == 1


@given(st.lists(VALUES, max_size=5))
def test_a_band_of_everything_changes_no_mean(steps: list[np.ndarray]) -> None:
    for band, unit in (((0.0, 1.0), "quantile"), ((0.0, 100.0), "nats")):
        found = means_in_band(steps, band, unit)  # type: ignore[arg-type]
        assert found == [float(one.mean()) if len(one) else None for one in steps]


def test_an_entropy_that_is_not_a_number_is_no_step_outside_the_band() -> None:
    with pytest.raises(DataError, match="step 1 has the entropy nan"):
        rated([[1.0], [2.0, float("nan")]], band=[0.2, 0.8])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"band": [0.5, 0.5]}, "is not a range: expected 0 <= low < high"),
        ({"band": [-1, 0.5]}, "is not a range"),
        ({"band": [0, float("inf")], "band_unit": "nats"}, "should be a finite number"),
        ({"band": [0, float("nan")], "band_unit": "nats"}, "should be a finite number"),
        ({"band": [1, 3]}, "exceeds 1, the highest quantile.*band_unit=nats"),
        ({"band_of": "tokens"}, r"band_of is only used with band=\[low,high\]"),
        ({"band": "mid"}, "band"),
        ({"band": [0.1]}, "band"),
    ],
)
def test_a_band_that_cannot_be_is_explained(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_config("entropy", model="m", **settings)


def test_a_band_is_the_same_here_and_at_an_endpoint(tiny_model_folder: Path) -> None:
    read = load_scorer(str(tiny_model_folder), "fp32").read(make_trajectory(6))
    for settings in (
        {"band": [0.2, 0.8]},
        {"band": [0.2, 0.8], "band_of": "tokens"},
        {"band": [0.5, 4.0], "band_unit": "nats", "band_of": "tokens"},
    ):
        here = scores("entropy", tiny_model_folder, **settings)
        with serve_scores(TinyEngine(tiny_model_folder)) as server:
            there = scores_there(
                server.url, "entropy", tiny_model_folder, num_likeliest=999, **settings
            )
        assert [one is None for one in here] == [one is None for one in there]
        np.testing.assert_allclose(
            np.array(there, dtype=float), np.array(here, dtype=float), atol=1e-4
        )
        assert any(one is not None for one in here)
    assert len(read) == 6


def test_a_band_that_is_narrower_than_the_budget_says_how_much_of_it_is_used(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    run = write_trajectories(tmp_path / "t", [make_trajectory(10, "a"), make_trajectory(20, "b")])
    model = str(tiny_model_folder)
    for scope, form in (("trajectory", "floor, at least 1"), ("dataset", "together, floor")):
        config = select_config("entropy", model=model, band=[0.35, 0.65], ratio=0.5, scope=scope)
        summary = select_steps(config, run, tmp_path / scope).summary
        assert summary["selected_steps"] == 9
        assert summary["budget"].endswith(f"{form}; 9 of 15 steps used, no others could be chosen")
    full = select_config("entropy", model=model, band=[0, 1], ratio=0.5)
    assert "used" not in select_steps(full, run, tmp_path / "full").summary["budget"]


def test_a_band_that_nothing_falls_into_is_named(tiny_model_folder: Path, tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "t", [make_trajectory(3)])
    config = select_config("entropy", model=str(tiny_model_folder), band=[90, 99], band_unit="nats")
    with pytest.raises(DataError, match=r"no step is among .* with entropies in \[90, 99\) nats"):
        select_steps(config, run, tmp_path / "out")
