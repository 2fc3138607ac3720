"""The report of an unfinished experiment names nothing that is not there yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.config import load_config
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import plan_experiment
from atlas.reporting.config import ReportConfig
from atlas.reporting.shown_episodes import EPISODES_COMMAND
from atlas.store.run_folders import start_run
from tests.run_folders import NoSettings
from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "recipes" / "paper" / "report_so_far.py"


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script(SCRIPT)


def report_of_the_demo(run: Path) -> ReportConfig:
    """The report of an experiment of which nothing is made yet."""
    recipe = ROOT / "recipes" / "demo" / "babyai.yaml"
    plan = plan_experiment(load_config(ExperimentConfig, recipe, [], {}), run, str(recipe))
    [report] = [one.config for one in plan.stages if isinstance(one.config, ReportConfig)]
    return report


def test_the_page_of_episodes_is_named_once_it_is_finished(script: Any, tmp_path: Path) -> None:
    report = report_of_the_demo(tmp_path)
    assert report.episodes is not None
    assert script.episodes_of(report) is None
    with start_run(report.episodes, EPISODES_COMMAND, NoSettings()) as run:
        assert script.episodes_of(report) is None
        run.finish({})
    assert script.episodes_of(report) == report.episodes


def test_an_experiment_without_a_finished_training_says_what_is_missing(
    script: Any, tmp_path: Path
) -> None:
    report = report_of_the_demo(tmp_path)
    with pytest.raises(SystemExit, match="no training of the arm 'all'"):
        script.reduce_report(report)
