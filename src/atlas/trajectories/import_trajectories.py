"""Import: `files -> trajectories`. Rows become trajectories; what cannot is a problem with its place and reason.

OUT/trajectories.jsonl   in the order of the files and their rows
OUT/problems.jsonl       rows left out, exact duplicates among them
OUT/notes.jsonl          rows kept, with something odd about a step

The files are read once, and nothing but the ids stays in memory. An import that was interrupted starts over: reading what was
done already to skip it costs as much as doing it again, and the bytes are the same.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import Field

from atlas.config import BY_CONTENT, Config
from atlas.errors import DataError
from atlas.records import Problem
from atlas.store.record_files import RecordWriter
from atlas.store.run_folders import OWN_FILES, Manifest, Run, start_run
from atlas.terminal.progress import show_progress
from atlas.trajectories.filters import make_filters
from atlas.trajectories.find_files import STDIN, SourceFile, find_files, find_inputs, spool_stdin
from atlas.trajectories.formats.base import make_format
from atlas.trajectories.identities import Identities
from atlas.trajectories.prepare import Dropped, Kept, Prepared, Preparer, with_id
from atlas.trajectories.tally import Tally

MAX_FILES_NAMED = 500
OBJECTS_PER_COLLECTION = (
    100_000  # looking for cycles after every few hundred objects costs a fifth of the time
)


class ImportConfig(Config):
    """What to read, how, and what to keep of it."""

    paths: Annotated[tuple[str, ...], BY_CONTENT] = Field(
        min_length=1,
        description="files, folders, run folders or patterns to read, in this order; - is stdin",
    )
    format: str | None = Field(
        None, description="a row of FORMATS or package.module:Format; None tells from the content"
    )
    strict: bool = Field(
        False, description="stop at the first row that is no trajectory, instead of recording it"
    )
    only: tuple[str, ...] = Field(
        (),
        description="outcomes to keep: success, failure, truncated, error, unknown; all, if empty",
    )
    min_steps: int | None = Field(
        None, ge=0, description="trajectories with fewer steps are left out"
    )
    max_steps: int | None = Field(
        None, ge=0, description="trajectories with more steps are left out"
    )
    where: tuple[str, ...] = Field(
        (),
        description="conditions such as task~babyai; fields task, environment, group, split, source, status, id",
    )
    keep_duplicates: bool = Field(
        False,
        description="keep trajectories that are the same word for word, under ids of their own",
    )
    tokenizer: str | None = Field(
        None, description="a model whose tokenizer counts the tokens of the summary"
    )


def import_trajectories(config: ImportConfig, out: Path) -> Manifest:
    """Read every file that `config.paths` stands for into the run folder `out`.

    Raises:
        DataError: a path leads nowhere, nothing in the files is a trajectory, or (strict) the first row that is none.
        ConfigError: the format is unknown or ambiguous, or a filter is none.
        RunError: `out` belongs to another run.
        DependencyError: a file needs a package that is not installed.
    """
    make_filters(config.only, config.min_steps, config.max_steps, config.where)
    with TemporaryDirectory(prefix="atlas-import-") as folder:
        spool = Path(folder)
        if STDIN in config.paths:
            spool_stdin(spool)
        files = find_files(config.paths, config.format, out, spool)
        _refuse_hopeless(files, config.strict)
        inputs = find_inputs(config.paths, out, spool)
        existed = out.exists()
        try:
            with start_run(out, "import", config, inputs, keeps_unfinished=False) as run:
                return run.manifest if run.finished else _write(run, files, config)
        except DataError:
            if not existed:
                _remove(out)
            raise


def _refuse_hopeless(files: Sequence[SourceFile], strict: bool) -> None:
    """Find out before a run folder is made that nothing can be read."""
    problem: Problem | None = None
    for item in _prepared(files, Preparer((), None, None, (), None)):
        if isinstance(item, Kept):
            return
        assert isinstance(item, Problem)
        problem = problem or item
        if strict:
            _stop(item)
    if problem is None:
        raise DataError("no row is a trajectory: the files hold no rows.")
    raise DataError(f"no row is a trajectory. The first: {problem.where}: {problem.reason}")


def _stop(problem: Problem) -> None:
    raise DataError(
        f"{problem.where}: {problem.reason}. Mend the row, or import without strict: it is then left out and recorded."
    )


def _prepared(files: Sequence[SourceFile], preparer: Preparer) -> Iterator[Prepared]:
    """What there is to say about each item of all files, in order."""
    for file in files:
        if isinstance(file.format, Problem):
            yield file.format
        else:
            yield from preparer.prepare(file, make_format(file.format).read(file.path))


def _write(run: Run, files: Sequence[SourceFile], config: ImportConfig) -> Manifest:
    tally = Tally(with_tokens=config.tokenizer is not None)
    identities = Identities(config.keep_duplicates)
    with (
        RecordWriter(run.path / "trajectories.jsonl") as trajectories,
        RecordWriter(run.path / "problems.jsonl") as problems,
        RecordWriter(run.path / "notes.jsonl") as notes,
        show_progress("importing rows") as bar,
        _rare_collections(),
    ):
        for item in _prepared(files, _preparer(config)):
            bar.advance()
            if isinstance(item, Problem):
                if config.strict:
                    _stop(item)
                problems.write(item)
                tally.add_problem(item)
                continue
            if isinstance(item, Dropped):
                tally.add_filtered(item.filter)
                continue
            id_, earlier = identities.take(item.id, item.digest, item.place)
            if earlier is not None:
                same = Problem(
                    where=item.place, reason=f"the same as {earlier}, word for word", item=item.id
                )
                problems.write(same)
                tally.add_problem(same, is_duplicate=True)
                continue
            trajectories.write(item.line if id_ == item.id else with_id(item.line, id_))
            tally.add(item.facts)
            for index, remark in item.remarks:
                notes.write(Problem(where=f"{item.place}, step {index}", reason=remark, item=id_))
                tally.add_remark(remark)
        if not tally.num_kept:
            dropped = ", ".join(f"{name} ({number})" for name, number in tally.filtered.items())
            raise DataError(
                f"no trajectory is left: {dropped} dropped all that could be read. Loosen the filters."
            )
    return run.finish(_files_summary(files) | tally.summary())


def _preparer(config: ImportConfig) -> Preparer:
    return Preparer(config.only, config.min_steps, config.max_steps, config.where, config.tokenizer)


def _files_summary(files: Sequence[SourceFile]) -> dict[str, Any]:
    names = [(file.name, file.format if isinstance(file.format, str) else "none") for file in files]
    return {
        "files": len(files),
        "formats": dict(sorted(Counter(name for _, name in names).items())),
        "format_of_file": dict(names[:MAX_FILES_NAMED]),
    }


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cycles, of which records have none, once in a while only."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_PER_COLLECTION, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _remove(out: Path) -> None:
    """A folder that this import made and that holds nothing yet but a run's own files."""
    for name in OWN_FILES:
        (out / name).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()
