"""`hindsight`: what its scores are of, on this machine and at an endpoint, and what it refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import DataError, EndpointError
from atlas.models.local.log_probabilities import load_scorer
from atlas.models.local.step_tokens import StepTokens
from atlas.records import Outcome, Problem, Trajectory
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.outcome_text import with_outcome
from atlas.selection.scores import StepScores
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.hindsight import likelihood_gain
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, failure
from tests.models.endpoints.completions_server import TinyEngine, serve_scores
from tests.run_folders import write_trajectories
from tests.selection.configs import new_selector, select_config
from tests.selection.test_likelihood_selectors import score
from tests.tool_runs import call_trajectory

UNKNOWN = make_trajectory(3, "unknown").model_copy(update={"outcome": Outcome(status="unknown")})


def hindsight(model: Path, trajectory: Trajectory, **settings: Any) -> list[float] | Problem:
    config = select_config("hindsight", model=str(model), precision="fp32", **settings)
    return score(config, trajectory)


def test_a_score_is_what_the_outcome_adds_to_the_mean_log_likelihood(
    tiny_model_folder: Path,
) -> None:
    trajectory = make_trajectory(6)
    text = "How this episode will end is known: The task was solved. The score is 1."
    scorer = load_scorer(str(tiny_model_folder), "fp32")
    before, after = scorer.read(trajectory), scorer.read(with_outcome(trajectory, text))
    expected = [
        (other.log_probs - one.log_probs).mean() for one, other in zip(before, after, strict=True)
    ]
    found = hindsight(tiny_model_folder, trajectory)
    assert isinstance(found, list)
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(found)


def tokens(*log_probs: float) -> StepTokens:
    return StepTokens(np.array(log_probs), np.zeros(len(log_probs)))


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=5), st.floats(-5, 5))
def test_the_gain_is_zero_where_nothing_changed_and_its_sign_turns_with_the_passes(
    log_probs: list[float], shift: float
) -> None:
    one, other = tokens(*log_probs), tokens(*(value + shift for value in log_probs))
    assert likelihood_gain(one, one, 0) == 0.0
    gain = likelihood_gain(one, other, 0)
    assert gain is not None
    assert gain == pytest.approx(shift, abs=1e-9)
    assert likelihood_gain(other, one, 0) == -gain


def test_the_score_is_zero_if_the_text_of_the_outcome_is_empty(tiny_model_folder: Path) -> None:
    scorer = load_scorer(str(tiny_model_folder), "fp32")
    trajectory = make_trajectory(3)
    before, after = scorer.read(trajectory), scorer.read(with_outcome(trajectory, ""))
    gains = [likelihood_gain(*pair, 0) for pair in zip(before, after, strict=True)]
    assert gains == [0.0, 0.0, 0.0]


def test_steps_without_tokens_have_no_score_and_different_tokens_are_refused() -> None:
    assert likelihood_gain(tokens(), tokens(), 0) is None
    with pytest.raises(DataError, match="step 3 has 1 tokens, and 2 with the outcome"):
        likelihood_gain(tokens(-1.0), tokens(-1.0, -2.0), 3)


@pytest.mark.parametrize("bad", [float("-inf"), float("nan")])
def test_a_likelihood_that_is_not_finite_is_a_problem(
    bad: float, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from atlas.models.local.log_probabilities import LocalScorer

    monkeypatch.setattr(LocalScorer, "read", lambda *_: [tokens(bad)] * 2)
    run = write_trajectories(tmp_path / "t", [make_trajectory(2)])
    config = select_config("hindsight", model=str(tiny_model_folder))
    with pytest.raises(
        DataError, match=f"step 0 has the log-probability {bad}, expected a finite number"
    ):
        select_steps(config, run, tmp_path / "out")


def test_an_unknown_outcome_is_a_problem_unless_one_is_assumed(tiny_model_folder: Path) -> None:
    result = hindsight(tiny_model_folder, UNKNOWN)
    assert isinstance(result, Problem)
    assert result.item == "unknown"
    assert "set assume=success" in result.reason
    assert isinstance(hindsight(tiny_model_folder, UNKNOWN, assume="success"), list)


def test_a_template_that_does_not_write_the_outcome_is_refused(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    template = tmp_path / "deaf.jinja"
    template.write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{% if m.role == 'assistant' %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    result = hindsight(tiny_model_folder, make_trajectory(2), chat_template=str(template))
    assert isinstance(result, Problem)
    assert "does not write what is added before the first response" in result.reason


def test_what_the_template_leaves_out_is_counted_once(
    tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(hindsight(tiny_model_folder, call_trajectory()), list)
    assert "does not write the tool calls of 2 of 3 steps" in capfd.readouterr().err


def test_an_endpoint_scores_as_the_same_model_here_and_a_run_asks_only_for_what_is_missing(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    trajectories = [make_trajectory(3, f"t{number}") for number in range(5)]
    run = write_trajectories(tmp_path / "trajectories", [*trajectories, UNKNOWN])

    def breaks(body: dict[str, Any], number: int) -> Reply | None:
        return failure(500) if number == 4 else None

    with serve_scores(TinyEngine(tiny_model_folder), breaks) as server:
        config = select_config(
            "hindsight",
            model="served",
            tokenizer=str(tiny_model_folder),
            base_url=server.url,
            max_retries=0,
            max_in_flight=1,
        )
        left = estimate_cost(config, run, tmp_path / "out")
        assert (left.usage.requests, left.num_problems, left.has_price) == (10, 1, False)
        with pytest.raises(EndpointError, match="1 of 6 trajectories got no answer"):
            select_steps(config, run, tmp_path / "out")
        assert estimate_cost(config, run, tmp_path / "out").usage.requests == 2
        manifest = select_steps(config, run, tmp_path / "out")
    # Two passes for each trajectory with a known outcome; the broken one had one or two.
    assert len(server.requests) in (11, 12)
    assert manifest.summary["problems"] == 1
    local = select_config("hindsight", model=str(tiny_model_folder), precision="fp32")
    select_steps(local, run, tmp_path / "local")
    for one, other in zip(
        *(read_records(tmp_path / name / "scores.jsonl", StepScores) for name in ("out", "local")),
        strict=True,
    ):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_a_dry_run_loads_no_model_and_reads_nothing(tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "t", [make_trajectory(3), UNKNOWN])
    there = estimate_cost(select_config("hindsight", model="no/such"), run, tmp_path / "out")
    assert (there.usage.requests, there.trajectories, there.num_problems) == (2, 2, 1)
    one_pass = estimate_cost(select_config("entropy", model="no/such"), run, tmp_path / "out")
    assert one_pass.usage.requests == 2
    two_models = select_config("excess-loss", model="no/such", reference_model="no/other")
    assert estimate_cost(two_models, run, tmp_path / "out").usage.requests == 4


def test_a_selector_that_was_closed_loads_its_model_again(tiny_model_folder: Path) -> None:
    async def twice() -> list[Any]:
        selector = new_selector(select_config("hindsight", model=str(tiny_model_folder)))
        found = []
        for _ in range(2):
            found.append(await selector.score(make_trajectory(2)))
            await selector.close()
        return found

    first, second = asyncio.run(twice())
    assert first == second
