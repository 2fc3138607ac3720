"""Finds the files of given paths: folders, patterns, run folders, standard input.

Each given path is one input of the run, with a digest over all its files. A link in a folder may
lead anywhere on the disk, so one that leads out of the folder is only followed if that is asked
for. A link that is given as a path is always followed.
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
from atlas.records import Problem
from atlas.store.manifests import parse_manifest
from atlas.store.paths import shown_path
from atlas.store.readers import TRAJECTORY_FILES
from atlas.store.run_folders import MANIFEST_FILE, Input, Manifest, read_manifest, relative_path
from atlas.terminal.visible_text import visible_line

STDIN = "-"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to read. `name` is for messages; `is_run` is true for a file of a run folder."""

    path: Path
    name: str
    is_run: bool = False


@dataclass(frozen=True, slots=True)
class GivenPath:
    """A given path and its files. For a run folder, `digest` comes from its manifest.

    `links` are those that were not followed, and runs that are not finished.
    """

    text: str
    files: tuple[FoundFile, ...]
    digest: str | None = None
    links: tuple[Problem, ...] = ()

    def input(self, out: Path, digests: Mapping[FoundFile, str]) -> Input:
        """The path as an input of the run at `out`; uses the digests of its files."""
        shown = self.text if self.text == STDIN else relative_path(Path(self.text), out)
        if self.digest is not None:
            return Input(path=shown, digest=self.digest)
        if Path(self.text).is_file():
            return Input(path=shown, digest=digests[self.files[0]])
        listed = "".join(f"{digests[file]} {file.name}\n" for file in self.files)
        return Input(path=shown, digest=hashlib.sha256(listed.encode()).hexdigest())

    @property
    def kind(self) -> str:
        """What the inputs of a manifest call it."""
        return "run" if self.digest else "file" if Path(self.text).is_file() else "path"


def find_files(
    given: Sequence[str], out: Path, spool: Path, follow_links: bool = False
) -> list[GivenPath]:
    """The given paths in order, with their files: sorted in folders, without hidden files.

    Args:
        out: the run folder to be written, which is never read.
        spool: a folder in which standard input is saved.
        follow_links: whether links may lead out of a folder that is read.

    Raises:
        DataError: no file was found at a path.
        RunError: a path is a run folder that is unfinished or holds no trajectories.
    """
    found = []
    for text in given:
        links: list[Problem] = []
        files = list(_expand(text, spool, _Links(follow_links, links)))
        kept = tuple(file for file in files if out.resolve() not in file.path.resolve().parents)
        if not kept:
            if files:
                raise DataError(
                    f"{text} lies in the run folder to be written, {out}, which is never read. "
                    "Choose another --out."
                )
            if links:
                raise DataError(
                    f"{text} holds no file but {len(links)} links; the first: {links[0].where}: "
                    f"{links[0].reason}."
                )
            raise DataError(
                f"{text} {_lack(text)}, expected a file, folder or pattern of trajectories. "
                "Check the path."
            )
        path = Path(text)
        run = read_manifest(path, tuple(TRAJECTORY_FILES)) if _is_run(path) else None
        found.append(GivenPath(text, kept, run.digest if run else None, tuple(links)))
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


class _Links:
    """Decides which links are followed, and records what is left out."""

    def __init__(self, follow: bool, left_out: list[Problem]) -> None:
        self.follow = follow
        self._left_out = left_out
        self._seen: set[str] = set()

    def leave_out(self, name: str, reason: str) -> None:
        self._left_out.append(Problem(where=name, reason=reason))

    def admits(self, path: Path, folder: Path, name: str) -> bool:
        """Whether a file or folder, found in `folder` under this name, is read."""
        real, real_folder = os.path.realpath(path), os.path.realpath(folder)
        is_inside = Path(real).is_relative_to(real_folder)
        is_linked = real != os.path.join(real_folder, path.relative_to(folder))  # noqa: PTH118
        is_read_anyway = real in self._seen or Path(real_folder).is_relative_to(real)
        if not is_linked:
            reason = None
        elif not path.exists():
            reason = "a link that leads nowhere"
        elif is_read_anyway:
            # A folder that leads back into itself would be read forever.
            reason = "a link to what is read anyway"
        elif self.follow or (is_inside and path.is_file()):
            reason = None
        else:
            where = "another folder of it" if is_inside else visible_line(shown_path(real))
            reason = f"a link to {where}, not followed; follow_links=true follows all links"
        if reason is not None:
            self.leave_out(name, reason)
            return False
        self._seen.add(real)
        return True


def _expand(text: str, spool: Path, links: _Links) -> Iterator[FoundFile]:
    """The files, with names relative to the folder that was given."""
    path = Path(text)
    if text == STDIN:
        yield FoundFile(spool / "stdin", "stdin")
    elif _is_run(path):
        manifest = read_manifest(path, tuple(TRAJECTORY_FILES))
        name = shown_path(path.name)
        yield FoundFile(path / TRAJECTORY_FILES[manifest.command], name, is_run=True)
    elif path.is_dir():
        yield from _files_in(path, links)
    elif path.is_file():
        yield _file(path, shown_path(path.name))
    elif glob.has_magic(text):
        yield from _matches(text, links)


def _matches(pattern: str, links: _Links) -> Iterator[FoundFile]:
    """The files that match. A link to a folder is named once, not with all that lies behind it."""
    folder = _folder_of(Path(pattern))
    refused: set[Path] = set()
    admitted: set[Path] = set()
    # Path.glob takes no absolute pattern.
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        file = Path(match)
        between = [parent for parent in reversed(file.parents) if parent.is_relative_to(folder)]
        for parent in between:
            if parent.is_symlink() and parent != folder and parent not in admitted | refused:
                is_read = refused.isdisjoint(parent.parents) and links.admits(
                    parent, folder, shown_path(parent)
                )
                (admitted if is_read else refused).add(parent)
        if (file.is_file() or (file.is_symlink() and not file.is_dir())) and refused.isdisjoint(
            between
        ):
            name = shown_path(match)
            if links.admits(file, folder, name):
                yield _file(file, name)


def _file(path: Path, name: str) -> FoundFile:
    """A file; one of a run folder must be as the run left it."""
    is_run = _is_run(path.parent)
    if is_run:
        read_manifest(path.parent)
    return FoundFile(path, name, is_run=is_run)


def _folder_of(pattern: Path) -> Path:
    """The folder that a pattern names before its first wildcard."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def _files_in(folder: Path, links: _Links) -> Iterator[FoundFile]:
    for root, folders, names in os.walk(folder, followlinks=links.follow):
        here = Path(root)
        manifest = None if here == folder else _manifest_of(here)
        if manifest is not None:
            folders.clear()
            if manifest.command in TRAJECTORY_FILES:
                if not manifest.finished:
                    links.leave_out(_name_in(folder, here), "an unfinished run; finish it first")
                    continue
                read_manifest(here)
                file = here / TRAJECTORY_FILES[manifest.command]
                yield FoundFile(file, _name_in(folder, file), is_run=True)
            continue
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and links.admits(here / name, folder, _name_in(folder, here / name))
        )
        for name in sorted(names):
            file = here / name
            if name.startswith(".") or not (file.is_file() or file.is_symlink()):
                continue
            if links.admits(file, folder, _name_in(folder, file)):
                yield FoundFile(file, _name_in(folder, file))


def _name_in(folder: Path, path: Path) -> str:
    return shown_path(path.relative_to(folder).as_posix())


def _is_run(path: Path) -> bool:
    return path.is_dir() and _manifest_of(path) is not None


def _manifest_of(path: Path) -> Manifest | None:
    """The manifest of a run folder. Other programs, too, write files of this name."""
    file = path / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValueError:
        # What lies in a damaged run folder must not be read as if nobody knew its digests.
        is_run = (path / "config.yaml").exists() and any(
            (path / name).exists() for name in TRAJECTORY_FILES.values()
        )
        if is_run:
            parse_manifest(file)
        return None
    except OSError:
        return None


def _lack(text: str) -> str:
    if Path(text).is_dir():
        return "is a folder without files"
    return "matches no file" if glob.has_magic(text) else "does not exist"
