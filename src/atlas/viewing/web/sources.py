"""What the paths of the command line hold: `paths -> sources`, one for each run that is shown.

A run brings those that it was made from: a selection its trajectories, a report its runs. A folder
of runs, such as that of an experiment, brings all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from atlas.errors import AtlasError, DataError
from atlas.records import Problem
from atlas.store.manifests import MANIFEST_FILE, Manifest, parse_manifest
from atlas.store.paths import check_path, short_path
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES
from atlas.viewing.web.unused_files import mark_used, remove_unused

SourceKind = Literal["trajectories", "selection", "checkpoint", "report"]
# Command -> the kind of its run, and the file of records.
KIND_OF: dict[str, tuple[SourceKind, str | None]] = {
    **{command: ("trajectories", name) for command, name in TRAJECTORY_FILES.items()},
    "select": ("selection", SELECTION_FILE),
    "train": ("checkpoint", None),
    "report": ("report", None),
}
# How deep the folder of an experiment is searched for runs.
MAX_DEPTH = 4
# The folder of an import, as a pattern.
NAME_OF_IMPORT = "[0-9a-f]" * 24
# Reads a log file or folder, and writes a run of trajectories to the second path.
ImportLog = Callable[[Path, Path], object]


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One run that the viewer shows.

    `key` is short, unique and safe in a URL. `file` is the file of records: trajectories of a
    source of trajectories, selections of a selection, None for the other kinds. `digest` is that of
    the manifest, which selections name in `made_from`; `file_digest` is the SHA-256 of `file`. Both
    are None while the run is being written. `model` is what an evaluation names as its model.
    """

    key: str
    kind: SourceKind
    path: Path
    title: str
    command: str
    file: Path | None = None
    digest: str | None = None
    file_digest: str | None = None
    made_from: str | None = None
    model: str | None = None
    is_partial: bool = False

    def current_file(self) -> Path | None:
        """The file to read now: that of a run in progress has another name until it is whole."""
        if self.file is None or self.file.exists():
            return self.file
        partial = self.file.with_name(self.file.name + ".partial")
        return partial if partial.exists() else None


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources in the order in which they were given, and what could not be shown."""

    sources: tuple[ShownRun, ...]
    problems: tuple[Problem, ...] = ()


def open_sources(
    paths: Iterable[Path], import_log: ImportLog | None = None, cache: Path | None = None
) -> Sources:
    """The sources of run folders, folders of runs, and log files of other programs.

    Args:
        import_log: imports what atlas did not write, into a folder in `cache`.

    Raises:
        ConfigError: a path cannot be used.
        DataError: nothing of what was given can be shown; the message names the reasons.
    """
    search = _Search(import_log, cache)
    for path in paths:
        check_path(path, "the path")
        search.add(path)
    if not any(source.kind == "trajectories" for source in search.found):
        reasons = "; ".join(f"{one.where}: {one.reason}" for one in search.problems)
        raise DataError(
            f"no trajectories to show: {reasons or 'the runs hold none'}. Give run folders of "
            "collect, import or evaluate, or what was made from them."
        )
    sources = tuple(_with_keys(search.found))
    digests = {source.digest for source in sources if source.kind == "trajectories"}
    strays = [
        Problem(
            where=short_path(one.path),
            reason="the trajectories that it was made from are not "
            "among the runs that are shown. Give their run, too",
        )
        for one in sources
        if one.kind == "selection" and one.made_from not in digests
    ]
    return Sources(sources, (*search.problems, *strays))


def reread(source: ShownRun) -> ShownRun:
    """The same source as its manifest describes it now, after a run went on or ended."""
    try:
        manifest = parse_manifest(source.path / MANIFEST_FILE)
    except AtlasError:
        return source
    return replace(_describe(source.path, manifest), key=source.key, title=source.title)


class _Search:
    """Finds the runs behind paths, each once."""

    def __init__(self, import_log: ImportLog | None, cache: Path | None) -> None:
        self.found: list[ShownRun] = []
        self.problems: list[Problem] = []
        self._seen: set[Path] = set()
        self._import_log, self._cache = import_log, cache

    def add(self, path: Path) -> None:
        """Add what a path of the command line holds."""
        if path.is_file() and (path.parent / MANIFEST_FILE).is_file():
            # A file of a run stands for the run.
            path = path.parent
        if not path.exists():
            self._leave_out(path, "it does not exist. Check the path")
        elif (path / MANIFEST_FILE).is_file():
            self._add_run(path)
        elif runs := list(_runs_below(path)):
            for run in runs:
                self._add_run(run)
        else:
            self._add_log(path)

    def _add_run(self, path: Path) -> None:
        if (place := path.resolve()) in self._seen:
            return
        self._seen.add(place)
        try:
            manifest = parse_manifest(path / MANIFEST_FILE)
        except AtlasError as error:
            self._leave_out(path, str(error))
            return
        # What a run was made from comes before it.
        for given in manifest.inputs.values():
            folder = Path(os.path.normpath(path / given.path))
            if (folder / MANIFEST_FILE).is_file():
                self._add_run(folder)
        if manifest.command in KIND_OF:
            source = _describe(path, manifest)
            self.found.append(source)
            if reason := _fault(source, manifest):
                self._leave_out(path, reason)
        for run in _runs_below(path):
            self._add_run(run)

    def _add_log(self, path: Path) -> None:
        if self._import_log is None or self._cache is None:
            self._leave_out(path, "it is not a run folder. Import it first with atlas import")
            return
        out = self._cache / _name_of_import(path)
        try:
            self._import_log(path, out)
        except AtlasError as error:
            self._leave_out(path, str(error))
            return
        mark_used(out)
        # A log that has changed is imported again, under another name.
        remove_unused(self._cache, NAME_OF_IMPORT)
        before = len(self.found)
        self._add_run(out)
        self.found[before:] = [
            replace(one, title=f"import {short_path(path)}", key=path.stem)
            for one in self.found[before:]
        ]

    def _leave_out(self, path: Path, reason: str) -> None:
        self.problems.append(Problem(where=short_path(path), reason=reason))


def _describe(path: Path, manifest: Manifest) -> ShownRun:
    kind, name = KIND_OF[manifest.command]
    made_from, model = manifest.inputs.get("trajectories"), manifest.inputs.get("model")
    return ShownRun(
        key=path.resolve().name,
        kind=kind,
        path=path,
        title="",
        command=manifest.command,
        file=path / name if name else None,
        digest=manifest.digest if manifest.finished else None,
        file_digest=manifest.outputs.get(name) if name else None,
        made_from=made_from.digest if made_from else None,
        model=model.path if model else None,
        is_partial=not manifest.finished,
    )


def _fault(source: ShownRun, manifest: Manifest) -> str | None:
    """Why the records of a run are not those that it wrote; None if they are."""
    if source.file is None or source.is_partial:
        return None
    name = source.file.name
    if not source.file.is_file():
        return f"{name} is missing, but the manifest lists it. Restore the file"
    stamp = manifest.stamps.get(name)
    if stamp is not None and stamp[0] != source.file.stat().st_size:
        return f"{name} was changed after 'atlas {source.command}' wrote it. Restore the file"
    return None


def _runs_below(folder: Path) -> Iterator[Path]:
    """The run folders in a folder, without those inside of them, in the order of their names."""
    for root, folders, files in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        if depth and MANIFEST_FILE in files:
            yield Path(root)
        is_done = depth >= MAX_DEPTH or (depth and MANIFEST_FILE in files)
        folders[:] = [] if is_done else sorted(one for one in folders if not one.startswith("."))


def _name_of_import(path: Path) -> str:
    """A name for the import of a log, which changes with its content."""
    import hashlib

    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    content = [str(path.resolve()), *(f"{n} {s.st_size} {s.st_mtime_ns}" for n, s in stats)]
    return hashlib.sha256("\n".join(content).encode("utf-8", "replace")).hexdigest()[:24]


def _with_keys(found: Sequence[ShownRun]) -> Iterator[ShownRun]:
    """The sources under unique keys: the folder's name, after that of its parent if needed."""
    taken: set[str] = set()
    for source in found:
        names = [source.key, f"{source.path.resolve().parent.name}-{source.key}"]
        if (source.path.parent / MANIFEST_FILE).is_file():
            # An entry of a suite has the name of its world.
            del names[0]
        slugs = [re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60] or "run" for name in names]
        numbered = (f"{slugs[-1]}-{number}" for number in range(2, len(found) + 2))
        key = next(one for one in (*slugs, *numbered) if one.lower() not in taken)
        taken.add(key.lower())
        yield replace(source, key=key, title=source.title or f"{source.command} {key}")
