"""Given paths -> the files of each result. Folders and patterns are searched.

What one path names, or one match of a pattern, is one result: a file, or a folder with all files in
it. Links in a folder are not followed.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import DataError
from atlas.reporting.results.harbor import RESULT_FILE
from atlas.store.manifests import MANIFEST_FILE, Input, content_digest, relative_path
from atlas.store.paths import check_path, shown_path

SUFFIXES = (".eval", ".json", ".jsonl", ".csv", ".tsv")
# How many files a message names.
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class FoundResult:
    """A file or folder that was given for an arm, and the files to read."""

    path: Path
    files: tuple[Path, ...]

    @property
    def is_folder(self) -> bool:
        return self.files != (self.path,)

    @property
    def digest(self) -> str:
        """A digest over all files."""
        if not self.is_folder:
            return content_digest(self.path)
        lines = (f"{content_digest(file)} {self.name_of(file)}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def name_of(self, file: Path) -> str:
        """How messages call a file."""
        return shown_path(file)


def find_results(given: str) -> tuple[FoundResult, ...]:
    """The results that a path or pattern names, in order of their names.

    Raises:
        DataError: there is none, or a folder holds no file that may be one.
    """
    path = Path(given)
    if glob.has_magic(given) and not path.exists():
        # Path.glob takes no absolute pattern.
        matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207
    else:
        check_path(path, "the result")
        matches = [path] if path.exists() else []
    if not matches:
        raise DataError(
            f"no file or folder is at '{shown_path(given)}'. Check the path; quote a pattern, so "
            "that the shell leaves it as it is."
        )
    return tuple(_found(match) for match in matches)


def input_of(given: str, out: Path) -> Input:
    """A given path as an input of the report at `out`, with a digest over all its files."""
    digests = "".join(f"{found.digest}\n" for found in find_results(given))
    digest = hashlib.sha256(digests.encode()).hexdigest()
    return Input(path=relative_path(Path(given), out), digest=digest)


def _found(path: Path) -> FoundResult:
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"{shown_path(path)} is neither a file nor a folder.")
        return FoundResult(path, (path,))
    if (path / MANIFEST_FILE).is_file() and (path / "config.yaml").is_file():
        raise DataError(
            f"{shown_path(path)} is a run folder of atlas, expected results made elsewhere. Name "
            "it under `evaluations` in a recipe (docs/commands/report.md)."
        )
    files = tuple(_files_in(path))
    if not files:
        raise DataError(
            f"{shown_path(path)} holds no file that may be a result: {', '.join(SUFFIXES)}."
        )
    return FoundResult(path, files)


def _files_in(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if RESULT_FILE in names and "config.json" in names:
            # A job or a trial of Harbor: beside results, trials hold the agent's own files.
            folders[:] = [name for name in folders if (here / name / RESULT_FILE).is_file()]
            names = [RESULT_FILE]
        for name in sorted(names):
            file = here / name
            is_result = file.suffix.lower() in SUFFIXES and not name.startswith(".")
            if is_result and file.is_file() and not file.is_symlink():
                yield file
