"""Audit: `training files (or runs) + trainer + tokenizer -> what would be supervised in them`."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atlas.auditing.auditor import Auditor
from atlas.auditing.findings import DEFAULT_FAILS, FindingName
from atlas.auditing.tally import Tally
from atlas.auditing.template import Template
from atlas.auditing.trainers.base import TRAINER, Trainer, TrainerContext
from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.errors import ConfigError, DataError
from atlas.kinds import Choice
from atlas.models.local.load import load_renderer_named
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.rendering.renderer import Renderer
from atlas.store.readers import read_selected
from atlas.terminal.progress import show_progress
from atlas.trajectories.find_files import STDIN, FoundFile, find_files, spool_stdin
from atlas.trajectories.formats.read_rows import holds_lines, line_chunks, rows_of_lines
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.formats.source_file import SourceFile
from atlas.workers.spread import spread

# Below, a worker takes longer to start than it saves.
LARGE_BYTES = 4 << 20
CHUNK_BYTES = 1 << 18
ROWS_IN_A_JOB = 64


class AuditConfig(Config):
    """What to audit, as which trainer, and what makes the exit status 1."""

    trainer: Annotated[Choice, TRAINER] = Field(
        description="the trainer (--as NAME): one that `atlas settings audit` lists, or your own "
        "as package.module:Trainer"
    )
    paths: Annotated[tuple[str, ...], BY_CONTENT] = Field(
        default=(), description="files, folders or patterns to audit; with --as atlas, a run folder"
    )
    tokenizer: str | None = Field(
        default=None,
        description="a hub id, a model folder, or a run folder of train: the model to be trained",
    )
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description=CHAT_TEMPLATE_HELP
    )
    selection: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description="for --as atlas: a run folder of select (--selection)"
    )
    fail_on: tuple[FindingName, ...] = Field(
        default=DEFAULT_FAILS, description="the findings with which the exit status is 1"
    )
    limit: int | None = Field(default=None, ge=1, description="only so many rows of each file")
    num_worst: int = Field(
        default=3, ge=0, le=100, description="how many of the worst rows to show"
    )
    processes: Annotated[int | None, SPEED_ONLY] = Field(
        default=None, ge=1, description="processes that audit a large file; none: one per CPU"
    )
    python: str | None = Field(
        default=None,
        description="for --execute: a Python interpreter in whose environment the trainer is "
        "installed; none: the one that runs atlas",
    )
    execute_rows: int = Field(
        default=1000, ge=1, description="for --execute: how many of the first rows are compared"
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("train",)


@dataclass(frozen=True, slots=True)
class Audit:
    """The result: the sums, and what it was made with."""

    config: AuditConfig
    tally: Tally
    files: tuple[str, ...]
    trainer: Trainer

    @property
    def failed_on(self) -> tuple[str, ...]:
        """The findings that make the exit status 1."""
        return tuple(name for name in self.config.fail_on if name in self.tally.found)


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows to audit: undecoded lines, decoded rows, or trajectories with their selections."""

    file_index: int
    name: str
    first_index: int
    lines: bytes = b""
    rows: tuple[SourceRow | Problem, ...] = ()
    pairs: tuple[tuple[Trajectory, Selection], ...] = ()


def audit_files(config: AuditConfig, renderer: Renderer | None = None) -> Audit:
    """Audit all rows of the files in `config.paths`.

    Args:
        renderer: the renderer of `config.tokenizer`; it is loaded if it is not given, in each
            process.

    Raises:
        ConfigError: no file or no tokenizer is given, or a run for a trainer that reads files.
        DataError: a path holds no file, or no file holds a training row.
        ModelError: the tokenizer is unusable.
    """
    if not config.paths:
        raise ConfigError("no file is given. Write atlas audit FILE --as TRAINER --tokenizer NAME.")
    if renderer is None and not config.tokenizer:
        raise ConfigError(
            "an audit counts tokens, so it needs --tokenizer with the name of the model to train."
        )
    given = renderer
    renderer = renderer or load_renderer_named(config.tokenizer, config.chat_template)
    assert renderer is not None
    trainer = make_trainer(config, renderer)
    with tempfile.TemporaryDirectory() as spool:
        files, jobs = _jobs_of(config, trainer, Path(spool))
        size = sum(file.path.stat().st_size for file in files)
        num_workers = config.processes or (os.cpu_count() or 1)
        if given is not None or (config.processes is None and size < LARGE_BYTES):
            num_workers = 1
        # A process of its own loads the tokenizer again; in one process it is there already.
        known = renderer if num_workers == 1 else None
        tally = Tally(num_worst=config.num_worst)
        with show_progress("auditing") as bar:
            for part in spread(partial(_open_auditor, config, known), jobs, num_workers):
                tally.merge(part)
                bar.update(tally.num_rows)
    tally.finish()
    _refuse_nothing(tally, config)
    return Audit(config, tally, tuple(file.name for file in files), trainer)


def make_trainer(config: AuditConfig, renderer: Renderer) -> Trainer:
    """The model of the trainer that a config names."""
    made: Trainer = TRAINER.make(config.trainer, TrainerContext(Template(renderer)))
    return made


def rows_of_files(files: Sequence[FoundFile]) -> Iterator[SourceRow | Problem]:
    """All rows of files, in order."""
    for file in files:
        with SourceFile(file.path, file.name) as source:
            yield from source.rows()


def found_files(paths: Sequence[str], spool: Path) -> list[FoundFile]:
    """The files that paths stand for.

    Raises:
        DataError: a path holds no file.
    """
    if STDIN in paths:
        spool_stdin(spool)
    found = find_files(paths, spool / "out", spool)
    return [file for path in found for file in path.files]


@contextmanager
def _open_auditor(
    config: AuditConfig, renderer: Renderer | None
) -> Iterator[Callable[[_Job], Tally]]:
    """In a worker: the tokenizer, once, and the function that audits a job."""
    if renderer is None:
        renderer = load_renderer_named(config.tokenizer, config.chat_template)
    assert renderer is not None
    auditor = Auditor(make_trainer(config, renderer), config.num_worst)

    def audit(job: _Job) -> Tally:
        if job.pairs:
            return auditor.audit_pairs(job.pairs, job.first_index)
        rows: Iterable[SourceRow | Problem] = job.rows
        if job.lines:
            lines = io.BufferedReader(io.BytesIO(job.lines))
            rows = rows_of_lines(lines, job.name, job.first_index)
        return auditor.audit_rows(rows, job.file_index)

    yield audit


def _jobs_of(
    config: AuditConfig, trainer: Trainer, spool: Path
) -> tuple[list[FoundFile], Iterator[_Job]]:
    name = config.trainer.name
    if trainer.reads_runs:
        if len(config.paths) != 1 or config.selection is None:
            raise ConfigError(
                f"--as {name} reads one run folder of trajectories with --selection RUN."
            )
        run = Path(config.paths[0])
        selected = read_selected(Path(config.selection), run)
        return [], _jobs_of_runs(islice(selected, config.limit))
    if config.selection is not None:
        raise ConfigError("--selection goes with --as atlas: other trainers read files of rows.")
    files = found_files(config.paths, spool)
    for file in files:
        if file.is_run:
            raise ConfigError(
                f"{file.name} belongs to a run folder, which --as {name} does not read. Export it "
                f"(atlas export --to {name}), or audit the run with --as atlas --selection RUN."
            )
    return files, _jobs_of_files(files, config.limit)


def _jobs_of_runs(pairs: Iterator[tuple[Trajectory, Selection]]) -> Iterator[_Job]:
    index = 0
    while group := tuple(islice(pairs, ROWS_IN_A_JOB)):
        yield _Job(0, "run", index, pairs=group)
        index += len(group)


def _jobs_of_files(files: Sequence[FoundFile], limit: int | None) -> Iterator[_Job]:
    for number, file in enumerate(files):
        with SourceFile(file.path, file.name) as source:
            is_lines = source.container == "plain" and holds_lines(source.file, source.name)
            if is_lines and limit is None:
                for index, lines in line_chunks(source.file, CHUNK_BYTES):
                    yield _Job(number, source.name, index, lines=lines)
                continue
            rows = islice(source.rows(), limit)
            index = 0
            while group := tuple(islice(rows, ROWS_IN_A_JOB)):
                yield _Job(number, source.name, index, rows=group)
                index += len(group)


def _refuse_nothing(tally: Tally, config: AuditConfig) -> None:
    unreadable = tally.found.get("unreadable")
    if not tally.num_rows or (unreadable and unreadable.num_rows == tally.num_rows):
        first = unreadable.examples[0] if unreadable and unreadable.examples else None
        reason = f"; the first: {first.where}: {first.detail.rstrip('.')}" if first else ""
        raise DataError(
            f"{', '.join(config.paths)}: none of {tally.num_rows:,} rows is a training row{reason}"
            ". Give a file of messages, conversations, prompt and completion, text or input_ids."
        )


def settings_of(config: AuditConfig) -> dict[str, Any]:
    """The settings of the trainer, as they were used."""
    settings = config.trainer.settings
    return dict(settings.model_dump(mode="json")) if isinstance(settings, Config) else {}
