"""Import: `files -> trajectories`. Rows become trajectories; what cannot is a problem with its place and reason.

OUT/trajectories.jsonl   in the order of the files and their rows
OUT/problems.jsonl       rows left out, exact duplicates among them
OUT/notes.jsonl          rows kept, with something odd about a step
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from atlas.config import Config
from atlas.errors import DataError
from atlas.records import Problem, Trajectory
from atlas.store import Input, Manifest, Run, file_digest, read_records, relative_path, start_run, write_records
from atlas.trajectories.checks import odd_steps
from atlas.trajectories.formats.base import detect_format, make_format


class ImportConfig(Config):
    """What to read, and how."""

    machine_fields: ClassVar[frozenset[str]] = frozenset({"paths"})  # the inputs' digests say what was read, wherever it lies

    paths: tuple[str, ...] = Field(min_length=1, description="files to read, in this order")
    format: str | None = Field(None, description="a row of FORMATS or package.module:Format; None tells from the content")
    strict: bool = Field(False, description="stop at the first row that is no trajectory, instead of recording it")


def import_trajectories(config: ImportConfig, out: Path) -> Manifest:
    """Read every file of `config.paths` into the run folder `out`.

    Raises:
        DataError: a file is missing, nothing in the files is a trajectory, or (strict) the first row that is none.
        ConfigError: the format is unknown or ambiguous.
        RunError: `out` belongs to another run.
    """
    paths = [Path(path) for path in config.paths]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{path} {'is a folder' if path.is_dir() else 'does not exist'}, expected a file of trajectories. Check the path."
            )
    sources = [(path, config.format or _detected(path)) for path in paths]
    _refuse_hopeless(sources, config.strict)
    inputs = {f"file {index}": Input(path=relative_path(path, out), digest=file_digest(path)) for index, path in enumerate(paths)}
    with start_run(out, "import", config, inputs) as run:
        return run.manifest if run.finished else _write(run, sources)


SourceFile = tuple[Path, str | Problem]  # a file and its format, or why it has none


def _detected(path: Path) -> str | Problem:
    try:
        return detect_format(path)
    except DataError as error:
        return Problem(where=path.name, reason=str(error).removeprefix(path.name).lstrip(": "))


def _refuse_hopeless(sources: Sequence[SourceFile], strict: bool) -> None:
    """Find out before a run folder is made that nothing can be read or, when strict, that not everything can."""
    problem: Problem | None = None
    for item in _read(sources):
        if isinstance(item, Trajectory):
            if not strict:
                return
        elif strict:
            raise DataError(f"{item.where}: {item.reason}. Mend the row, or import without strict: it is then left out and recorded.")
        else:
            problem = problem or item
    if problem:
        raise DataError(f"no row is a trajectory. The first: {problem.where}: {problem.reason}")


def _read(sources: Sequence[SourceFile]) -> Iterator[Trajectory | Problem]:
    """All rows of all files in order; the same row again, in whichever file, is a problem."""
    places: dict[str, str] = {}
    for path, name in sources:
        if isinstance(name, Problem):
            yield name
            continue
        for item in make_format(name).read(path):
            if isinstance(item, Problem):
                yield item
                continue
            place = f"{path.name} row {item.source.row}"
            if (earlier := places.setdefault(item.id, place)) != place:
                yield Problem(where=place, reason=f"the same as {earlier}, word for word", item=item.id)
            else:
                yield item


def _write(run: Run, sources: Sequence[SourceFile]) -> Manifest:
    log = run.log("trajectories", Trajectory, key=lambda trajectory: trajectory.id)
    done = log.done
    order: list[str] = []
    problems: list[Problem] = []
    notes: list[Problem] = []
    columns = (SpinnerColumn(), TextColumn("import"), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("import", total=None)
        for item in _read(sources):
            progress.advance(bar)
            if isinstance(item, Problem):
                problems.append(item)
                continue
            order.append(item.id)
            place = f"{item.source.path} row {item.source.row}"
            notes += [Problem(where=f"{place}, step {index}", reason=remark, item=item.id) for index, remark in odd_steps(item)]
            if not log.sealed and item.id not in done:
                log.append(item)
    log.seal(order)
    run.write_problems(problems)
    write_records(run.path / "notes.jsonl", notes)
    return run.finish(_summary(read_records(log.path, Trajectory), len(sources), problems, notes))


def _summary(trajectories: Iterable[Trajectory], num_files: int, problems: Sequence[Problem], notes: Sequence[Problem]) -> dict[str, Any]:
    num_steps = 0
    environments: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for trajectory in trajectories:
        num_steps += len(trajectory.steps)
        environments[trajectory.task.environment] += 1
        statuses[trajectory.outcome.status] += 1
    return {
        "files": num_files,
        "trajectories": environments.total(),
        "steps": num_steps,
        "environments": dict(sorted(environments.items())),
        "outcomes": dict(sorted(statuses.items())),
        "problems": len(problems),
        "duplicates": sum(problem.reason.startswith("the same as ") for problem in problems),
        "notes": dict(sorted(Counter(note.reason for note in notes).items())),
    }
