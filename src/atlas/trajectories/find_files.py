"""What was given on the command line, as files: `paths -> files with formats`. Folders, patterns, run folders and standard input.

Each path that was given is one input of the run, with a digest over everything that it stands for.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atlas.errors import DataError
from atlas.records import Problem
from atlas.store.readers import TRAJECTORY_FILES
from atlas.store.record_files import file_digest
from atlas.store.run_folders import (
    MANIFEST_FILE,
    Input,
    Manifest,
    read_manifest,
    relative_path,
    run_input,
)
from atlas.trajectories.formats.base import detect_format

STDIN = "-"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read, how it is called for people, and its format, or why it has none."""

    path: Path
    name: str
    format: str | Problem


def find_files(
    given: Sequence[str], format_name: str | None, out: Path, spool: Path
) -> list[SourceFile]:
    """The files that `given` stands for, in order: each path in turn, folders sorted by name, hidden files passed over.

    Args:
        format_name: the format of all files; None tells it from the content of each.
        out: the run folder to be written, which is never read.
        spool: a folder for what comes in on standard input.

    Raises:
        DataError: a path leads to no file.
        ConfigError: several formats claim a file.
        RunError: a path is a run folder that is unfinished or holds no trajectories.
    """
    files: list[SourceFile] = []
    for text in given:
        paths = [
            (path, name)
            for path, name in _expand(text, spool)
            if out.resolve() not in path.resolve().parents
        ]
        if not paths:
            if any(True for _ in _expand(text, spool)):
                raise DataError(
                    f"{text} lies in the run folder to be written, {out}, which is never read. Choose another --out."
                )
            raise DataError(
                f"{text} {_lack(text)}, expected a file, folder or pattern of trajectories. Check the path."
            )
        files += [
            SourceFile(
                path,
                name,
                "atlas" if _is_run(path.parent) else format_name or _detected(path, name),
            )
            for path, name in paths
        ]
    return files


def find_inputs(given: Sequence[str], out: Path, spool: Path) -> dict[str, Input]:
    """Each given path with a digest over its content."""
    inputs: dict[str, Input] = {}
    for index, text in enumerate(given):
        path = Path(text)
        if _is_run(path):
            inputs[f"run {index}"] = run_input(path, out, tuple(TRAJECTORY_FILES))
        elif path.is_file():
            inputs[f"file {index}"] = Input(path=relative_path(path, out), digest=file_digest(path))
        else:
            files = [
                file
                for file in _expand(text, spool)
                if out.resolve() not in file[0].resolve().parents
            ]
            digests = "".join(f"{file_digest(file)} {name}\n" for file, name in files)
            shown = text if text == STDIN else relative_path(path, out)
            inputs[f"path {index}"] = Input(
                path=shown,
                digest=hashlib.sha256(digests.encode("utf-8", "surrogateescape")).hexdigest(),
            )
    return inputs


def spool_stdin(spool: Path, stdin: BinaryIO | None = None) -> None:
    """Standard input as a file, so that it can be looked at before it is read."""
    with open(spool / "stdin", "wb") as file:
        shutil.copyfileobj(stdin or sys.stdin.buffer, file, 1 << 20)


def _expand(text: str, spool: Path) -> Iterator[tuple[Path, str]]:
    """Files with their names for people: relative to the folder that was given."""
    path = Path(text)
    if text == STDIN:
        yield spool / "stdin", "stdin"
    elif _is_run(path):
        manifest = read_manifest(path, tuple(TRAJECTORY_FILES))
        yield path / TRAJECTORY_FILES[manifest.command], path.name
    elif path.is_dir():
        for file in _files_in(path):
            yield file, file.relative_to(path).as_posix()
    elif path.is_file():
        yield path, path.name
    elif glob.has_magic(text):
        for match in sorted(glob.glob(text, recursive=True)):
            if Path(match).is_file():
                yield Path(match), match


def _files_in(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        here = Path(root)
        if here != folder and _is_run(here):
            folders.clear()
            manifest = _manifest_of(here)
            if (
                manifest is not None
                and manifest.status == "finished"
                and manifest.command in TRAJECTORY_FILES
            ):
                yield here / TRAJECTORY_FILES[manifest.command]
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            here / name
            for name in sorted(names)
            if not name.startswith(".") and (here / name).is_file()
        )


def _is_run(path: Path) -> bool:
    return path.is_dir() and _manifest_of(path) is not None


def _manifest_of(path: Path) -> Manifest | None:
    try:
        return Manifest.model_validate_json((path / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def _lack(text: str) -> str:
    if Path(text).is_dir():
        return "is a folder without files"
    return "matches no file" if glob.has_magic(text) else "does not exist"


def _detected(path: Path, name: str) -> str | Problem:
    try:
        return detect_format(path)
    except DataError as error:
        return Problem(where=name, reason=str(error).removeprefix(path.name).lstrip(": "))
