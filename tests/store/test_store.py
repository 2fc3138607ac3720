"""Run folders: whole or resumable, never mixed up, never half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.config import SPEED_ONLY, Config
from atlas.errors import DataError, RunError
from atlas.records import Problem
from atlas.store.record_files import read_records, write_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import read_manifest, relative_path, run_input, start_run


class Settings(Config):
    seed: int = 0
    workers: Annotated[int, SPEED_ONLY] = 1


problems = st.builds(Problem, where=st.text(), reason=st.text(), item=st.none() | st.text())


def open_log(path: Path) -> RecordLog[Problem]:
    return RecordLog(path, Problem, key=lambda problem: problem.where)


def start_some_work(path: Path, config: Settings) -> None:
    with start_run(path, "collect", config) as run:
        write_records(run.path / "trajectories.jsonl", [Problem(where="w", reason="r")])


@settings(max_examples=50)
@given(records=st.lists(problems, max_size=8))
def test_what_is_written_is_read_back(
    records: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    write_records(path, records)
    assert list(read_records(path, Problem)) == records


@settings(max_examples=30, deadline=None)
@given(
    records=st.lists(problems, min_size=1, max_size=6, unique_by=lambda problem: problem.where),
    cut=st.integers(1, 200),
)
def test_a_log_torn_anywhere_keeps_every_whole_line(
    records: list[Problem], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "r.jsonl"
    log = open_log(path)
    for record in records:
        log.append(record)
    log.close()
    partial = path.with_name("r.jsonl.partial")
    whole = partial.read_bytes()
    partial.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = partial.read_bytes().count(b"\n")
    again = open_log(path)
    assert again.done == {record.where for record in records[:kept]}
    for record in records[kept:]:
        again.append(record)
    again.seal([record.where for record in reversed(records)])
    assert list(read_records(path, Problem)) == records[::-1]
    assert not partial.exists()


def test_a_finished_run_is_known_as_finished_and_hashes_its_outputs(tmp_path: Path) -> None:
    with start_run(tmp_path / "run", "collect", Settings()) as run:
        write_records(run.path / "trajectories.jsonl", [])
        run.finish({"n": 1})
    with start_run(tmp_path / "run", "collect", Settings()) as again:
        assert again.finished
        assert set(again.manifest.outputs) == {"trajectories.jsonl"}


def test_machine_settings_may_change_when_a_run_goes_on_and_others_may_not(tmp_path: Path) -> None:
    start_some_work(tmp_path / "run", Settings(workers=1))
    start_run(tmp_path / "run", "collect", Settings(workers=2)).close()
    with pytest.raises(RunError, match="seed: 0 there, 1 now"):
        start_run(tmp_path / "run", "collect", Settings(seed=1))


def test_the_manifest_names_the_settings_that_decide_the_result(tmp_path: Path) -> None:
    with start_run(tmp_path / "run", "collect", Settings(seed=3, workers=2)) as run:
        run.finish({})
    assert read_manifest(tmp_path / "run").result_settings == {"seed": 3}


class Section(Config):
    rank: int = 0
    alpha: int = 16


class LaterSettings(Settings):
    """The settings of a later version, with a key and a section that were not known before."""

    tries: int = 2
    lora: Section = Section()


def test_a_key_that_an_earlier_version_did_not_know_counts_as_its_default(tmp_path: Path) -> None:
    start_some_work(tmp_path / "run", Settings(seed=3))
    start_run(tmp_path / "run", "collect", LaterSettings(seed=3)).close()
    with pytest.raises(
        RunError,
        match=r"lora\.rank: 0 there, 8 now; tries: 2 there, 3 now",
    ):
        start_run(tmp_path / "run", "collect", LaterSettings(seed=3, tries=3, lora=Section(rank=8)))


def test_a_key_of_a_section_that_an_earlier_version_did_not_know_counts_as_its_default(
    tmp_path: Path,
) -> None:
    start_some_work(tmp_path / "run", LaterSettings(lora=Section(rank=4)))
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"rank": 4,', '"rank": 4').replace('"alpha": 16', "")
    )
    start_run(tmp_path / "run", "collect", LaterSettings(lora=Section(rank=4))).close()
    with pytest.raises(RunError, match=r"lora\.alpha: 16 there, 32 now"):
        start_run(tmp_path / "run", "collect", LaterSettings(lora=Section(rank=4, alpha=32)))


def test_a_default_that_has_changed_since_is_another_setting(tmp_path: Path) -> None:
    class Changed(Settings):
        seed: int = 1

    start_some_work(tmp_path / "run", Settings())
    with pytest.raises(RunError, match="seed: 0 there, 1 now"):
        start_run(tmp_path / "run", "collect", Changed())


def test_a_key_that_is_gone_is_told(tmp_path: Path) -> None:
    start_some_work(tmp_path / "run", LaterSettings(tries=5))
    with pytest.raises(RunError, match="tries: 5 there, None now"):
        start_run(tmp_path / "run", "collect", Settings())


def test_a_run_that_stopped_before_it_made_anything_may_start_over_with_other_settings(
    tmp_path: Path,
) -> None:
    start_run(tmp_path / "run", "collect", Settings(seed=0)).close()
    with start_run(tmp_path / "run", "collect", Settings(seed=1)) as run:
        assert run.manifest.config["seed"] == 1


@pytest.mark.parametrize(
    "left", [(), ("config.yaml.tmp",), ("config.yaml",), ("config.yaml", "manifest.json.tmp")]
)
def test_a_run_killed_while_it_was_opened_goes_on(tmp_path: Path, left: tuple[str, ...]) -> None:
    (tmp_path / "run").mkdir()
    for name in (".lock", *left):
        (tmp_path / "run" / name).write_text("torn")
    with start_run(tmp_path / "run", "collect", Settings()) as run:
        run.finish({})
    assert read_manifest(tmp_path / "run").outputs == {}


def test_a_config_of_the_users_own_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1")
    with pytest.raises(RunError, match="not a run folder"):
        start_run(tmp_path, "collect", Settings())
    assert (tmp_path / "config.yaml").read_text() == "mine: 1"


def test_a_whole_line_that_is_no_record_costs_no_other_record(tmp_path: Path) -> None:
    lines = [
        '{"where": "a", "reason": "r"}',
        '{"of": "another version"}',
        '{"where": "b", "reason": "r"}',
    ]
    (tmp_path / "r.jsonl.partial").write_text("\n".join(lines) + "\n")
    log = open_log(tmp_path / "r.jsonl")
    assert log.done == {"a", "b"}
    log.seal(["b", "a"])
    assert [problem.where for problem in read_records(tmp_path / "r.jsonl", Problem)] == ["b", "a"]


def test_changed_inputs_are_noticed(tmp_path: Path) -> None:
    for name, lines in (("a", 1), ("b", 2)):
        with start_run(tmp_path / name, "collect", Settings()) as run:
            write_records(run.path / "trajectories.jsonl", [Problem(where="w", reason="r")] * lines)
            run.finish({})
    with start_run(
        tmp_path / "s",
        "select",
        Settings(),
        {"trajectories": run_input(tmp_path / "a", tmp_path / "s")},
    ) as run:
        write_records(run.path / "selections.jsonl", [Problem(where="w", reason="r")])
    with pytest.raises(RunError, match="input trajectories"):
        start_run(
            tmp_path / "s",
            "select",
            Settings(),
            {"trajectories": run_input(tmp_path / "b", tmp_path / "s")},
        )


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    with (
        start_run(tmp_path / "run", "collect", Settings()),
        pytest.raises(RunError, match="another process"),
    ):
        start_run(tmp_path / "run", "collect", Settings())


def test_folders_that_are_no_runs_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(RunError, match="not a run folder"):
        start_run(tmp_path / "photos", "collect", Settings())
    with pytest.raises(RunError, match="not a run folder"):
        read_manifest(tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        start_run(tmp_path / "file", "collect", Settings())
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"


def test_a_broken_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"where": "a", "reason": "b"}\n{"where": 3}\n')
    with pytest.raises(DataError, match=r"p\.jsonl line 2"):
        list(read_records(path, Problem))


def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    write_records(path, [Problem(where="old", reason="r")])

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atlas.store.record_files.os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_records(path, [Problem(where="new", reason="r")])
    assert [problem.where for problem in read_records(path, Problem)] == ["old"]


def test_no_manifest_holds_an_absolute_path_of_its_inputs(tmp_path: Path) -> None:
    with start_run(tmp_path / "a", "collect", Settings()) as run:
        run.finish({})
    with start_run(
        tmp_path / "b",
        "select",
        Settings(),
        {"trajectories": run_input(tmp_path / "a", tmp_path / "b")},
    ) as run:
        run.finish({})
    assert (
        json.loads((tmp_path / "b" / "manifest.json").read_text())["inputs"]["trajectories"]["path"]
        == "../a"
    )
    assert relative_path(tmp_path / "a", tmp_path / "b") == "../a"
