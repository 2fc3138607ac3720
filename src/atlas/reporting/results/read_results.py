"""Results made elsewhere -> arms, as if they had been read from run folders.

What a log does not say is unknown, never 0: steps, tokens, and whether two logs are of different
trainings. The latter only the user knows (`results_are`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from atlas.errors import DataError
from atlas.reporting.arms import Arm, Evaluation, Repetition, RunFolder, SeedRun
from atlas.reporting.config import ReportConfig
from atlas.reporting.results.common_tasks import ComparedTasks, find_common_tasks
from atlas.reporting.results.find_results import find_results
from atlas.reporting.results.outcomes import CountedScore, choose_scores
from atlas.reporting.results.result_runs import (
    Attempts,
    ResultRun,
    identities_of_run,
    join_runs,
    read_runs,
    settings_of,
)
from atlas.reporting.results.samples import safe_text
from atlas.reporting.results.settings import ALL_BENCHMARKS
from atlas.store.manifests import Input, Manifest

# The command in the manifest of a result that no command of atlas made.
RESULTS = "results"


def read_result_arms(config: ReportConfig) -> tuple[Arm, ...]:
    """Read the results of every arm, with the same tasks in the same order.

    Raises:
        DataError: a file cannot be read, or holds a result twice.
        RunError: arms have different tasks.
        ConfigError: it is not clear which score counts, or what several results are.
    """
    runs_of = {}
    for arm in config.arms:
        found = [one for given in arm.results for one in find_results(given)]
        runs = read_runs(arm.name, found, config.format)
        runs_of[arm.name] = join_runs(arm.name, runs, config.results_are)
    _refuse_shared_logs(runs_of)
    every = [run for runs in runs_of.values() for run in runs]
    compared = find_common_tasks(runs_of, config.tasks)
    scores = choose_scores(every, config)
    ring = ALL_BENCHMARKS if config.together and len(compared) > 1 else None
    return tuple(
        Arm(
            arm,
            tuple(
                _seed_run(arm.name, number, run, compared, scores, ring)
                for number, run in enumerate(runs_of[arm.name], start=1)
            ),
        )
        for arm in config.arms
    )


def _refuse_shared_logs(runs_of: Mapping[str, Sequence[ResultRun]]) -> None:
    """Raise DataError if two arms have a log in common: they would differ by nothing."""
    owners: dict[str, tuple[str, str]] = {}
    for arm, runs in runs_of.items():
        for run in runs:
            for identity in identities_of_run(run):
                other, name = owners.setdefault(identity, (arm, run.name))
                if other != arm:
                    raise DataError(
                        f"the arms '{other}' and '{arm}' have the same log: {name} and {run.name}. "
                        "Give each arm its own results."
                    )


def _seed_run(
    arm: str,
    number: int,
    run: ResultRun,
    compared: Mapping[str, ComparedTasks],
    scores: Mapping[str, CountedScore],
    ring: str | None,
) -> SeedRun:
    evaluations = {
        benchmark: Evaluation(
            tuple(
                _repetitions(
                    f"{arm}/{number}/{RESULTS}/{benchmark}",
                    run.benchmarks[benchmark],
                    tasks,
                    scores[benchmark],
                )
            ),
            ring,
            None if ring is None else benchmark,
        )
        for benchmark, tasks in compared.items()
    }
    return SeedRun(None, evaluations, identities_of_run(run))


def _repetitions(
    name: str, attempts: Attempts, compared: ComparedTasks, score: CountedScore
) -> Iterator[Repetition]:
    folder = _folder(name, attempts, compared, score)
    for index in range(attempts.count_repetitions()):
        yield Repetition(
            folder,
            {task: score.facts(attempts.by_task[task][index]) for task in compared.tasks},
        )


def _folder(
    name: str, attempts: Attempts, compared: ComparedTasks, score: CountedScore
) -> RunFolder:
    """What the report says of where a benchmark's results are from."""
    logs = attempts.logs
    found = {facts.found.path: facts.found for facts in logs}
    models = _distinct(facts.log.model for facts in logs)
    cautions = _distinct(
        safe_text(f"{facts.name}: {caution}") for facts in logs for caution in facts.log.cautions
    )
    versions = {
        safe_text(package): safe_text(version)
        for facts in logs
        for package, version in facts.log.versions.items()
    }
    manifest = Manifest(
        command=f"{RESULTS} ({', '.join(_distinct(facts.format for facts in logs))})",
        status="finished",
        config={},
        result_settings=settings_of(logs),
        inputs={"model": Input(path=", ".join(models))} if models else {},
        outputs={one.name_of(path): one.digest for path, one in found.items()},
        versions=versions,
        summary={
            "cautions": cautions,
            "success": score.description,
            "left_out_tasks": compared.num_left_out,
        },
    )
    return RunFolder(name, next(iter(found)), manifest, episodes_file=None)


def _distinct(values: Iterable[str | None]) -> list[str]:
    return [*dict.fromkeys(value for value in values if value is not None)]
