"""What the paths of `atlas view` hold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from atlas.errors import DataError
from atlas.store.manifests import MANIFEST_FILE, Input, Manifest, write_manifest
from atlas.viewing.web.sources import open_sources
from tests.viewing.web.view_runs import make_episode, write_partial, write_run, write_selection


def write_bare(folder: Path, command: str, inputs: dict[str, Input]) -> Path:
    folder.mkdir(parents=True)
    manifest = Manifest(command=command, config={}, inputs=inputs, status="finished")
    write_manifest(folder / MANIFEST_FILE, manifest)
    return folder


def test_a_selection_brings_the_run_that_it_was_made_from(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    chosen = write_selection(tmp_path / "chosen", run, {"a": [0]})
    found = open_sources([chosen])
    assert [(one.key, one.kind) for one in found.sources] == [
        ("run", "trajectories"),
        ("chosen", "selection"),
    ]
    assert found.sources[1].made_from == found.sources[0].digest
    assert not found.problems


def test_a_folder_of_runs_brings_all_of_them_each_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x" / "data" / "run", [make_episode("a")])
    write_selection(tmp_path / "x" / "chosen", run, {"a": [0]})
    write_run(tmp_path / "x" / "eval" / "run", [make_episode("a")], "evaluate")
    found = open_sources([tmp_path / "x", run, tmp_path / "x" / "chosen"])
    assert [one.key for one in found.sources] == ["run", "chosen", "eval-run"]


def test_a_report_brings_its_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, [make_episode("t")], "evaluate")
    inputs = {name: Input(path=f"../{name}") for name in ("a", "b")}
    report = write_bare(tmp_path / "report", "report", inputs)
    kinds = [one.kind for one in open_sources([report]).sources]
    assert kinds == ["trajectories", "trajectories", "report"]


def test_an_evaluation_of_a_suite_brings_its_entries(tmp_path: Path) -> None:
    suite = write_bare(tmp_path / "suite", "evaluate --suite", {})
    write_run(suite / "maze", [make_episode("t")], "evaluate")
    assert [one.key for one in open_sources([suite]).sources] == ["suite-maze"]


def test_keys_are_unique_and_safe_in_an_address(tmp_path: Path) -> None:
    folders = [tmp_path / a / b for a in ("x", "y z") for b in ("rün", "r n", "run", "RUN", "<b>")]
    for folder in folders:
        write_run(folder, [make_episode("a")])
    keys = [one.key for one in open_sources(folders).sources]
    assert len({key.lower() for key in keys}) == len(folders)
    assert all(key.isascii() and not set(key) & set("/:&?<> ") for key in keys)


def test_what_cannot_be_shown_is_a_problem_beside_what_can(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / MANIFEST_FILE).write_text("{")
    found = open_sources([run, tmp_path / "broken", tmp_path / "none"])
    assert [one.key for one in found.sources] == ["run"]
    assert ["cannot be read" in one.reason for one in found.problems] == [True, False]
    with pytest.raises(DataError, match="no trajectories to show"):
        open_sources([tmp_path / "broken"])


def test_a_changed_or_missing_file_of_a_finished_run_is_a_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    with (run / "trajectories.jsonl").open("a") as file:
        file.write("{}\n")
    assert "was changed" in open_sources([run]).problems[0].reason
    (run / "trajectories.jsonl").unlink()
    assert "is missing" in open_sources([run]).problems[0].reason


def test_a_selection_of_other_trajectories_is_a_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    other = write_run(tmp_path / "other", [make_episode("b")])
    chosen = write_selection(tmp_path / "chosen", other, {"b": [0]})
    (other / MANIFEST_FILE).unlink()
    found = open_sources([run, chosen])
    assert "not among the runs" in found.problems[0].reason


def test_a_log_of_another_program_is_imported_once_for_each_content(tmp_path: Path) -> None:
    log = tmp_path / "my log.json"
    log.write_text("[]")
    outs: list[Path] = []

    def import_log(path: Path, out: Path) -> None:
        if not out.exists():
            write_run(out, [make_episode("a")], "import")
        outs.append(out)

    for content in ("[]", "[ ]"):
        log.write_text(content)
        found = open_sources([log], import_log, tmp_path / "cache")
        assert found.sources[0].key == "my-log"
        open_sources([log], import_log, tmp_path / "cache")
    assert outs[0] == outs[1] != outs[2] == outs[3]
    with pytest.raises(DataError, match="atlas import"):
        open_sources([log])


def test_only_imports_that_were_not_used_for_a_month_are_removed(tmp_path: Path) -> None:
    log, cache, long_ago = tmp_path / "log.json", tmp_path / "cache", time.time() - 90 * 24 * 3600

    def import_log(path: Path, out: Path) -> None:
        if not out.exists():
            write_run(out, [make_episode("a")], "import")

    def view(content: str) -> set[Path]:
        before = set(cache.glob("*"))
        log.write_text(content)
        open_sources([log], import_log, cache)
        return set(cache.glob("*")) - before

    first, second = view("[]"), view("[ ]")
    for one in first | second:
        os.utime(one, (long_ago, long_ago))
    # What is shown now stays, however old it is.
    open_sources([log], import_log, cache)
    assert set(cache.glob("*")) == second
    third = view("[  ]")
    assert set(cache.glob("*")) == second | third


def test_a_run_in_progress_is_a_source(tmp_path: Path) -> None:
    run = write_partial(tmp_path / "run", b"")
    (source,) = open_sources([run]).sources
    assert source.is_partial
    assert source.current_file() == run / "episodes.jsonl.partial"
    assert source.digest is None
