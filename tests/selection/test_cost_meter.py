"""What a run pays and may still ask, for any selector with an estimate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import CostLimitError, DataError, EndpointError
from atlas.models.payments import Payment
from atlas.records import Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.base import Concurrency, SelectorBase
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config

NAME = f"{__name__}:Asking"


class AskingConfig(JudgeConfig):
    """Settings of a selector that is not in the table."""


class Asking(SelectorBase[AskingConfig]):
    """Takes as many tokens as estimated, a thousand for each step; reports no single payment."""

    under_way = most_under_way = 0

    Config = AskingConfig

    def concurrency(self) -> Concurrency:
        return Concurrency(self.config.endpoint.max_in_flight)

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        return Usage(requests=1, input_tokens=1_000 * len(trajectory.steps))

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        if trajectory.id == "broken":
            raise EndpointError("no answer.")
        Asking.under_way += len(trajectory.steps)
        Asking.most_under_way = max(Asking.most_under_way, Asking.under_way)
        await asyncio.sleep(0)
        Asking.under_way -= len(trajectory.steps)
        return self.selection_of(
            trajectory,
            budget,
            usage=self.estimate(trajectory, budget),
            problem=f"nothing in {trajectory.id}",
        )


def asking(prices: Path, limit: int, max_in_flight: int) -> SelectConfig:
    """With a limit in steps, each of which costs a dollar."""
    prices.write_text("test/judge: {input: 1000, output: 1000}\n")
    return select_config(
        selector=NAME,
        model="test/judge",
        prices=str(prices),
        max_cost_usd=float(limit),
        max_in_flight=max_in_flight,
    )


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    limit=st.integers(1, 60),
    max_in_flight=st.integers(1, 20),
)
def test_where_estimates_are_exact_no_cent_goes_beyond_the_limit_and_nothing_that_fits_is_left(
    lengths: list[int], limit: int, max_in_flight: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("meter")
    run = write_trajectories(
        folder / "run",
        [make_trajectory(length, f"t{index}") for index, length in enumerate(lengths)],
    )
    fitting = max(count for count in range(len(lengths) + 1) if sum(lengths[:count]) <= limit)
    Asking.under_way = Asking.most_under_way = 0
    with pytest.raises(
        (CostLimitError, DataError),
        match=f"t{fitting}" if fitting < len(lengths) else "selected no step",
    ) as stopped:
        select_steps(asking(folder / "prices.yaml", limit, max_in_flight), run, folder / "out")
    assert isinstance(stopped.value, CostLimitError) is (fitting < len(lengths))
    assert Asking.most_under_way <= limit
    # The run is not finished in either case: it selected nothing.
    spent = folder / "out" / "spent.jsonl.partial"
    assert [Payment(), *read_records(spent, Payment)][-1].input_tokens == 1_000 * sum(
        lengths[:fitting]
    )


def test_a_trajectory_without_an_answer_makes_room_for_the_next(tmp_path: Path) -> None:
    run = write_trajectories(
        tmp_path / "run", [make_trajectory(3, name) for name in ("broken", "a", "b")]
    )
    with pytest.raises(CostLimitError, match=r"paid 3\.0000 USD, and trajectory 'b'"):
        select_steps(asking(tmp_path / "prices.yaml", 5, 8), run, tmp_path / "out")
