"""A finished run that is read is as its command wrote it, or the changed file is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import RunError
from atlas.exporting.export_selection import ExportConfig, export_selection
from atlas.kinds import Choice
from atlas.models.local.load import locate_model
from atlas.records import Problem
from atlas.reporting.selections.compare_selections import CompareConfig, compare_selections
from atlas.selection.select_steps import select_steps
from atlas.store import manifests
from atlas.store.manifests import MANIFEST_FILE, read_manifest, run_input
from atlas.store.readers import read_selected, read_selections, read_trajectories
from atlas.store.run_folders import check_folder, start_run
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.conftest import make_trajectory
from tests.opened_files import opens_of
from tests.run_folders import NoSettings, write_selections, write_trajectories
from tests.selection.configs import select_config
from tests.store.test_readers import selection_of

TRAJECTORIES = [make_trajectory(num_steps, f"t{num_steps}") for num_steps in (3, 2, 5)]
# Each command or function that reads a finished run, given trajectories and a selection.
READERS: dict[str, Callable[[Path, Path, Path], Any]] = {
    "read_trajectories": lambda run, selection, out: list(read_trajectories(run)),
    "read_selections": lambda run, selection, out: read_selections(selection, run),
    "read_selected": lambda run, selection, out: list(read_selected(selection, run)),
    "select": lambda run, selection, out: select_steps(select_config("random"), run, out),
    "import": lambda run, selection, out: import_trajectories(ImportConfig(paths=(str(run),)), out),
    "import of a file": lambda run, selection, out: import_trajectories(
        ImportConfig(paths=(str(run / "trajectories.jsonl"),)), out
    ),
    "import of the folder above": lambda run, selection, out: import_trajectories(
        ImportConfig(paths=(str(run.parent),)), out
    ),
    "export": lambda run, selection, out: export_selection(
        ExportConfig(dialect=Choice("openai")), run, selection, out.with_suffix(".jsonl")
    ),
    "compare-selections": lambda run, selection, out: compare_selections(
        CompareConfig(
            selections=(selection, shutil.copytree(selection, out.with_name("other"))),
            trajectories=run,
            plot=False,
        ),
        out,
    ),
    "the command again": lambda run, selection, out: start_run(run, "collect", NoSettings()),
    "its dry run": lambda run, selection, out: check_folder(run, "collect", NoSettings(), {}),
    "an input": lambda run, selection, out: run_input(run, out),
}


def forget() -> None:
    """Be another process, which knows no digest."""
    manifests._known.clear()


def flip(file: Path, place: int = 10) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    run = write_trajectories(tmp_path / "runs" / "trajectories", TRAJECTORIES)
    selections = [selection_of(one.id, len(one.steps)) for one in TRAJECTORIES]
    return run, write_selections(tmp_path / "selection", selections, run)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_names_a_changed_file_its_run_and_what_to_do(
    reader: str, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run, selection = runs
    file = run / "trajectories.jsonl"
    flip(file)
    with pytest.raises(RunError) as error:
        READERS[reader](run, selection, tmp_path / "out")
    assert f"{file} was changed" in str(error.value)
    assert f"remove {run} and run 'atlas collect' again" in str(error.value)


@pytest.mark.parametrize("reader", ["read_selections", "read_selected", "export"])
def test_a_changed_selection_is_found(reader: str, runs: tuple[Path, Path], tmp_path: Path) -> None:
    flip(runs[1] / "selections.jsonl", 40)
    with pytest.raises(RunError, match=r"selections\.jsonl was changed"):
        READERS[reader](*runs, tmp_path / "out")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), is_new_process=st.booleans(), keeps_time=st.booleans())
def test_any_changed_byte_of_any_output_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    is_new_process: bool,
    keeps_time: bool,
) -> None:
    path = tmp_path_factory.mktemp("run") / "run"
    names = ("trajectories.jsonl", "problems.jsonl", "notes.jsonl", "checkpoint/model.safetensors")
    with start_run(path, "train", NoSettings()) as run:
        (path / "checkpoint").mkdir()
        for name in names:
            (path / name).write_bytes(name.encode() * 20)
        run.finish({})
    read_manifest(path)
    if is_new_process:
        forget()
    file = path / data.draw(st.sampled_from(names))
    before, content = file.stat(), bytearray(file.read_bytes())
    match data.draw(st.sampled_from(("flip", "cut", "add", "remove"))):
        case "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(
                st.integers(0, 7)
            )
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "add":
            content += b"\n"
        case "remove":
            content.clear()
    if content:
        file.write_bytes(bytes(content))
        if keeps_time:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        file.unlink()
    with pytest.raises(RunError, match=file.name):
        read_manifest(path)


def edits(content: dict[str, Any]) -> dict[str, Any]:
    """Each field of a manifest with another value."""
    others = {"command": "import", "version": 7, "wall_seconds": 99.5, "seal": "0" * 64}
    others |= {"day": "2001-02-03", "registration": "0" * 64}
    return {
        name: others.get(name, {**value, "x": None} if isinstance(value, dict) else value)
        for name, value in content.items()
        if name != "status"
    }


def test_an_edited_manifest_is_found_whichever_field_it_is(tmp_path: Path) -> None:
    with start_run(tmp_path / "run", "collect", NoSettings()) as run:
        run.finish({"trajectories": 3})
    file = tmp_path / "run" / MANIFEST_FILE
    whole = json.loads(file.read_text())
    for name, value in edits(whole).items():
        file.write_text(json.dumps({**whole, name: value}))
        with pytest.raises(RunError, match=r"manifest\.json (was edited|cannot be read)"):
            read_manifest(tmp_path / "run")
    file.write_text(json.dumps({**whole, "of_later": 1}))
    with pytest.raises(RunError, match="was edited"):
        read_manifest(tmp_path / "run")
    # The text may be laid out in another way.
    file.write_text(json.dumps(whole))
    assert read_manifest(tmp_path / "run").summary == {"trajectories": 3}


def test_a_manifest_without_a_seal_is_of_an_earlier_version_and_its_files_are_checked(
    runs: tuple[Path, Path],
) -> None:
    file = runs[0] / MANIFEST_FILE
    content = json.loads(file.read_text())
    del content["seal"], content["stamps"]
    file.write_text(json.dumps(content))
    assert list(read_trajectories(runs[0])) == TRAJECTORIES
    flip(runs[0] / "trajectories.jsonl")
    with pytest.raises(RunError, match="was changed"):
        read_trajectories(runs[0])


def test_a_copied_run_is_read_and_its_files_are_hashed_once_a_process(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy, copy_function=shutil.copy)
    forget()
    opened = opens_of(copy / "trajectories.jsonl")
    for _ in range(3):
        read_manifest(copy)
    assert opened() == 1
    flip(copy / "trajectories.jsonl")
    with pytest.raises(RunError, match="was changed"):
        read_manifest(copy)


def test_a_run_that_stayed_where_it_was_is_not_hashed_again(runs: tuple[Path, Path]) -> None:
    forget()
    opened = opens_of(runs[0] / "trajectories.jsonl")
    assert len(list(read_trajectories(runs[0]))) == 3
    assert opened() == 1


def test_files_that_the_run_did_not_write_do_no_harm(runs: tuple[Path, Path]) -> None:
    (runs[0] / "my notes.txt").write_text("x")
    assert read_manifest(runs[0]).outputs.keys() == {"trajectories.jsonl"}


def test_a_manifest_cannot_make_a_reader_open_files_elsewhere(tmp_path: Path) -> None:
    for name in ("/dev/zero", "../secret", "a/../../secret"):
        content = {"command": "collect", "status": "finished", "config": {}, "outputs": {name: "0"}}
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(content))
        with pytest.raises(RunError, match="outside of"):
            read_manifest(tmp_path)


def test_a_model_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    with start_run(tmp_path / "run", "train", NoSettings()) as run:
        (run.path / "checkpoint").mkdir()
        (run.path / "checkpoint" / "model.safetensors").write_bytes(b"weights" * 100)
        run.finish({})
    locate_model(str(tmp_path / "run"))
    flip(tmp_path / "run" / "checkpoint" / "model.safetensors", 300)
    with pytest.raises(RunError, match=r"model\.safetensors was changed after 'atlas train'"):
        locate_model(str(tmp_path / "run"))


def test_the_problems_of_a_run_are_checked_too(tmp_path: Path) -> None:
    with start_run(tmp_path / "run", "collect", NoSettings()) as run:
        run.write_problems([Problem(where="w", reason="r")])
        run.finish({})
    (tmp_path / "run" / "problems.jsonl").write_text("")
    with pytest.raises(RunError, match=r"problems\.jsonl was changed"):
        read_manifest(tmp_path / "run")
