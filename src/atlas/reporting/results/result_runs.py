"""Files of results -> the runs of an arm: attempts by benchmark and task.

A run is what one model did. Attempts of a task in one run are repetitions, which are averaged; they
never count as trainings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from atlas.errors import ConfigError, DataError
from atlas.kinds import Choice
from atlas.reporting.results.base import RESULT_FORMAT, RESULT_FORMATS, detect_result_format
from atlas.reporting.results.find_results import MAX_NAMED, FoundResult
from atlas.reporting.results.result_file import ResultFile
from atlas.reporting.results.samples import ResultLog, Sample, safe_text
from atlas.reporting.results.settings import ResultsAre
from atlas.store.manifests import content_digest

REPEATED = (
    "Remove one. If they are repetitions or trainings, give each file or folder separately, and "
    "say which with results_are=repetitions or results_are=trainings."
)


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a file said beside its samples."""

    found: FoundResult
    name: str
    format: str
    log: ResultLog
    digest: str


@dataclass(slots=True)
class Attempts:
    """The attempts at one benchmark in one run, by task, in order; and the logs they are from."""

    logs: list[LogFacts] = field(default_factory=list)
    by_task: dict[str, list[Sample]] = field(default_factory=dict)

    def count_repetitions(self) -> int:
        """The attempts at the task that has most of them; it looks at every task."""
        return max(map(len, self.by_task.values()), default=0)


@dataclass(slots=True)
class ResultRun:
    """What one model did, by benchmark. `seed` is what a table calls one."""

    found: FoundResult
    seed: str | None
    benchmarks: dict[str, Attempts] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages."""
        where = self.found.name_of(self.found.path)
        return where if self.seed is None else f"{where}, seed {self.seed}"

    def shares_tasks(self, other: ResultRun) -> bool:
        return any(
            not attempts.by_task.keys().isdisjoint(other.benchmarks[name].by_task)
            for name, attempts in self.benchmarks.items()
            if name in other.benchmarks
        )


def read_runs(
    arm: str, found: Sequence[FoundResult], given_format: Choice | None
) -> list[ResultRun]:
    """The runs in the results of an arm: one for each result, or for each seed of a table.

    Raises:
        DataError: a file cannot be read, holds no result, or a task twice.
    """
    runs = []
    for one in found:
        runs += _runs_of(arm, one, given_format)
    _refuse_copies(arm, runs)
    return runs


def join_runs(
    arm: str, runs: Sequence[ResultRun], results_are: ResultsAre | None
) -> list[ResultRun]:
    """The runs of an arm as its different trainings; other runs are parts or repetitions of one.

    Raises:
        ConfigError: several runs have the same tasks, and the settings do not say what they are.
        DataError: repetitions that are said to be of one model are of several.
    """
    if len(runs) < 2 or results_are == "trainings":
        return list(runs)
    first = runs[0]
    shared = next(
        (
            (one, two)
            for index, one in enumerate(runs)
            for two in runs[:index]
            if one.shares_tasks(two)
        ),
        None,
    )
    if shared is not None and results_are is None:
        raise ConfigError(
            f"arm '{arm}' has several results of the same tasks, such as {shared[1].name} and "
            f"{shared[0].name}. Say what they are: results_are=repetitions, if one model was "
            "evaluated several times, or results_are=trainings, if each is of another training."
        )
    whole = ResultRun(first.found, None)
    for run in runs:
        for benchmark, attempts in run.benchmarks.items():
            joined = whole.benchmarks.setdefault(benchmark, Attempts())
            joined.logs += attempts.logs
            for task, samples in attempts.by_task.items():
                joined.by_task.setdefault(task, []).extend(samples)
    for benchmark, attempts in whole.benchmarks.items():
        _refuse_several_models(arm, benchmark, attempts.logs)
    return [whole]


def _runs_of(arm: str, found: FoundResult, given_format: Choice | None) -> list[ResultRun]:
    runs: dict[str | None, ResultRun] = {}
    read = _ReadTasks()
    logs: dict[str, LogFacts] = {}
    for path in found.files:
        file = ResultFile(path, found.name_of(path), arm)
        try:
            if (named := _format_of(file, found, given_format)) is None:
                continue
            log = RESULT_FORMAT.make(named).read(file)
            facts = LogFacts(found, file.name, named.name, log, content_digest(path))
            if (earlier := logs.setdefault(facts.digest, facts)) is not facts:
                raise DataError(f"{earlier.name} and {file.name} are the same file. Remove one.")
            _add(runs, read, found, facts)
        except OSError as error:
            raise DataError(f"{file.name} cannot be read ({error.strerror}).") from None
    if not logs:
        shown = ", ".join(map(found.name_of, found.files[:MAX_NAMED]))
        raise DataError(
            f"none of the {len(found.files)} files in {found.name_of(found.path)} is a result that "
            f"is known ({shown}{', …' if len(found.files) > MAX_NAMED else ''}). Known: "
            f"{', '.join(RESULT_FORMATS)}."
        )
    if not runs:
        raise DataError(f"{found.name_of(found.path)} holds no samples.")
    for attempts in (one for run in runs.values() for one in run.benchmarks.values()):
        # What a log without samples warns of, such as the result of a job of Harbor.
        attempts.logs += [
            facts for facts in logs.values() if facts.log.cautions and facts.name not in read.names
        ]
    return list(runs.values())


@dataclass(slots=True)
class _ReadTasks:
    """What was read of a result: the files with samples, the log and file of each task."""

    names: set[str] = field(default_factory=set)
    logs: dict[tuple[str | None, str, str], tuple[str, str]] = field(default_factory=dict)
    attempts: dict[tuple[str | None, str, str, int], str] = field(default_factory=dict)


def _add(
    runs: dict[str | None, ResultRun], read: _ReadTasks, found: FoundResult, facts: LogFacts
) -> None:
    """Add the samples of a log to the run of their seed.

    One task in two logs, or one attempt in two files of a log, would be a result given twice.
    """
    log_id = facts.log.id or facts.name
    for sample in facts.log.samples:
        key = (sample.seed, sample.benchmark, sample.task)
        run = runs.setdefault(sample.seed, ResultRun(found, sample.seed))
        attempts = run.benchmarks.setdefault(sample.benchmark, Attempts())
        if not attempts.logs or attempts.logs[-1] is not facts:
            attempts.logs.append(facts)
        read.names.add(facts.name)
        owner, earlier = read.logs.setdefault(key, (log_id, facts.name))
        attempt = None if sample.repetition is None else (*key, sample.repetition)
        if attempt is not None and attempt in read.attempts:
            earlier = read.attempts[attempt]
            if earlier == facts.name:
                seed = "" if sample.seed is None else f", seed {sample.seed}"
                raise DataError(
                    f"{facts.name} has task '{sample.task:.80}'{seed}, repetition "
                    f"{sample.repetition} twice, expected once. Remove one, or number the "
                    "repetitions."
                )
            owner = earlier
        if owner not in (log_id, facts.name):
            raise DataError(
                f"task '{sample.task:.80}' of {sample.benchmark:.80} is in {earlier} and in "
                f"{facts.name}. {REPEATED}"
            )
        if attempt is not None:
            read.attempts[attempt] = facts.name
        samples = attempts.by_task.setdefault(sample.task, [])
        if samples and samples[0].content != sample.content:
            raise DataError(
                f"{facts.name}: two different tasks are called '{sample.task:.80}'. Give them "
                "different names."
            )
        samples.append(sample)


def _format_of(file: ResultFile, found: FoundResult, given: Choice | None) -> Choice | None:
    """The format of a file; None for a file of a folder that is not a result."""
    if given is not None:
        return given
    name = detect_result_format(file)
    if name is not None:
        return Choice(name)
    if found.is_folder:
        if file.path.suffix == ".eval":
            raise DataError(f"{file.name} is not a log of Inspect. Remove it, or get it again.")
        return None
    keys = sorted(map(str, file.columns or file.members or file.first))[:MAX_NAMED]
    raise DataError(
        f"{file.name} is not a result that is known: it is a file of the kind '{file.shape}'"
        f"{' with ' + ', '.join(key[:40] for key in keys) if keys else ''}. Known: "
        f"{', '.join(RESULT_FORMATS)}. Name your own with --format package.module:Class "
        "(docs/extending.md)."
    )


def _refuse_copies(arm: str, runs: Iterable[ResultRun]) -> None:
    """Raise DataError if one log was given twice, perhaps as a copy or in another form."""
    known: dict[str, tuple[str, str | None]] = {}
    for run in runs:
        for identity in identities_of_run(run):
            if identity in known and known[identity][0] != run.name:
                raise DataError(
                    f"arm '{arm}': {known[identity][0]} and {run.name} are the same log, so they "
                    "are not two results. Leave one out."
                )
            known.setdefault(identity, (run.name, run.seed))


def identities_of_run(run: ResultRun) -> frozenset[str]:
    """What the logs of a run are known by; a file of several seeds or arms has one for each."""
    found: set[str] = set()
    for facts in _logs_of(run):
        seed = "" if run.seed is None else f" seed {run.seed}"
        found.add(f"log {facts.log.id or facts.name}{seed}")
    for benchmark, attempts in run.benchmarks.items():
        # A file may hold several arms, and several seeds.
        digests = sorted(
            f"{facts.digest} {facts.log.part} {run.seed}".rstrip() for facts in attempts.logs
        )
        found.add(f"content of {benchmark}: {' '.join(digests)}")
    return frozenset(found)


def _logs_of(run: ResultRun) -> Iterator[LogFacts]:
    return (facts for attempts in run.benchmarks.values() for facts in attempts.logs)


def _refuse_several_models(arm: str, benchmark: str, logs: Sequence[LogFacts]) -> None:
    models = {facts.log.model: facts.name for facts in logs if facts.log.model is not None}
    if len(models) > 1:
        (one, where), (other, there), *_ = models.items()
        raise DataError(
            f"arm '{arm}': its results on {benchmark:.80} are of two models, {one:.80} ({where}) "
            f"and {other:.80} ({there}), so they are not repetitions. Give each model an arm."
        )


def settings_of(logs: Iterable[LogFacts]) -> dict[str, Any]:
    """The settings of the evaluation; where logs of one run differ, all values."""
    found: dict[str, list[Any]] = {}
    for facts in logs:
        for name, value in facts.log.settings.items():
            known = found.setdefault(safe_text(str(name)), [])
            if value not in known:
                known.append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
