"""Run folders and one report that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.reporting.report import Report
from tests.reporting.synthetic_runs import RunFolders, make_run_folders, read_built


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
