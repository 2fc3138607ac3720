"""Finds the files of given paths: folders, patterns, run folders, standard input.

Each given path is one input of the run, with a digest over all its files.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atlas.errors import DataError
from atlas.store.readers import TRAJECTORY_FILES
from atlas.store.run_folders import MANIFEST_FILE, Input, Manifest, read_manifest, relative_path

STDIN = "-"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to read. `name` is for messages; `is_run` is true for a file of a run folder."""

    path: Path
    name: str
    is_run: bool = False


@dataclass(frozen=True, slots=True)
class GivenPath:
    """A given path and its files. For a run folder, `digest` comes from its manifest."""

    text: str
    files: tuple[FoundFile, ...]
    digest: str | None = None

    def input(self, out: Path, digests: Mapping[FoundFile, str]) -> Input:
        """The path as an input of the run at `out`; uses the digests of its files."""
        shown = self.text if self.text == STDIN else relative_path(Path(self.text), out)
        if self.digest is not None:
            return Input(path=shown, digest=self.digest)
        if Path(self.text).is_file():
            return Input(path=shown, digest=digests[self.files[0]])
        listed = "".join(f"{digests[file]} {file.name}\n" for file in self.files)
        digest = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
        return Input(path=shown, digest=digest)

    @property
    def kind(self) -> str:
        """What the inputs of a manifest call it."""
        return "run" if self.digest else "file" if Path(self.text).is_file() else "path"


def find_files(given: Sequence[str], out: Path, spool: Path) -> list[GivenPath]:
    """The given paths in order, with their files: sorted in folders, without hidden files.

    Args:
        out: the run folder to be written, which is never read.
        spool: a folder in which standard input is saved.

    Raises:
        DataError: no file was found at a path.
        RunError: a path is a run folder that is unfinished or holds no trajectories.
    """
    found = []
    for text in given:
        files = list(_expand(text, spool))
        kept = tuple(file for file in files if out.resolve() not in file.path.resolve().parents)
        if not kept:
            if files:
                raise DataError(
                    f"{text} lies in the run folder to be written, {out}, which is never read. "
                    "Choose another --out."
                )
            raise DataError(
                f"{text} {_lack(text)}, expected a file, folder or pattern of trajectories. "
                "Check the path."
            )
        path = Path(text)
        run = read_manifest(path, tuple(TRAJECTORY_FILES)) if _is_run(path) else None
        found.append(GivenPath(text, kept, run.digest if run else None))
    return found


def inputs_of(
    given: Sequence[GivenPath], out: Path, digests: Mapping[FoundFile, str]
) -> dict[str, Input]:
    """Each given path as an input of a run."""
    return {f"{path.kind} {index}": path.input(out, digests) for index, path in enumerate(given)}


def spool_stdin(spool: Path, stdin: BinaryIO | None = None) -> None:
    """Standard input as a file, so that formats can seek in it."""
    with (spool / "stdin").open("wb") as file:
        shutil.copyfileobj(stdin or sys.stdin.buffer, file, 1 << 20)


def _expand(text: str, spool: Path) -> Iterator[FoundFile]:
    """The files, with names relative to the folder that was given."""
    path = Path(text)
    if text == STDIN:
        yield FoundFile(spool / "stdin", "stdin")
    elif _is_run(path):
        manifest = read_manifest(path, tuple(TRAJECTORY_FILES))
        yield FoundFile(path / TRAJECTORY_FILES[manifest.command], path.name, is_run=True)
    elif path.is_dir():
        yield from _files_in(path)
    elif path.is_file():
        yield FoundFile(path, path.name, is_run=_is_run(path.parent))
    elif glob.has_magic(text):
        # Path.glob takes no absolute pattern.
        for match in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207
            file = Path(match)
            if file.is_file():
                yield FoundFile(file, match, is_run=_is_run(file.parent))


def _files_in(folder: Path) -> Iterator[FoundFile]:
    for root, folders, names in os.walk(folder):
        here = Path(root)
        manifest = None if here == folder else _manifest_of(here)
        if manifest is not None:
            folders.clear()
            if manifest.status == "finished" and manifest.command in TRAJECTORY_FILES:
                file = here / TRAJECTORY_FILES[manifest.command]
                yield FoundFile(file, file.relative_to(folder).as_posix(), is_run=True)
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = here / name
            if not name.startswith(".") and file.is_file():
                yield FoundFile(file, file.relative_to(folder).as_posix())


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
