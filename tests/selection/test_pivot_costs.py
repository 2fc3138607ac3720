"""What `pivot` pays: limits, endpoints that count wrong or are expensive, and two paid models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import CostLimitError, ModelError
from atlas.selection.select_steps import select_steps
from atlas.store.record_log import RecordLog
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, completion, serve
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config
from tests.selection.test_pivot_selector import FILES, answer_of, react


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_trajectories(tmp_path / "in", [make_trajectory(3, f"t{n}") for n in range(6)])


def paid(url: str, folder: Path, **settings: Any) -> Any:
    """Four samples a step of the model m, at 10 and 100 USD per million tokens."""
    prices = folder / "prices.yaml"
    prices.write_text("m: {input: 10, output: 100}\nj: {input: 1000, output: 1000}\n")
    endpoint = {"base_url": url, "max_retries": 0, "max_in_flight": 1}
    player = {"name": "endpoint", "endpoint": endpoint, "prices": str(prices)}
    return select_config("pivot", model="m", num_samples=4, player=player, **settings)


def test_a_limit_cannot_be_held_by_a_server_that_does_not_count(run: Path, tmp_path: Path) -> None:
    def uncounted(body: dict[str, Any], number: int) -> Reply:
        answer = json.loads(answer_of(body, number).body)
        del answer["usage"]
        return Reply(json.dumps(answer))

    with serve(uncounted) as server:
        with pytest.raises(ModelError, match="max_cost_usd=9 cannot be held"):
            select_steps(paid(server.url, tmp_path, max_cost_usd=9), run, tmp_path / "out")
        assert len(server.requests) <= 2 * 12, "it ends after the first trajectory"


def test_trajectories_that_cost_more_than_estimated_raise_the_next_estimates(
    run: Path, tmp_path: Path
) -> None:
    def thinks_long(body: dict[str, Any], number: int) -> Reply:
        return completion(react("sing"), tokens=(100, 2000))

    with serve(thinks_long) as server:
        # A trajectory costs 12 * 0.201 USD, about 100 times the estimate.
        with pytest.raises(CostLimitError, match="over max_cost_usd=4"):
            select_steps(paid(server.url, tmp_path, max_cost_usd=4), run, tmp_path / "out")
        assert len(server.requests) == 12


@pytest.mark.parametrize("file", ["scores", "samples", "agreement", "spent"])
def test_a_run_that_is_killed_while_its_files_are_finished_asks_nothing_again(
    file: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    seal = RecordLog.seal

    def killed(log: RecordLog[Any], order: Any) -> None:
        if log.path.stem == file:
            # The system closes the files of a killed process.
            log.close()
            raise KilledError
        seal(log, order)

    with serve(answer_of) as server:
        config, out = paid(server.url, tmp_path), tmp_path / "out"
        whole = select_steps(config, run, tmp_path / "whole")
        with monkeypatch.context() as patch:
            patch.setattr(RecordLog, "seal", killed)
            with pytest.raises(KilledError):
                select_steps(config, run, out)
        num_asked = len(server.requests)
        again = select_steps(config, run, out)
        assert len(server.requests) == num_asked
    assert (again.outputs, again.summary) == (whole.outputs, whole.summary)
    assert all(
        (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in FILES
    )
    assert not list(out.glob("*.partial"))
