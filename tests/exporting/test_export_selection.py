from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.cli import app
from atlas.errors import ConfigError, DataError, RunError
from atlas.exporting.dialects.base import DIALECT, DialectContext
from atlas.exporting.explain import describe_export
from atlas.exporting.export_selection import ExportConfig, export_selection
from atlas.kinds import Choice
from atlas.records import (
    CriticalStep,
    Message,
    Outcome,
    OutcomeStatus,
    Selection,
    Trajectory,
)
from tests.conftest import make_trajectory
from tests.parse_counts import count_parses
from tests.run_folders import write_selections, write_trajectories
from tests.selection.configs import new_selector, select_config
from tests.source_files import read_file


def selection_of(trajectory: Trajectory, *indices: int) -> Selection:
    num = len(trajectory.steps)
    steps = tuple(CriticalStep(index=index) for index in indices)
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=num,
        budget=num,
        critical_steps=steps,
    )


def write_runs(folder: Path, trajectories: list[Trajectory], *indices: int) -> tuple[Path, Path]:
    run = write_trajectories(folder / "t", trajectories)
    return run, write_selections(
        folder / "s", [selection_of(one, *indices) for one in trajectories], run
    )


def test_a_manifest_beside_the_file_says_what_it_was_made_from(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(4, "a"), make_trajectory(5, "b")], 1, 3)
    manifest = export_selection(
        ExportConfig(dialect=Choice("openai")), *runs, tmp_path / "out" / "x.jsonl"
    )
    stored = json.loads((tmp_path / "out" / "x.jsonl.manifest.json").read_text())
    assert stored == manifest.model_dump(mode="json")
    assert stored["inputs"]["trajectories"]["path"] == "../t"
    assert stored["summary"] | {"losses": {}} == {
        "trajectories": 2, "exported": 2, "rows": 2, "steps": 9,
        "critical_steps": 4, "problems": 0, "losses": {}, "selected_by_outcome": {"success": 4},
            "last_steps": {"selected": 1, "trajectories": 2},
            "action_types": {
                "steps": 9, "selected": 4, "types": {"go": {"steps": 9, "selected": 4}},
            },
    }  # fmt: skip
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "x.jsonl",
        "x.jsonl.manifest.json",
    ]


def test_exporting_again_is_free_and_other_settings_do_not_overwrite(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(4, "a")], 1)
    file = tmp_path / "x.jsonl"
    first = export_selection(ExportConfig(dialect=Choice("openai")), *runs, file)
    before = file.stat().st_mtime_ns
    assert export_selection(ExportConfig(dialect=Choice("openai")), *runs, file) == first
    assert file.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="other settings"):
        export_selection(ExportConfig(dialect=Choice("axolotl")), *runs, file)
    file.write_text("{}\n")
    with pytest.raises(RunError, match="was changed"):
        export_selection(ExportConfig(dialect=Choice("openai")), *runs, file)


def test_a_file_that_atlas_did_not_write_is_never_overwritten(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(4, "a")], 1)
    (tmp_path / "mine.jsonl").write_text("precious\n")
    with pytest.raises(RunError, match="not written by 'atlas export'"):
        export_selection(ExportConfig(dialect=Choice("openai")), *runs, tmp_path / "mine.jsonl")
    assert (tmp_path / "mine.jsonl").read_text() == "precious\n"


def test_what_is_left_out_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    silent = make_trajectory(3, "silent")
    twice = silent.model_copy(
        update={
            "id": "twice",
            "steps": tuple(step.model_copy(update={"observation": ()}) for step in silent.steps),
        }
    )
    runs = write_runs(tmp_path, [make_trajectory(3, "a"), twice], 1)
    manifest = export_selection(
        ExportConfig(dialect=Choice("agenttraj")), *runs, tmp_path / "x.json"
    )
    assert manifest.summary["exported"] == 1
    assert "alternates" in (tmp_path / "x.json.problems.jsonl").read_text()


def test_nothing_to_export_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(3, "a")])
    with pytest.raises(DataError, match="no critical step"):
        export_selection(ExportConfig(dialect=Choice("openai")), *runs, tmp_path / "x.jsonl")
    assert not list(tmp_path.glob("x.*"))


def test_wrong_names_endings_and_missing_tokenizers_are_refused(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(3, "a")], 1)
    with pytest.raises(ConfigError, match="Did you mean 'axolotl'"):
        export_selection(ExportConfig(dialect=Choice("axolot")), *runs, tmp_path / "x.jsonl")
    with pytest.raises(ConfigError, match=r"\.parquet"):
        export_selection(ExportConfig(dialect=Choice("verl")), *runs, tmp_path / "x.jsonl")
    with pytest.raises(ConfigError, match="--tokenizer"):
        export_selection(ExportConfig(dialect=Choice("trl")), *runs, tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("to", "file", "format"),
    [("openai", "x.jsonl", "openai"), ("agenttraj", "x.json", "agenttraj")],
)
def test_an_export_imported_again_has_the_same_steps_and_annotated_finds_the_selection(
    to: str, file: str, format: str, tmp_path: Path
) -> None:
    prompt = (Message(role="user", content="The rules."), Message(role="assistant", content="OK."))
    trajectory = make_trajectory(6, "a").model_copy(update={"prompt": prompt})
    runs = write_runs(tmp_path, [trajectory], 0, 3)
    export_selection(ExportConfig(dialect=Choice(to)), *runs, tmp_path / file)
    (again,) = read_file(format, tmp_path / file)
    assert isinstance(again, Trajectory)
    assert [step.response for step in again.steps] == [step.response for step in trajectory.steps]
    assert again.prompt == prompt
    found = new_selector(select_config()).select(again, 6)
    assert found.indices == {0, 3}


def test_rows_of_ms_swift_stop_at_the_last_critical_step() -> None:
    trajectory = make_trajectory(5, "a")
    (row,) = DIALECT.make(Choice("ms-swift"), DialectContext()).rows(
        trajectory, selection_of(trajectory, 1)
    )
    assert row["messages"][-1]["loss"] is True
    assert sum(message["role"] == "assistant" for message in row["messages"]) == 2


def test_exporting_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(3, "a")], 1)
    out = str(tmp_path / "x.jsonl")
    command = [
        "export",
        "--to",
        "openai",
        "--trajectories",
        str(runs[0]),
        "--selection",
        str(runs[1]),
        "--out",
        out,
    ]
    code = (
        f"import sys; from atlas.cli import app; app({command}, standalone_mode=False);"
        "print([name for name in ('torch', 'transformers', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "1 rows of 1 trajectories" in done.stdout


def test_a_dialect_from_outside_takes_its_settings_from_the_command_line(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, [make_trajectory(3, "a")], 1)
    command = ["export", "--to", "tests.exporting.outside_dialect:NamedFlagDialect"]
    command += ["--trajectories", str(runs[0]), "--selection", str(runs[1])]
    app([*command, "--out", str(tmp_path / "x.jsonl"), "flag=chosen"], standalone_mode=False)
    (row,) = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert [message["chosen"] for message in row["messages"]].count(True) == 1
    stored = json.loads((tmp_path / "x.jsonl.manifest.json").read_text())["config"]["dialect"]
    assert stored == {"name": command[2], "flag": "chosen"}
    with pytest.raises(ConfigError, match=r"unknown key 'flg'. Did you mean 'flag'"):
        app([*command, "--out", str(tmp_path / "y.jsonl"), "flg=chosen"], standalone_mode=False)


def test_a_setting_of_another_dialect_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a setting of dialect 'trl'; leave it out"):
        app(["export", "--to", "openai", "--explain", "max_tokens=9"], standalone_mode=False)


def test_each_trajectory_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = write_runs(tmp_path, [make_trajectory(3, name) for name in "abc"], 1)
    parsed = count_parses(monkeypatch)
    export_selection(ExportConfig(dialect=Choice("openai")), *runs, tmp_path / "x.jsonl")
    assert parsed == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize(("status", "has_note"), [("success", False), ("failure", True)])
def test_the_closing_lines_say_how_the_trajectories_of_the_selected_steps_ended(
    status: OutcomeStatus, has_note: bool, tmp_path: Path
) -> None:
    trajectory = make_trajectory(4).model_copy(update={"outcome": Outcome(status=status)})
    runs, out = write_runs(tmp_path, [trajectory], 1, 2), tmp_path / "rows.jsonl"
    manifest = export_selection(ExportConfig(dialect=Choice("openai")), *runs, out)
    said = describe_export(manifest, out, [], "nothing")
    assert f"outcomes:  selected steps {status} 2 (100 %)" in said
    assert ("note:" in said) is has_note
