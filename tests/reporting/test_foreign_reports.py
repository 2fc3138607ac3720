"""Reports on results made elsewhere, from the command to the page."""

from __future__ import annotations

import csv
import json
import re
import shutil
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import AtlasError, ConfigError, DataError
from atlas.reporting.results.archive import Archive
from tests.extending_rows import write_examples
from tests.reporting.foreign_results import (
    Attempts,
    inspect_header,
    inspect_rows,
    write_archive,
    write_harbor,
    write_inspect,
    write_inspect_json,
    write_lines,
    write_lm_eval,
    write_verifiers,
)
from tests.reporting.made_reports import compare, notes_of, run

REPORT_PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands" / "report.md"
WORSE: Attempts = [(f"t{number}", number % 3 == 0) for number in range(30)]
BETTER: Attempts = [(f"t{number}", number % 3 != 1) for number in range(30)]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def two_logs(tmp_path: Path) -> tuple[str, ...]:
    write_inspect(tmp_path, "base", WORSE)
    write_inspect(tmp_path, "tuned", BETTER)
    return "--results", "base=base.eval", "--results", "tuned=tuned.eval"


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    two_logs(tmp_path)
    for number in range(3):
        write_inspect(tmp_path, f"tuned-{number}", BETTER)
    rows = ["task,arm,success", "a,base,1", "b,base,0", "a,tuned,1", "b,tuned,1"]
    (tmp_path / "results.csv").write_text("\n".join(rows))
    for arm, points in (("base", 1), ("tuned", 4)):
        rows_of = [{"puzzle": "p", "points": 3}, {"puzzle": "q", "points": points}]
        write_lines(tmp_path / f"{arm}.jsonl", rows_of)
    pages = (REPORT_PAGE, REPORT_PAGE.parents[1] / "extending.md")
    commands = [
        line
        for page in pages
        for line in re.findall(r"^atlas report --results .*$", page.read_text(), re.MULTILINE)
    ]
    assert len(commands) == 4
    for command in commands:
        assert run(command).comparisons


def test_two_logs_become_a_paired_comparison_of_two_models(tmp_path: Path) -> None:
    report = compare(*two_logs(tmp_path))
    (row,) = report.comparisons
    assert (row.arm, row.against, row.scope) == ("tuned", "base", "sums")
    assert row.success_difference.value == pytest.approx(1 / 3)
    assert (row.num_higher, row.num_lower, row.num_tied) == (10, 0, 20)
    assert row.claim == "checkpoints"
    assert row.verdict == "differ"
    assert "a log does not say how its model was trained" in notes_of(report)
    assert "score 'match' of 1 or more" in notes_of(report)
    assert report.title == "tuned against base"
    (known,) = {run.model for run in report.runs if run.path.endswith("tuned.eval")}
    assert known == "tuned"
    assert all(run.wall_seconds is None for run in report.runs)


def test_the_page_names_no_command_that_fails_on_a_log_and_no_impossible_difference(
    tmp_path: Path,
) -> None:
    write_inspect(tmp_path, "base", [("a", True), ("b", False)])
    write_inspect(tmp_path, "tuned", [("a", False), ("b", True)])
    compare("--results", "base=base.eval", "--results", "tuned=tuned.eval")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Episodes to look at" in page
    assert "atlas show" not in page
    assert "no difference, however large, would be found" in page
    assert not re.search(r"difference of \d{3,}", page)


def test_three_stated_trainings_allow_a_claim_about_methods_that_names_the_statement(
    tmp_path: Path,
) -> None:
    given = two_logs(tmp_path)[:2]
    for number in range(3):
        changed = [(task, ok or task == f"t{number + 1}") for task, ok in BETTER]
        write_inspect(tmp_path, f"seed-{number}", changed)
    seeds = ("--results", "tuned=seed-*.eval")
    with pytest.raises(ConfigError, match="results_are=repetitions"):
        compare(*given, *seeds)
    report = compare(*given, *seeds, "results_are=trainings")
    (row,) = report.comparisons
    assert row.claim == "methods"
    assert row.num_trainings[0] == 3
    assert "as stated" in (tmp_path / "out" / "report.md").read_text()
    assert "No log shows it" in notes_of(report)
    with pytest.raises(DataError, match="of two models"):
        compare(*given, *seeds, "results_are=repetitions", out="other")


def test_repetitions_are_averaged_and_are_no_trainings(tmp_path: Path) -> None:
    given = two_logs(tmp_path)[:2]
    for number in range(3):
        header = inspect_header("tuned", str(number))
        write_archive(tmp_path / f"again-{number}.eval", header, inspect_rows(BETTER))
    again = ("--results", "tuned=again-*.eval", "results_are=repetitions")
    (row,) = compare(*given, *again).comparisons
    assert row.claim == "checkpoints"
    assert row.success_difference.value == pytest.approx(1 / 3)


def test_a_copy_is_not_a_second_result_in_whatever_form(tmp_path: Path) -> None:
    given = two_logs(tmp_path)
    shutil.copy(tmp_path / "tuned.eval", tmp_path / "copy.eval")
    write_inspect_json(tmp_path, "tuned", BETTER)
    for copy in ("copy.eval", "tuned.json"):
        with pytest.raises(DataError, match="are the same log"):
            compare(*given, "--results", f"tuned={copy}", "results_are=trainings")


def test_one_log_in_two_forms_in_a_folder_is_refused(tmp_path: Path) -> None:
    write_inspect(tmp_path, "base", WORSE)
    folder = tmp_path / "tuned"
    folder.mkdir()
    write_inspect(folder, "tuned", BETTER)
    write_inspect_json(folder, "tuned", BETTER)
    with pytest.raises(DataError, match=r"is in .*tuned\.eval and in .*tuned\.json"):
        compare("--results", "base=base.eval", "--results", "tuned=tuned")


def test_trainings_of_one_model_or_with_equal_endings_are_doubted(tmp_path: Path) -> None:
    given = two_logs(tmp_path)[:2]
    for number in range(3):
        header = inspect_header("tuned", str(number))
        write_archive(tmp_path / f"seed-{number}.eval", header, inspect_rows(BETTER))
    seeds = ("--results", "tuned=seed-*.eval", "results_are=trainings")
    report = compare(*given, *seeds)
    assert "3 results of tuned name the same model 'tuned'" in notes_of(report)
    assert "3 results of tuned ended alike on every task" in notes_of(report)
    assert "results of base" not in notes_of(report)


def test_an_unfinished_job_of_harbor_is_a_caution(tmp_path: Path) -> None:
    for name, attempts in (("base", WORSE), ("tuned", BETTER)):
        write_harbor(tmp_path, name, attempts)
    job = {"n_total_trials": 40, "stats": {}, "finished_at": None}
    (tmp_path / "tuned" / "result.json").write_text(json.dumps(job))
    report = compare("--results", "base=base", "--results", "tuned=tuned")
    assert "the job is not finished" in notes_of(report)
    assert "only 30 of the 40 trials" in notes_of(report)


def test_lone_surrogates_in_every_field_of_a_log_are_no_crash(tmp_path: Path) -> None:
    half = "\ud800"
    for name, attempts in (("base", WORSE), ("tuned", BETTER)):
        header = inspect_header(
            f"{name}{half}",
            half,
            task=half,
            packages={half: half},
            task_args={half: f"{name}{half}"},
            solver=half,
        )
        rows = inspect_rows(attempts)
        rows[0] = {**rows[0], "error": half}
        header["status"] = half
        write_archive(tmp_path / f"{name}.eval", header, rows)
    report = compare("--results", "base=base.eval", "--results", "tuned=tuned.eval")
    assert report.comparisons[0].num_tasks == 29


def test_texts_of_inspect_count_as_its_own_metrics_count_them(tmp_path: Path) -> None:
    values = {"Yes": 1, "TRUE": 1, "no": 0, "False": 0, "1": 1, "0.0": 0, "C": 1, "N": 0}
    for name in ("base", "tuned"):
        rows = [
            {"id": value, "epoch": 1, "scores": {"match": {"value": value}}} for value in values
        ]
        write_archive(tmp_path / f"{name}.eval", inspect_header(name, "a"), rows)
    report = compare("--results", "base=base.eval", "--results", "tuned=tuned.eval")
    rate = next(row for row in report.arms if row.name == "tuned")
    assert report.comparisons[0].num_tasks == len(values)
    with (tmp_path / "out" / "episodes.csv").open() as file:
        found = {row["task"]: float(row["score"]) for row in csv.DictReader(file)}
    assert found == values
    assert rate.num_runs == 1


def test_other_versions_of_a_task_are_named(tmp_path: Path) -> None:
    for version, (name, attempts) in enumerate((("base", WORSE), ("tuned", BETTER))):
        run_folder = write_lm_eval(tmp_path, name, attempts)
        (file,) = run_folder.glob("results_*.json")
        file.write_text(json.dumps({"model_name": name, "versions": {"sums": version}}))
    report = compare("--results", "base=base", "--results", "tuned=tuned")
    assert "task_version (0, 1)" in notes_of(report)


def test_seeds_of_a_table_are_runs(tmp_path: Path) -> None:
    rows = [
        {"task": task, "arm": arm, "seed": seed, "success": ok, "group": f"g{int(task[1:]) % 5}"}
        for arm, attempts, seeds in (("base", WORSE, (0,)), ("tuned", BETTER, (0, 1, 2)))
        for seed in seeds
        for task, ok in attempts
    ]
    write_lines(tmp_path / "t.jsonl", rows)
    given = ("--results", "base=t.jsonl", "--results", "tuned=t.jsonl")
    with pytest.raises(ConfigError, match="Say what they are"):
        compare(*given)
    report = compare(*given, "results_are=trainings")
    assert [arm.num_runs for arm in report.arms] == [1, 3]
    assert len(report.scopes[0].groups) == 5
    write_lines(tmp_path / "t.jsonl", [*rows, rows[0]])
    with pytest.raises(DataError, match=r"'t0', seed 0, repetition 1 twice"):
        compare(*given, "results_are=trainings", out="other")


def test_several_scores_need_a_word_and_shares_a_threshold(tmp_path: Path) -> None:
    for name, ease in (("base", 0.2), ("tuned", 0.6)):
        rows = [
            {
                "id": number,
                "epoch": 1,
                "scores": {
                    "match": {"value": "C"},
                    "judge": {"value": {"style": ease, "length": 3.5}},
                },
            }
            for number in range(5)
        ]
        write_archive(tmp_path / f"{name}.eval", inspect_header(name, "a"), rows)
    given = ("--results", "base=base.eval", "--results", "tuned=tuned.eval")
    with pytest.raises(ConfigError, match=r"match \(10 samples\), judge/style \(10 .*score=match"):
        compare(*given)
    with pytest.raises(ConfigError, match="Did you mean 'judge/style'"):
        compare(*given, "score=judge/stile")
    with pytest.raises(ConfigError, match=r"between 0.2 and 0.6.*success_at=0.6"):
        compare(*given, "score=judge/style")
    (row,) = compare(*given, "score=judge/style", "success_at=0.5").comparisons
    assert row.success_difference.value == 1
    assert row.score_difference.value == pytest.approx(0.4)


def test_tasks_of_one_id_and_other_content_are_not_compared(tmp_path: Path) -> None:
    given = two_logs(tmp_path)
    rows = [{**row, "input": "another question"} for row in inspect_rows(BETTER)]
    write_archive(tmp_path / "tuned.eval", inspect_header("tuned", "a"), rows)
    with pytest.raises(AtlasError, match="30 have another content"):
        compare(*given)


def test_the_first_verifiers_wrote_ids_of_other_rows(tmp_path: Path) -> None:
    for name, attempts in (("base", WORSE), ("tuned", BETTER)):
        path = write_verifiers(tmp_path, name, attempts[:4]) / "results.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["id"] = int(row.pop("example_id")[1:]) // 2
        write_lines(path, rows)
    (row,) = compare("--results", "base=base", "--results", "tuned=tuned").comparisons
    assert row.num_tasks == 4


def test_one_verdict_over_all_benchmarks_or_one_on_each(tmp_path: Path) -> None:
    for name, attempts in (("base", WORSE), ("tuned", BETTER)):
        (tmp_path / name).mkdir()
        for task in ("sums", "words"):
            header = inspect_header(name, task, task=task)
            write_archive(tmp_path / name / f"{task}.eval", header, inspect_rows(attempts))
    given = ("--results", "base=base", "--results", "tuned=tuned")
    assert [row.scope for row in compare(*given).comparisons] == ["sums", "words"]
    report = compare(*given, "together=true", "average=environments", out="other")
    (row,) = report.comparisons
    assert (row.scope, row.num_tasks) == ("all benchmarks", 60)
    assert [*report.scopes[0].environments] == ["sums", "words"]


HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"


def test_hostile_names_are_shown_harmless(tmp_path: Path) -> None:
    for name, attempts in (("base", WORSE), ("tuned", BETTER)):
        header = inspect_header(f"{name}{HOSTILE}", HOSTILE, task=f"sums {HOSTILE}")
        rows = inspect_rows([(f"{task}{HOSTILE}", ok) for task, ok in attempts])
        rows[0] = {**rows[0], "error": HOSTILE}
        write_archive(tmp_path / f"{name}.eval", header, rows)
    compare("--results", "base=base.eval", "--results", "tuned=tuned.eval")
    for file in ("report.html", "report.md"):
        text = (tmp_path / "out" / file).read_text()
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_members_of_an_archive_go_nowhere(tmp_path: Path) -> None:
    given = two_logs(tmp_path)
    with zipfile.ZipFile(tmp_path / "base.eval", "a") as archive:
        archive.writestr("../../escaped.json", "{}")
        archive.writestr("/escaped.json", "{}")
    before = {path.name for path in tmp_path.parent.iterdir()}
    compare(*given)
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    assert not list(tmp_path.rglob("escaped*"))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    given = two_logs(tmp_path)
    with zipfile.ZipFile(tmp_path / "base.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(inspect_header("base", "a")))
        archive.writestr("summaries.json", b"[" + b" " * (80 << 20) + b"]")
    with pytest.raises(DataError, match="decompression bomb"):
        compare(*given)


def test_members_packed_with_zstd_are_read(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    plain = json.dumps(inspect_rows(WORSE)).encode()
    packed = zstandard.compress(plain)
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("summaries.json", packed)
    content = path.read_bytes()
    # The method in the local header and in the directory: stored becomes zstd.
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.index(mark) + at
        content = content[:start] + struct.pack("<H", 93) + content[start + 2 :]
    path.write_bytes(content)
    with Archive(path, "a.eval") as packed_log, packed_log.member("summaries.json") as member:
        assert member.read() == plain


def test_a_rerun_repeats_nothing_and_a_changed_log_is_another_report(tmp_path: Path) -> None:
    given = two_logs(tmp_path)
    compare(*given)
    before = (tmp_path / "out" / "report.json").stat().st_mtime_ns
    compare(*given)
    assert (tmp_path / "out" / "report.json").stat().st_mtime_ns == before
    write_inspect(tmp_path, "tuned", WORSE)
    with pytest.raises(AtlasError, match="made with other settings"):
        compare(*given)


def test_the_episodes_of_a_report_are_a_table_that_gives_the_same_report(tmp_path: Path) -> None:
    first = compare(*two_logs(tmp_path))
    shutil.copy(tmp_path / "out" / "episodes.csv", tmp_path / "again.csv")
    again = compare("--results", "base=again.csv", "--results", "tuned=again.csv", out="again")
    (one,), (other,) = first.comparisons, again.comparisons
    assert one.success_difference.value == other.success_difference.value
    assert (one.p_value, one.verdict) == (other.p_value, other.verdict)


@pytest.mark.parametrize("option", ["base.eval", "=base.eval", "base=", "a/b=c.eval"])
def test_an_option_that_names_no_arm_is_refused(option: str, tmp_path: Path) -> None:
    two_logs(tmp_path)
    with pytest.raises(ConfigError, match=r"ARM=PATH|is empty"):
        compare("--results", option)


def test_a_log_of_thirty_thousand_samples_is_read_in_seconds(tmp_path: Path) -> None:
    from atlas.kinds import Choice
    from atlas.reporting.results.find_results import find_results
    from atlas.reporting.results.result_runs import read_runs

    rows: list[dict[str, Any]] = [
        {**row, "metadata": {"text": "x" * 300}}
        for row in inspect_rows([(f"t{number}", number % 2 == 0) for number in range(30_000)])
    ]
    write_archive(tmp_path / "large.eval", inspect_header("m", "a"), rows)
    started = time.process_time()
    (found,) = read_runs("a", find_results("large.eval"), Choice("inspect"))
    assert len(found.benchmarks["sums"].by_task) == 30_000
    assert time.process_time() - started < 5


def test_the_time_of_a_report_grows_with_the_number_of_samples_and_no_faster(
    tmp_path: Path,
) -> None:
    def seconds(num: int) -> float:
        for arm in ("base", "tuned"):
            rows = [{"task": f"t{one}", "success": one % 3 == len(arm) % 3} for one in range(num)]
            write_lines(tmp_path / f"{arm}{num}.jsonl", rows)
        given = [f"--results={arm}={arm}{num}.jsonl" for arm in ("base", "tuned")]
        start = time.process_time()
        assert compare(*given, out=f"out{num}").arms
        return time.process_time() - start

    seconds(100)
    # What grows with the square would take 16 times as long.
    assert seconds(8_000) < 6 * seconds(2_000)


def test_two_logs_without_the_names_of_their_arms_are_told_how_to_be_compared() -> None:
    with pytest.raises(ConfigError, match=r"--results one=one.jsonl --results two=b/two.jsonl"):
        compare("one.jsonl", "b/two.jsonl")
