"""Import: `files -> trajectories`. What cannot be read is a problem with its place and reason.

OUT/trajectories.jsonl   in the order of the files and their rows
OUT/problems.jsonl       rows left out, exact duplicates among them
OUT/notes.jsonl          rows kept, with something odd about a step, or with fields not read

Each file is opened once and streamed; only ids stay in memory. An interrupted import starts over:
to read what was done already costs as much as to do it again, and the bytes are the same.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from atlas.config import BY_CONTENT, SPEED_ONLY, Config, StrPath
from atlas.errors import AtlasError, DataError
from atlas.kinds import Choice
from atlas.records import Problem
from atlas.shipped import FOLDER, shipped
from atlas.store.paths import check_path, shown_path
from atlas.store.record_files import RecordWriter, file_digest
from atlas.store.run_folders import Manifest, Run, start_run
from atlas.terminal.progress import show_progress
from atlas.trajectories.filters import Filter, dropped_by, make_filters
from atlas.trajectories.find_files import (
    STDIN,
    FoundFile,
    GivenPath,
    find_files,
    inputs_of,
    spool_stdin,
)
from atlas.trajectories.formats.base import FORMAT, Format, detect_format
from atlas.trajectories.formats.rows import Item, as_line
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.identities import Identities
from atlas.trajectories.import_summary import DUPLICATE, ImportSummary
from atlas.trajectories.import_workers import OBJECTS_PER_COLLECTION, ImportWorkers
from atlas.trajectories.trajectory_lines import TrajectoryLine

MAX_FILES_NAMED = 500
ITEMS_PER_REFRESH = 64
# Replaces the digest of a file that cannot be read.
UNREADABLE = "unreadable"
AS_NAMED = "Paths are written as problems name them, without positions in lists: messages.extra"


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _shown(paths: tuple[str, ...]) -> list[str]:
    """The paths as a manifest can hold them."""
    return [shown_path(path) for path in paths]


# One text, or a list of them.
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class ImportConfig(Config):
    """What to read, how, and what to keep of it."""

    paths: Annotated[Texts, BY_CONTENT, PlainSerializer(_shown, when_used="json")] = Field(
        min_length=1,
        description="files, folders, run folders or patterns to read, in this order; - is stdin",
    )
    format: Annotated[Choice, FORMAT] | None = Field(
        default=None, description="how all files are read; by default the content of each decides"
    )
    follow_links: bool = Field(
        default=False,
        description="follow links in a folder that lead out of it, or to another folder",
    )
    strict: bool = Field(
        default=False,
        description="stop at the first row that is not a trajectory instead of recording it",
    )
    only: Texts = Field(
        default=(),
        description="outcomes to keep: success, failure, truncated, error, unknown; all, if empty",
    )
    min_steps: int | None = Field(
        default=None, ge=0, description="trajectories with fewer steps are left out"
    )
    max_steps: int | None = Field(
        default=None, ge=0, description="trajectories with more steps are left out"
    )
    where: Texts = Field(
        default=(),
        description="conditions such as task~babyai or status!=error (= != ~); fields task, "
        "environment, group, split, source, status, id",
    )
    keep_duplicates: bool = Field(
        default=False,
        description="keep trajectories that are equal word for word, under ids of their own",
    )
    ignore: Texts = Field(
        default=(),
        description="paths of fields that are left out although they may be content, as a problem "
        "names them: messages.extra, or *.extra at any place",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="keep the first trajectories only, at most this many; nothing is read after "
        "them",
    )
    tokenizer: str | None = Field(
        default=None, description="a model whose tokenizer counts the tokens of the summary"
    )
    processes: Annotated[int | None, SPEED_ONLY] = Field(
        default=None,
        ge=1,
        description="processes that convert a large JSON Lines file; none: one per CPU, at most 8",
    )

    def needed_extras(self) -> tuple[str, ...]:
        return () if self.tokenizer is None else ("train",)


def import_trajectories(config: ImportConfig, out: StrPath) -> Manifest:
    """Read every file that `config.paths` stands for into the run folder `out`.

    Raises:
        DataError: a path leads nowhere, nothing in the files is a trajectory, or (strict) a row is
            not one.
        ConfigError: the format is unknown or ambiguous, or a filter cannot be read.
        RunError: `out` belongs to another run.
        DependencyError: a file needs a package that is not installed.
    """
    out = Path(out)
    check_path(out, "--out")
    filters = make_filters(config.only, config.min_steps, config.max_steps, config.where)
    with TemporaryDirectory(prefix="atlas-import-") as folder:
        if STDIN in config.paths:
            spool_stdin(Path(folder))
        paths = [str(shipped(Path(one))) if one.startswith(FOLDER) else one for one in config.paths]
        given = find_files(paths, out, Path(folder), config.follow_links)
        existed = out.exists()
        with start_run(
            out,
            "import",
            config,
            lambda: inputs_of(given, out, _digests(given)),
            keeps_unfinished=False,
        ) as run:
            try:
                return run.manifest if run.finished else _import(run, given, config, filters)
            except AtlasError:
                if not existed:
                    run.discard()
                raise


def _import(
    run: Run, given: Sequence[GivenPath], config: ImportConfig, filters: Sequence[Filter]
) -> Manifest:
    chosen = FORMAT.make(config.format) if config.format else None
    digests: dict[FoundFile, str] = {}
    formats: list[tuple[str, str]] = []
    with (
        _Writer(run.path, config, filters) as writer,
        ImportWorkers(config.processes) as workers,
        _rare_collections(),
    ):
        for link in (link for path in given for link in path.links):
            writer.add(link, link.where, has_content_id=False)
        for file in _files_of(given):
            if writer.is_full():
                digests[file] = file_digest(file.path)
                continue
            try:
                opened = SourceFile(file.path, file.name, config.ignore)
            except PermissionError as error:
                reason = f"the file cannot be read ({error.strerror})"
                writer.add(Problem(where=file.name, reason=reason), file.name, False)
                digests[file] = UNREADABLE
                continue
            with opened as source:
                name, items = _read(source, file, config.format, chosen, workers)
                formats.append((file.name, name))
                for item in items:
                    if writer.is_full():
                        break
                    writer.add(item, file.name, has_content_id=name != "atlas")
                digests[file] = source.digest()
        writer.check_not_empty()
        writer.note_unread()
    files_summary = {
        "files": len(formats),
        "formats": dict(sorted(Counter(name for _, name in formats).items())),
        "format_of_file": dict(formats[:MAX_FILES_NAMED]),
    }
    summary = files_summary | writer.summary.as_dict()
    if writer.is_full():
        num_unread = len(digests) - len(formats)
        files = "file" if num_unread == 1 else "files"
        more = f", and {num_unread:,} more {files}" if num_unread else ""
        summary["limit"] = (
            f"the first {config.limit:,} trajectories; not read: the rest of the last file{more}"
        )
    return run.finish(summary, inputs_of(given, run.path, digests), writer.digests())


def _read(
    source: SourceFile,
    file: FoundFile,
    choice: Choice | None,
    chosen: Format | None,
    workers: ImportWorkers,
) -> tuple[str, Iterator[Item]]:
    """The name of a file's format, "none" if no format fits, and what the file holds."""
    if file.is_run:
        choice, chosen = Choice("atlas"), None
    elif choice is None:
        try:
            choice = Choice(detect_format(source))
        except DataError as error:
            reason = str(error).removeprefix(source.name).lstrip(": ")
            return "none", iter([Problem(where=source.name, reason=reason)])
    reader: Format = chosen or FORMAT.make(choice)
    if workers.are_worth_it(source, reader):
        return choice.name, workers.convert(source, choice)
    return choice.name, reader.read(source)


class _Writer:
    """The files of an import: takes items in order, and keeps, drops or refuses each."""

    def __init__(self, out: Path, config: ImportConfig, filters: Sequence[Filter]) -> None:
        self.summary = ImportSummary(_token_counter(config.tokenizer))
        self.summary.ignored.update(dict.fromkeys(config.ignore, 0))
        self._config = config
        self._filters = filters
        self._identities = Identities(config.keep_duplicates)
        self._first_problem: Problem | None = None
        self._num_items = 0
        self._stack = ExitStack()
        self._stack.callback(self._identities.close)
        self._files = [
            self._stack.enter_context(RecordWriter(out / f"{name}.jsonl"))
            for name in ("trajectories", "problems", "notes")
        ]
        self._trajectories, self._problems, self._notes = self._files
        self._bar = self._stack.enter_context(show_progress("importing rows"))

    def is_full(self) -> bool:
        """Whether the limit is reached, so that nothing more is kept."""
        return self.summary.num_kept == self._config.limit

    def add(self, item: Item, file: str, has_content_id: bool) -> None:
        """One item of a file.

        Args:
            has_content_id: the id of a trajectory holds a hash of its content.
        """
        self._num_items += 1
        if not self._num_items % ITEMS_PER_REFRESH:
            self._bar.update(self._num_items)
        trajectory = as_line(item)
        if isinstance(trajectory, Problem):
            self._refuse(trajectory)
            return
        if name := dropped_by(trajectory, self._filters):
            self.summary.add_filtered(name)
            return
        content = None if has_content_id else hashlib.sha256(trajectory.line).digest()
        is_row = has_content_id and trajectory.row is not None
        place = f"{file} row {trajectory.row}" if is_row else f"{file}: {trajectory.id}"
        self._keep(trajectory, content, place)

    def note_unread(self) -> None:
        """Write one note for each path that was not read."""
        for path, count, first in self.summary.unread():
            reason = f"not read: {path} (trajectories: {count:,}; this is the first)"
            self._notes.write(Problem(where=first, reason=reason))
        for path in self._config.ignore:
            if not self.summary.ignored[path]:
                reason = f"ignore={path} left nothing out. {AS_NAMED}"
                self._notes.write(Problem(where="all files", reason=reason))

    def check_not_empty(self) -> None:
        """Raise DataError if no trajectory was kept."""
        if self.summary.num_kept:
            return
        if filtered := self.summary.filtered:
            dropped = ", ".join(f"{name} ({number})" for name, number in filtered.items())
            raise DataError(
                f"no trajectory is left: {dropped} dropped all that could be read. "
                "Loosen the filters."
            )
        if (first := self._first_problem) is not None:
            raise DataError(f"no row is a trajectory. The first: {first.where}: {first.reason}")
        raise DataError("no row is a trajectory: the files hold no rows.")

    def digests(self) -> dict[str, str]:
        """Of the files, by name, when they are whole."""
        return {file.path.name: file.digest for file in self._files}

    def _keep(self, trajectory: TrajectoryLine, content: bytes | None, place: str) -> None:
        id_, earlier = self._identities.take(trajectory.id, content, place)
        if earlier is not None:
            reason = f"the same as {earlier}, word for word"
            self._problems.write(Problem(where=place, reason=reason, item=trajectory.id))
            self.summary.add_problem(DUPLICATE)
            return
        if id_ != trajectory.id:
            trajectory = trajectory.with_id(id_)
        self._trajectories.write(trajectory.line)
        self.summary.add(trajectory)
        for index, remark in trajectory.remarks:
            where = place if index < 0 else f"{place}, step {index}"
            self._notes.write(Problem(where=where, reason=remark, item=id_))
            self.summary.add_remark(remark)
        for path in trajectory.unread:
            self.summary.add_unread(path, place)
        for path in trajectory.ignored:
            self.summary.add_ignored(path)

    def _refuse(self, problem: Problem) -> None:
        if self._config.strict:
            raise DataError(
                f"{problem.where}: {problem.reason}. "
                "Fix the row, or import without strict: then it is left out and recorded."
            )
        self._first_problem = self._first_problem or problem
        self._problems.write(problem)
        self.summary.add_problem(problem.reason)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


def _files_of(given: Sequence[GivenPath]) -> Iterator[FoundFile]:
    return (file for path in given for file in path.files)


def _digests(given: Sequence[GivenPath]) -> dict[FoundFile, str]:
    """The digests of all files, for a comparison with an earlier import."""
    unknown = [path for path in given if path.digest is None]
    return {file: _digest(file.path) for file in _files_of(unknown)}


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except PermissionError:
        return UNREADABLE


def _token_counter(name: str | None) -> Callable[[str], int] | None:
    if name is None:
        return None
    from atlas.models.local.load import load_renderer, locate_model

    renderer = load_renderer(locate_model(name))
    return lambda text: len(renderer.encode(text))


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cycles rarely: records have none."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_PER_COLLECTION, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
