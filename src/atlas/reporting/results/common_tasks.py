"""Runs of several arms -> the tasks on which they are compared.

Comparisons are paired, so that all runs need the same tasks, and in each run every task needs all
its repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlas.errors import RunError
from atlas.reporting.results.result_runs import ResultRun
from atlas.reporting.results.settings import Tasks

# How many tasks and benchmarks a message names.
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class ComparedTasks:
    """The tasks of one benchmark that are compared, and how many are left out of each run."""

    tasks: tuple[str, ...]
    num_left_out: int


def find_common_tasks(
    runs_of: Mapping[str, Sequence[ResultRun]], tasks: Tasks
) -> dict[str, ComparedTasks]:
    """The compared tasks of each benchmark, in the order of the first run.

    Args:
        runs_of: the runs of each arm.

    Raises:
        RunError: runs have different tasks and `tasks` is "same", or none in common.
    """
    named = [
        (_where(arm, number, len(runs), run), run)
        for arm, runs in runs_of.items()
        for number, run in enumerate(runs, start=1)
    ]
    benchmarks = _common_benchmarks(named, tasks)
    found = {}
    for benchmark in benchmarks:
        every = {where: _whole_tasks(run, benchmark) for where, run in named}
        first = next(iter(every.values()))
        common = [
            task
            for task, content in first.items()
            if all(other.get(task, _NOWHERE) == content for other in every.values())
        ]
        known = dict.fromkeys(
            task for _, run in named for task in run.benchmarks[benchmark].by_task
        )
        if tasks == "same" and len(common) < len(known):
            raise RunError(_difference(benchmark, named, every, common))
        if not common:
            raise RunError(
                f"'{benchmark:.80}': no task is in the results of all arms, so nothing can be "
                f"compared. {_examples(every)}"
            )
        found[benchmark] = ComparedTasks(tuple(common), len(known) - len(common))
    return found


# A content that no task has.
_NOWHERE = "nowhere"


def _where(arm: str, number: int, num_runs: int, run: ResultRun) -> str:
    return f"arm '{arm}'" + (f", result {number} ({run.name})" if num_runs > 1 else "")


def _whole_tasks(run: ResultRun, benchmark: str) -> dict[str, str | None]:
    """The tasks with all repetitions, each with its content."""
    attempts = run.benchmarks[benchmark]
    num_repetitions = attempts.count_repetitions()
    return {
        task: samples[0].content
        for task, samples in attempts.by_task.items()
        if len(samples) == num_repetitions
    }


def _common_benchmarks(named: Sequence[tuple[str, ResultRun]], tasks: Tasks) -> list[str]:
    first = named[0][1].benchmarks
    common = [name for name in first if all(name in run.benchmarks for _, run in named)]
    known = dict.fromkeys(name for _, run in named for name in run.benchmarks)
    if common and (tasks == "common" or len(common) == len(known)):
        return common
    lines = [
        f"{where}: {', '.join(name[:80] for name in [*run.benchmarks][:MAX_NAMED])}"
        f"{', …' if len(run.benchmarks) > MAX_NAMED else ''}"
        for where, run in named
    ]
    advice = "Give results of the same benchmarks"
    advice += ", or compare on the common ones with tasks=common." if common else "."
    raise RunError(f"the results are of different benchmarks. {advice}\n" + "\n".join(lines))


def _difference(
    benchmark: str,
    named: Sequence[tuple[str, ResultRun]],
    every: Mapping[str, Mapping[str, str | None]],
    common: Sequence[str],
) -> str:
    """What each run lacks, has with other content, or did not repeat as often."""
    known: dict[str, str | None] = {}
    for _, run in named:
        for task, samples in run.benchmarks[benchmark].by_task.items():
            known.setdefault(task, samples[0].content)
    lines = []
    for where, run in named:
        by_task = run.benchmarks[benchmark].by_task
        faults = {
            "are missing": [task for task in known if task not in by_task],
            "have another content": [
                task for task, samples in by_task.items() if samples[0].content != known[task]
            ],
            "have fewer repetitions than the others": [
                task for task in by_task if task not in every[where]
            ],
        }
        lines += [
            f"{where}: {len(tasks):,} {what}: {_named(tasks)}"
            for what, tasks in faults.items()
            if tasks
        ]
    return (
        f"'{benchmark:.80}': {len(known) - len(common):,} of {len(known):,} tasks are not the same "
        "in all results, so they cannot be compared task by task. Give results of the same tasks, "
        f"or compare on the {len(common):,} common ones with tasks=common.\n" + "\n".join(lines)
    )


def _examples(every: Mapping[str, Mapping[str, str | None]]) -> str:
    return " ".join(f"{where} has {_named([*tasks])}." for where, tasks in every.items())


def _named(tasks: Sequence[str]) -> str:
    shown = ", ".join(f"'{task:.60}'" for task in tasks[:MAX_NAMED])
    return f"{shown}, …" if len(tasks) > MAX_NAMED else shown or "none"
