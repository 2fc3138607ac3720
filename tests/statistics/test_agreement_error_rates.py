"""Two selections that know nothing of each other are rarely called better than chance.

Nominal are 2.5 %; at most 3.5 % may be found, with room for the noise of so few repetitions.
`python benchmarks/chance_agreement.py` prints the whole table.
"""

from __future__ import annotations

from math import sqrt

import pytest

from benchmarks.chance_agreement import Cell, cells, simulate

pytest.importorskip("scipy", reason="the report extra is not installed")
FAST, SLOW = 100, 1000
MOST_FALSE = 3.5
# The middle of short trajectories is a step at an end, so a little of this one is left.
KNOWN_LEFT = {"middle": 3.0}


def limit(repetitions: int, share: float = MOST_FALSE) -> float:
    """The percent that are exceeded by chance in one of 1,000 simulations."""
    return share + 3.1 * sqrt(share * (100 - share) / repetitions)


@pytest.mark.parametrize("draw", ["last", "third", "square", "task"])
def test_selections_that_share_only_a_liking_of_positions_do_not_agree_beyond_it(
    draw: str,
) -> None:
    found = simulate(Cell(20, 2, draw), FAST)
    assert found.above_by_position <= limit(FAST)
    assert found.called_better <= limit(FAST)
    assert abs(found.mean_by_position) < 0.06
    if draw == "last":
        assert found.above > 50, "they do agree beyond uniform chance"


def test_selections_that_agree_are_found_and_the_interval_holds_the_truth() -> None:
    found = simulate(Cell(40, 1, "blind", agree=0.5), FAST)
    assert found.called_better > 90
    assert found.covered >= 93 - 3.1 * sqrt(93 * 7 / FAST)
    assert found.mean == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [*cells()], ids=str)
def test_the_whole_grid(cell: Cell) -> None:
    found = simulate(cell, SLOW)
    if cell.agree:
        assert 93 - 3.1 * sqrt(93 * 7 / SLOW) <= found.covered <= 99.5
        return
    most = MOST_FALSE + KNOWN_LEFT.get(cell.draw, 0.0)
    assert found.above_by_position <= limit(SLOW, most)
    assert found.called_better <= limit(SLOW, most)
    if cell.draw in ("blind", "task"):
        assert found.above <= limit(SLOW)
        assert found.below <= limit(SLOW)
