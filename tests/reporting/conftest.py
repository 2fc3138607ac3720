"""Run folders and one report that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.reporting.report import Report
from tests.reporting.synthetic_runs import RunFolders, make_run_folders, read_built
from tests.reporting.synthetic_suites import ALL, BASE, MadeArm, make_suite_runs

HOSTILE = '<script>alert("x")</script> | `a` [b](http://evil) $x$\n# \u202e\x1b[31m#a0b0c1'
SUITE_ARMS = (
    BASE,
    ALL,
    MadeArm("oracle-10", "oracle", 0.1, 0.0, "oracle 10 %", seeds=1),
    MadeArm("oracle-30", "oracle", 0.3, 0.4, "oracle 30 %"),
    MadeArm("random-30", "random", 0.3, -0.6, "random 30 %"),
)


@pytest.fixture
def make_runs(tmp_path: Path) -> Callable[..., RunFolders]:
    """`make_runs(...)` writes run folders under the test's folder; the report goes beside them."""
    return lambda **settings: make_run_folders(tmp_path / "runs", **settings)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> RunFolders:
    """Five arms, two splits, one seed, made once for the tests that only read."""
    return make_run_folders(tmp_path_factory.mktemp("whole") / "runs")


@pytest.fixture(scope="session")
def report(folders: RunFolders) -> Report:
    """The report of `folders`."""
    return read_built(folders)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> RunFolders:
    """Arms on a suite with two rings, with budgets, base skills and a primary comparison."""
    primary = {"arm": "oracle-30", "against": "random-30", "ring": "held_in"}
    settings = {"margin": 5.0, "focus": "oracle-30", "primary": primary}
    root = tmp_path_factory.mktemp("suite") / "runs"
    return make_suite_runs(root, SUITE_ARMS, num_entries=5, num_tasks=8, settings=settings)


@pytest.fixture(scope="session")
def suite_report(suite: RunFolders) -> Report:
    """The report of `suite`."""
    return read_built(suite)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report whose labels and reasons are hostile."""
    arms = (ALL, MadeArm("random", label=HOSTILE, seeds=1))
    reasons = (HOSTILE, "=cmd|' /C calc'!A0", "x" * 500)
    root = tmp_path_factory.mktemp("hostile") / "runs"
    made = {"num_entries": 2, "num_tasks": 6, "reasons": reasons, "crash_share": 0.4}
    read_built(make_suite_runs(root, arms, **made))  # type: ignore[arg-type]
    return root.parent / "report"
