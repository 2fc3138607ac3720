"""Links and names in folders of strangers cost what they are, never the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import DataError, RunError
from atlas.records import Problem
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import start_run
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}]
    path.write_text(json.dumps({"messages": messages}) + "\n")
    return path


def read(out: Path, *paths: Path | str, **settings: Any) -> tuple[list[str], dict[str, str]]:
    """The texts that were imported, and the problems by place."""
    import_trajectories(ImportConfig(paths=tuple(map(str, paths)), **settings), out)
    texts = [one.steps[0].response.content for one in read_trajectories(out)]
    problems = read_records(out / "problems.jsonl", Problem)
    return texts, {problem.where: problem.reason for problem in problems}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    write(folder / "a.jsonl", "mine")
    secret = write(tmp_path / "secrets" / "s.jsonl", "secret")
    (folder / "file.jsonl").symlink_to(secret)
    (folder / "folder").symlink_to(secret.parent)
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to(folder)
    return folder


@pytest.mark.parametrize("given", ["", "/*", "/**"], ids=["folder", "pattern", "deep pattern"])
def test_links_out_of_a_folder_are_named_and_not_followed(
    given: str, logs: Path, tmp_path: Path
) -> None:
    texts, problems = read(tmp_path / "out", f"{logs}{given}")
    assert texts == ["mine"]
    reasons = {Path(where).name: reason for where, reason in problems.items()}
    assert "not followed; follow_links=true" in reasons["file.jsonl"]
    assert "leads nowhere" in reasons["gone.jsonl"]
    assert len(problems) == len(reasons)
    if given != "/*":
        assert "not followed; follow_links=true" in reasons["folder"]
        assert "read anyway" in reasons["loop"]


def test_links_are_followed_on_request_each_place_once(logs: Path, tmp_path: Path) -> None:
    texts, problems = read(tmp_path / "out", logs, follow_links=True)
    assert sorted(texts) == ["mine", "secret"]
    assert problems.keys() >= {"loop", "gone.jsonl"}


def test_a_link_that_is_given_is_followed(logs: Path, tmp_path: Path) -> None:
    assert read(tmp_path / "out", logs / "file.jsonl")[0] == ["secret"]
    assert read(tmp_path / "out2", logs / "folder")[0] == ["secret"]


def test_a_folder_that_holds_only_links_says_so(tmp_path: Path) -> None:
    secret = write(tmp_path / "secrets" / "s.jsonl", "secret")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.jsonl").symlink_to(secret)
    with pytest.raises(DataError, match=r"holds no file but 1 links; .*follow_links=true"):
        read(tmp_path / "out", tmp_path / "logs")


def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        write(tmp_path / "logs" / name / "x.jsonl", name)
        (tmp_path / "logs" / name / "other").symlink_to(tmp_path / "logs" / other)
    texts, problems = read(tmp_path / "out", tmp_path / "logs", follow_links=True)
    assert sorted(texts) == ["a", "b"]
    assert problems


@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "files"])
def test_a_name_that_is_not_utf8_is_read_under_an_escaped_name(
    is_folder: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    write(folder / "a.jsonl", "plain")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/b\xff.jsonl"))
    write(odd, "odd")
    odd.with_name(odd.name + ".txt").write_text("not a trajectory")
    given = [folder] if is_folder else sorted(folder.iterdir())
    texts, problems = read(tmp_path / "out", *given)
    assert texts == ["plain", "odd"]
    assert [*problems] == ["b\\xff.jsonl.txt"]
    for file in (tmp_path / "out").iterdir():
        file.read_bytes().decode("utf-8")
    # The same command again finds the same run.
    assert read(tmp_path / "out", *given)[0] == texts


def test_a_file_that_may_not_be_read_costs_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "logs" / "a.jsonl", "mine")
    closed = write(tmp_path / "logs" / "b.jsonl", "closed")
    plain = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    for _ in range(2):
        texts, problems = read(tmp_path / "out", tmp_path / "logs")
        assert texts == ["mine"]
        assert problems == {"b.jsonl": "the file cannot be read (Permission denied)"}


@pytest.mark.parametrize("damage", [b"", b"\xff", b"[" * 1000, b"{}"])
@pytest.mark.parametrize("given", ["run", "", "*/*.jsonl", "run/trajectories.jsonl"])
def test_a_run_with_a_damaged_manifest_is_not_read_as_a_strangers_folder(
    damage: bytes, given: str, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    log = write(tmp_path / "x.jsonl", "mine")
    read(folder / "run", log)
    (folder / "run" / "manifest.json").write_bytes(damage)
    with pytest.raises(RunError, match=r"manifest\.json cannot be read"):
        read(tmp_path / "out", folder / given)


def test_a_manifest_of_another_program_is_a_file_like_others(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.jsonl", "mine")
    (tmp_path / "logs" / "manifest.json").write_text("{")
    texts, problems = read(tmp_path / "out", tmp_path / "logs")
    assert texts == ["mine"]
    assert [*problems] == ["manifest.json"]


def test_an_unfinished_run_in_a_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.jsonl", "mine")
    config = ImportConfig(paths=("x",))
    start_run(tmp_path / "logs" / "run", "collect", config).close()
    start_run(tmp_path / "logs" / "other", "select", config).close()
    texts, problems = read(tmp_path / "out", tmp_path / "logs")
    assert texts == ["mine"]
    assert problems == {"run": "an unfinished run; finish it first"}
