"""Whatever a path option is given, the answer is one sentence, and nothing is written elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.in_process import Atlas, atlas_in_process
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.store.test_readers import selection_of

TRAJECTORIES = [make_trajectory(3, name) for name in ("a", "b")]
INPUTS = ["--trajectories", "{run}", "--selection", "{selection}"]
# Every command that writes, without --out.
WRITING = {
    "collect": ["collect", "episodes=1", "workers=1"],
    "import": ["import", "{rows}"],
    "select": ["select", "--trajectories", "{run}", "--selector", "random"],
    "select --dry-run": [
        *["select", "--trajectories", "{run}", "--selector", "oracle", "model=openai/m"],
        "--dry-run",
    ],
    "select-train": ["select-train", *INPUTS],
    "compare-selections": ["compare-selections", "{selection}", "{other}", "plot=false"],
    "export": ["export", "--to", "openai", *INPUTS],
    "train": ["train", "--model", "{model}", *INPUTS],
    "evaluate": ["evaluate", "--model", "{model}", "episodes=1"],
    "report": ["report", "{report}"],
    "run": ["run", "{recipe}"],
    "label": ["label", "{run}"],
}
BAD = ("long", "long/x", "dangling", "dangling/x", "loop", "loop/x", "file/x", "odd")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Finished runs, and paths that lead nowhere."""
    run = write_trajectories(tmp_path / "run", TRAJECTORIES)
    selections = [selection_of(one.id, 3) for one in TRAJECTORIES]
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "dangling").symlink_to(bad / "gone")
    (bad / "loop").symlink_to(bad / "loop")
    (bad / "file").write_text("mine")
    written = {
        "report": "arms: [{name: all, runs: [{evaluations: {a: run}}]}]\n",
        "recipe": "arms: {all: {selector: all}}\ntrain: {model: m}\n",
    }
    (tmp_path / "rows.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n'
    )
    for name, text in written.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return {
        "run": str(run),
        "selection": str(write_selections(tmp_path / "selection", selections, run)),
        "other": str(write_selections(tmp_path / "other", selections, run)),
        "model": str(tmp_path / "no-model"),
        "bad": str(bad),
        "rows": str(tmp_path / "rows.jsonl"),
        **{name: str(tmp_path / f"{name}.yaml") for name in written},
    }


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Atlas:
    return atlas_in_process(monkeypatch, capfd)


def filled(command: str, places: dict[str, str]) -> list[str]:
    return [argument.format(**places) for argument in WRITING[command]]


def tree(folder: str) -> list[str]:
    return sorted(os.fsdecode(file) for file in Path(folder).rglob("*"))


def is_one_sentence(done: tuple[int, str, str]) -> bool:
    code, _, err = done
    lines = err.strip().splitlines()
    return (
        code == 2 and len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable()
    )


@pytest.mark.parametrize("command", WRITING)
def test_an_out_that_leads_nowhere_is_refused_in_one_sentence(
    command: str, places: dict[str, str], atlas: Atlas
) -> None:
    before = tree(places["bad"])
    for bad in BAD:
        name = bad.replace("long", "x" * 300).replace("odd", "a\udcffb")
        done = atlas([*filled(command, places), "--out", f"{places['bad']}/{name}"])
        assert is_one_sentence(done), (bad, done)
    assert tree(places["bad"]) == before
    assert (Path(places["bad"]) / "file").read_text() == "mine"


@pytest.mark.parametrize("command", [name for name in WRITING if name not in ("label", "export")])
def test_an_out_that_is_a_file_or_a_folder_of_others_is_refused(
    command: str, places: dict[str, str], atlas: Atlas
) -> None:
    # The folder of an experiment holds run folders, and may hold other files.
    folders = [] if command == "run" else [places["bad"]]
    for out in (f"{places['bad']}/file", *folders):
        assert is_one_sentence(done := atlas([*filled(command, places), "--out", out])), done
    assert (Path(places["bad"]) / "file").read_text() == "mine"


def test_no_option_of_a_command_may_be_empty(
    places: dict[str, str], atlas: Atlas, tmp_path: Path
) -> None:
    from typer.main import get_command

    from atlas.cli import app

    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            flag = parameter.opts[0]
            if not flag.startswith("--") or getattr(parameter, "is_flag", False):
                continue
            for given in ([flag, ""], [f"{flag}="]):
                done = atlas([name, *given])
                assert is_one_sentence(done), (name, flag, done)
                assert f"{flag} is empty" in done[2]
        done = atlas([name, "", "--out", tmp_path / "out"])
        assert is_one_sentence(done)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting", ["selections", "trajectories", "tokenizer", "names"])
def test_no_setting_may_be_an_empty_text(
    setting: str, places: dict[str, str], atlas: Atlas, tmp_path: Path
) -> None:
    for value in ("''", "['']"):
        given = [f"{setting}={value}", "--out", tmp_path / "out"]
        done = atlas([*filled("compare-selections", places), *given])
        assert is_one_sentence(done) or setting == "selections", done
        assert done[0] == 2


@pytest.mark.parametrize("command", ["select", "export", "train", "show", "label"])
def test_an_input_that_leads_nowhere_is_refused_in_one_sentence(
    command: str, places: dict[str, str], atlas: Atlas, tmp_path: Path
) -> None:
    for bad in BAD:
        name = bad.replace("long", "x" * 300).replace("odd", "a\udcffb")
        given = {**places, "run": f"{places['bad']}/{name}"}
        if command == "show":
            arguments = ["show", given["run"]]
        else:
            arguments = [*filled(command, given), "--out", str(tmp_path / "out.jsonl")]
        assert is_one_sentence(done := atlas(arguments)), (bad, done)


@pytest.mark.parametrize("errno", ["ENOSPC", "EFBIG", "EROFS", "EACCES", "EMFILE", "EIO"])
@pytest.mark.parametrize("command", ["import", "select", "export", "compare-selections"])
def test_a_disk_or_system_that_refuses_is_said_in_one_sentence(
    command: str,
    errno: str,
    places: dict[str, str],
    atlas: Atlas,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import errno as numbers

    def refuse(*_: object) -> None:
        number = getattr(numbers, errno)
        raise OSError(number, os.strerror(number), str(tmp_path / "out.jsonl"))

    monkeypatch.setattr("atlas.store.record_files.os.fsync", refuse)
    done = atlas([*filled(command, places), "--out", str(tmp_path / "out.jsonl")])
    assert is_one_sentence(done), done


@pytest.mark.parametrize("width", ["0", "1", "-5", "x", "99999999"])
@pytest.mark.parametrize("command", ["settings", "show"])
def test_a_terminal_of_any_width_gets_its_lines(
    command: str, width: str, places: dict[str, str], atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    done = atlas(["settings"] if command == "settings" else ["show", places["run"]])
    assert done[0] == 0, done
