"""`atlas audit` as a user meets it: exit status, report, hostile rows, the trainer's own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.test_trainers import CHAT, golden_row
from tests.templates import CHATML, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit") / "tokenizer"
    tiny_tokenizer(CHATML).save_pretrained(folder)
    return folder


def atlas_audit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atlas", "audit", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160"},
    )


def write(path: Path, rows: list[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_clean_file_has_the_status_0_and_a_report(tokenizer_folder: Path, tmp_path: Path) -> None:
    file, out = write(tmp_path / "a.jsonl", [golden_row("axolotl")] * 2), tmp_path / "report.json"
    done = atlas_audit(
        file, "--as", "axolotl", "--tokenizer", str(tokenizer_folder), "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert "result:    clean" in done.stdout
    report = json.loads(out.read_text())
    assert report["rows"] == 2
    assert report["findings"] == {}
    assert report["parts"]["assistant words"]["supervised"] > 0


def test_findings_have_the_status_1_unless_fail_on_leaves_them_out(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    hostile = {"messages": [{"role": "user", "content": "\x1b[2J"}]}
    rows: list[object] = [{"messages": CHAT}, hostile]
    file = write(tmp_path / "a.jsonl", rows)
    given = (file, "--as", "trl", "--tokenizer", str(tokenizer_folder))
    done = atlas_audit(*given)
    assert done.returncode == 1, done.stderr
    assert "observations" in done.stdout
    assert "⟦" in done.stdout
    assert "\x1b" not in done.stdout
    assert "result:    exit status 1 for findings of " in done.stdout
    assert atlas_audit(*given, "fail_on=[unreadable]").returncode == 0


def test_a_bad_row_with_a_long_prompt_shows_what_is_supervised(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    row = golden_row("axolotl")
    assert isinstance(row, dict)
    long = {"role": "user", "content": "look around " * 2000}
    messages = [long, {"role": "assistant", "content": "Well.", "train": False}, *row["messages"]]
    file = write(tmp_path / "a.jsonl", [{"messages": messages}])
    given = ("--as", "axolotl", "--tokenizer", str(tokenizer_folder), "train_on_eos=none")
    done = atlas_audit(file, *given)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "⟦" in done.stdout
    assert " tokens without loss …" in done.stdout
    assert len(done.stdout) < 12_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.jsonl", "--as", "trl", "--tokenizer", "x/y/z"), "x/y/z"),
        (("--as", "trl"), "no file"),
        (("a.jsonl", "--as", "trll", "--tokenizer", "x"), "'trl'"),
        (("a.jsonl", "--as", "trl", "fail_on=[header]"), "fail_on"),
    ],
)
def test_bad_input_has_the_status_2(arguments: tuple[str, ...], words: str) -> None:
    done = atlas_audit(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_trainer_that_is_not_installed_is_named(tokenizer_folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [golden_row("axolotl")])
    given = (file, "--as", "axolotl", "--tokenizer", str(tokenizer_folder), "--execute")
    done = atlas_audit(*given, f"python={tmp_path / 'no-python'}")
    assert done.returncode == 2
    assert "no-python" in done.stderr


def test_own_code_that_agrees_is_counted_and_a_difference_is_a_finding(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl", reason="trl is not installed")
    file = write(tmp_path / "a.jsonl", [{"messages": CHAT}])
    given = (
        file,
        "--as",
        "trl",
        "--tokenizer",
        str(tokenizer_folder),
        "--execute",
        "fail_on=[differs]",
    )
    done = atlas_audit(*given)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 rows as predicted" in done.stdout
