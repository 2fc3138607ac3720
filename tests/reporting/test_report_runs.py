"""A report is made once, from proven inputs, with the same bytes in every folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.reporting.build_report import build_report
from atlas.reporting.report import Report
from atlas.store.run_folders import read_manifest
from tests.reporting.synthetic_runs import RunFolders, read_built

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def test_digests_of_all_runs_are_recorded_and_no_path_is_absolute(
    folders: RunFolders, report: Report
) -> None:
    out = folders.root.parent / "report"
    manifest = read_manifest(out, ("report",))
    assert set(manifest.inputs) == {name for name, _, _ in folders.config.named_runs()}
    for run in report.runs:
        assert run.digest == read_manifest(out / run.path).digest
    for file in out.rglob("*"):
        if file.is_file():
            assert str(folders.root.parent) not in file.read_text(encoding="utf-8"), file


def test_the_same_runs_give_the_same_bytes_in_another_folder(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(num_tasks=16)
    read_built(folders, "first")
    read_built(folders, "second")
    first, second = folders.root.parent / "first", folders.root.parent / "second"
    files = sorted(
        file.relative_to(first)
        for file in first.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    )
    assert len(files) >= 10
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_finished_report_is_not_made_again(folders: RunFolders, report: Report) -> None:
    page = folders.root.parent / "report" / "report.html"
    before = page.stat().st_mtime_ns
    read_built(folders)
    assert page.stat().st_mtime_ns == before


def test_relative_paths_make_the_same_run(
    make_runs: Callable[..., RunFolders], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make_runs(num_tasks=8)
    read_built(folders)
    monkeypatch.chdir(folders.root)
    build_report(folders.config.relative_to(folders.root), Path("../report"))


def test_importing_the_reporting_package_is_light() -> None:
    names = ("matplotlib", "torch", "jinja2", "rich")
    heavy = (
        "import atlas.reporting.build_report, sys;"
        f"print([name for name in {names} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
