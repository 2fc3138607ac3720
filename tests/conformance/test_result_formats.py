"""Laws of every format of results made elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import AtlasError, DataError
from atlas.kinds import Choice
from atlas.reporting.arms import Arm
from atlas.reporting.config import ReportConfig
from atlas.reporting.results import json_parts, result_file
from atlas.reporting.results.base import RESULT_FORMAT, RESULT_FORMATS, detect_result_format
from atlas.reporting.results.find_results import find_results
from atlas.reporting.results.read_results import read_result_arms
from atlas.reporting.results.result_file import ResultFile
from atlas.statistics.trajectory_summary import TrajectoryFacts
from tests.extending_rows import write_examples
from tests.reporting.foreign_results import (
    CRASH,
    NAN,
    SAID,
    WITHOUT_REPETITIONS,
    WRITERS,
    Attempts,
    write_lines,
)

BASE: Attempts = [("t1", True), ("t2", False), ("t3", False), ("t4", True)]
TUNED: Attempts = [("t1", True), ("t2", True), ("t3", CRASH), ("t4", NAN)]
REPEATED: Attempts = [("t1", True), ("t1", False), ("t2", True), ("t2", True)]


def read(paths: Mapping[str, Any], **settings: Any) -> tuple[Arm, ...]:
    arms = [{"name": name, "results": list(map(str, given))} for name, given in paths.items()]
    return read_result_arms(ReportConfig(arms=arms, reference=next(iter(paths)), **settings))


def episodes(arm: Arm) -> list[list[TrajectoryFacts]]:
    """The episodes of each task of the first benchmark, one per repetition."""
    (run,) = arm.runs
    return [list(task) for task in next(iter(run.evaluations.values())).played()]


def test_every_row_has_a_writer() -> None:
    assert {name for name, _ in WRITERS.values()} == set(RESULT_FORMATS)


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_crash_and_a_nan_are_invalid_and_never_failures(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    base, tuned = write(tmp_path, "base", BASE), write(tmp_path, "tuned", TUNED)
    first, second = read({"base": [base], "tuned": [tuned]})
    assert [[one.status for one in task] for task in episodes(first)] == [
        ["success"],
        ["failure"],
        ["failure"],
        ["success"],
    ]
    found = [task[0] for task in episodes(second)]
    assert [one.status for one in found] == ["success", "success", "error", "error"]
    assert [one.is_valid for one in found] == [True, True, False, False]
    assert all(one.reason for one in found[2:])
    if kind != "lm_eval":
        assert SAID in str(found[2].reason) or "infrastructure_error" in str(found[2].reason)
    assert all(one.score is None for one in found[3:])


def test_what_a_log_does_not_say_is_unknown(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    arms = read({"base": [write(tmp_path, "base", BASE)]})
    for (episode,) in episodes(arms[0]):
        assert episode.num_steps in (None, 1)
        assert episode.usage is None
        assert episode.num_cut_steps is None
    assert arms[0].runs[0].training is None


def test_the_content_tells_the_format(kind: str, tmp_path: Path) -> None:
    expected, write = WRITERS[kind]
    (found,) = find_results(str(write(tmp_path, "base", BASE)))
    names = {
        detect_result_format(ResultFile(file, file.name, "base"))
        for file in found.files
        if file.name not in ("metadata.json",) and not file.name.startswith("results_")
    }
    assert names == {expected}


def test_repetitions_are_of_one_run(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    path = write(tmp_path, "base", REPEATED)
    if kind in WITHOUT_REPETITIONS:
        with pytest.raises(DataError, match="scored before"):
            read({"base": [path]})
        return
    (arm,) = read({"base": [path]})
    assert len(arm.runs) == 1
    assert [[one.status for one in task] for task in episodes(arm)] == [
        ["success", "failure"],
        ["success", "success"],
    ]


def test_a_cut_file_is_an_error_that_says_so(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    path = write(tmp_path, "base", BASE)
    if kind == "table":
        path.write_text(path.read_text()[:-10])
    else:
        (found,) = find_results(str(path))
        file = found.files[-1]
        if kind == "lm_eval":
            file = next(one for one in found.files if one.name.startswith("samples_"))
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut off|not usable JSON|whole archive|not a row"):
        read({"base": [path]})


@pytest.mark.parametrize(
    "garbage", [b"\xff\xfe\x00", b"\x00" * 50, b"[" * 100_000, b"{}", b"", b"[]"]
)
def test_any_bytes_end_in_one_sentence(kind: str, garbage: bytes, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    (found,) = find_results(str(write(tmp_path, "base", BASE)))
    for file in found.files:
        file.write_bytes(garbage)
    with pytest.raises(AtlasError) as raised:
        read({"base": [found.path]})
    assert "Traceback" not in str(raised.value)


def test_a_huge_line_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, write = WRITERS[kind]
    path = write(tmp_path, "base", [("t" * 400, True), *BASE])
    for module in (json_parts, result_file):
        monkeypatch.setattr(module, "MAX_PART_CHARS", 300)
    monkeypatch.setattr(result_file, "MAX_LINE_CHARS", 300)
    monkeypatch.setattr(json_parts, "CHUNK_BYTES", 50)
    with pytest.raises(DataError, match=r"more than 0 MiB"):
        read({"base": [path]})


def test_unequal_tasks_are_refused_with_the_difference(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    base, tuned = write(tmp_path, "base", BASE), write(tmp_path, "tuned", BASE[:2])
    with pytest.raises(AtlasError, match=r"2 of 4 tasks .* tasks=common") as raised:
        read({"base": [base], "tuned": [tuned]})
    assert "'t3', 't4'" in str(raised.value)
    first, second = read({"base": [base], "tuned": [tuned]}, tasks="common")
    assert len(episodes(first)) == len(episodes(second)) == 2


def test_one_log_in_two_arms_is_refused(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    path = write(tmp_path, "base", BASE)
    if kind == "table":
        path.write_text("task,arm,success\nt,a,1\nt,b,0\n")
        assert len(read({"a": [path], "b": [path]})) == 2
        return
    with pytest.raises(DataError, match="the same log"):
        read({"a": [path], "b": [path]})


def test_a_copy_in_another_folder_is_not_another_training(kind: str, tmp_path: Path) -> None:
    _, write = WRITERS[kind]
    path = write(tmp_path, "base", BASE)
    copies = []
    for name in ("one", "two"):
        copies.append(tmp_path / name)
        copies[-1].mkdir()
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, copies[-1] / path.name)
    for given in (copies, [path, copies[0] / path.name]):
        with pytest.raises(DataError, match="are the same log"):
            read({"base": given}, results_are="trainings")


TABLES: dict[str, str] = {
    "an index without a name": ",task,success\n0,a,1\n1,b,0\n",
    "a delimiter at the end": "task,success,\na,1,\nb,0,\n",
    "commas in a tab-separated header": "task\tsuccess\tx,y,z\na\t1\t\nb\t0\t\n",
    "a transcript in a cell": f"task,success,log\na,1,{'x' * 200_000}\nb,0,\n",
    "old line ends": "task,success\ra,yes\rb,no\r",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_tables_as_other_programs_write_them_are_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    (arm,) = read({"base": [path]})
    assert [task[0].status for task in episodes(arm)] == ["success", "failure"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('task,score\na,1\nb,"0,5"\n', "score is '0,5'"),
        ("task,success,repetition\na,1,²\n", "repetition is '²'"),
        (f"task,success,repetition\na,1,{'1' * 5000}\n", "expected a whole number"),
        ("task,success\na,1,2\n", "more cells than columns"),
    ],
)
def test_a_cell_that_cannot_be_read_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read({"base": [path]})


def test_a_row_without_a_success_is_invalid_whatever_its_score(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("task,success,score\na,1,1\nb,,0\n")
    (arm,) = read({"base": [path]})
    assert [task[0].status for task in episodes(arm)] == ["success", "error"]


ROWS = [f'{{"task": "{task}", "success": true}}' for task in "abc"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ROWS).replace(", ", ",\n"),
        f"[{ROWS[0]}] [{ROWS[1]}]",
        f"{ROWS[0]}\n[{ROWS[1]}]\n",
        f"{ROWS[0]}\nnull\n",
    ],
)
def test_no_value_of_a_file_is_left_out_in_silence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"more text follows|expected an object"):
        read({"base": [path]})


def test_empty_lines_hide_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("\n\n" + "\n\n".join(ROWS))
    (arm,) = read({"base": [path]})
    assert len(episodes(arm)) == len(ROWS)


def test_the_example_of_the_docs_reads_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    path = write_lines(
        tmp_path / "a.jsonl",
        [{"puzzle": "p1", "points": 3}, {"puzzle": "p2", "points": 0, "crashed": "out of memory"}],
    )
    format_ = Choice("my_lab.puzzles:PuzzleResults")
    (arm,) = read({"base": [path]}, format=format_, success_at=2)
    assert [task[0].status for task in episodes(arm)] == ["success", "error"]
    assert RESULT_FORMAT.describe(format_.name)
