"""What someone reads in the report who never saw the project: nothing false, nothing missing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from atlas.reporting.page.forest_plot import plot_forest
from atlas.reporting.page.plots import plot_success
from atlas.reporting.report import Report
from tests.reporting.made_arms import make_arm, report_on

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def _rows(*shares: float, num_tasks: int = 40) -> np.ndarray:
    """A training for each share of successes, from the first task on."""
    return np.array([np.arange(num_tasks) < share * num_tasks for share in shares], dtype=float)


def _report(**rates: tuple[float, ...]) -> Report:
    return report_on([make_arm(name, {"test": _rows(*own)}) for name, own in rates.items()])


def _text(report: Report) -> str:
    notes = (note.text for note in report.notes)
    return "\n".join((report.headline, *report.findings, *notes))


def test_where_every_episode_broke_nothing_is_said_about_verdicts() -> None:
    broken = np.full((3, 6), np.nan)
    report = report_on([make_arm(name, {"test": broken}) for name in ("all", "critical")])
    text = _text(report)
    assert "no task with a valid episode" in text
    assert "fewer than" not in text
    assert "erdict" not in text.replace("A verdict is given only where it stays the same", "")


def test_no_difference_beyond_100_points_is_promised() -> None:
    values = {"all": [[1, 0]], "critical": [[0, 1]]}
    arms = [make_arm(name, {"test": np.array(rows, float)}) for name, rows in values.items()]
    text = _text(report_on(arms))
    found = [float(number) for number in re.findall(r"difference of ([\d.]+) points", text)]
    assert all(number <= 100 for number in found)
    assert "no difference, however large" in text


def test_checkpoints_that_differ_are_told_apart_by_their_side() -> None:
    report = _report(all=(0.5,), critical=(0.55,), good=(1.0,), bad=(0.0,))
    against_all = [text for text in report.findings if "from that of Arm all" in text]
    assert [text for text in against_all if "Arm good (higher)" in text]
    assert [text for text in against_all if "Arm bad (lower)" in text]
    headline = _report(all=(1.0,), critical=(0.2,)).headline
    assert re.search(r"−80\.0 points \[[^]]*\] for Arm critical", headline)


@pytest.mark.parametrize("reach", [0.01, 0.07, 0.11, 0.13, 0.26, 0.6, 1.0])
def test_every_tick_stands_where_its_label_says(reach: float) -> None:
    values = {"all": _rows(0.5, num_tasks=100), "critical": _rows(0.5 + reach / 2, num_tasks=100)}
    report = report_on([make_arm(name, {"test": rows}) for name, rows in values.items()])
    plots = [plot_forest(report, "reference"), plot_success(report)]
    for plot in filter(None, plots):
        ticks = [
            (float(place), float(label.replace("−", "-").rstrip("%").strip()))
            for place, label in re.findall(
                r'<g id="[^"]*-xtick_\d+">.*?x="([\d.]+)".*?>([−+\d.]+\u202f?%?)</text>',
                plot.svg,
                re.DOTALL,
            )
        ]
        assert len(ticks) > 2
        places, labels = np.array(ticks).T
        slope, start = np.polyfit(labels, places, 1)
        assert np.allclose(slope * labels + start, places, atol=0.05), ticks


def test_what_many_undecided_scopes_leave_open_is_said_once() -> None:
    splits = {f"split_{number}": _rows(0.5, 0.55, 0.5) for number in range(4)}
    headline = report_on([make_arm(name, splits) for name in ("all", "critical")]).headline
    assert headline.count("undecided") == 4
    assert headline.count("would be found in 80 % of such experiments") == 1
