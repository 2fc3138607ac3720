"""Select: `trajectories -> selections`. Which steps of each trajectory are critical, under a budget.

    OUT/selections.jsonl   one a trajectory, in the order of the trajectories
    OUT/problems.jsonl     trajectories left without a critical step, and why

Results are safe on disk as they come, so that an interrupted run asks a model for the missing ones alone.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from atlas.errors import DataError, EndpointError
from atlas.records import Problem, Selection, Trajectory, Usage
from atlas.runs import SELECTION_FILE, TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.selection.budget import step_budget
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import HasClose, HasInputs, Selector, make_selector
from atlas.store import Manifest, RecordLog, Run, read_records, run_input, start_run

__all__ = ["SelectConfig", "select_steps"]


def select_steps(config: SelectConfig, trajectories: Path, out: Path) -> Manifest:
    """Select the critical steps of every trajectory in the run folder `trajectories`, into the run folder `out`.

    Raises:
        ConfigError: the selector is unknown, or a setting that it needs is missing.
        RunError: `trajectories` or `config.of` is no finished run of the right kind, or `out` belongs to another run.
        EndpointError: some trajectories got no answer; the same call again asks for those alone.
        ModelError: the model cannot be used.
        DataError: nothing at all could be selected.
    """
    inputs = {"trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES))}
    other: Mapping[str, Selection] = {}
    if config.of is not None:
        inputs["of"] = run_input(Path(config.of), out, ("select",))
        other = read_selections(Path(config.of), trajectories)
    selector = make_selector(config, other)
    if isinstance(selector, HasInputs):
        inputs |= selector.inputs()
    with start_run(out, "select", config, inputs) as run:
        return run.manifest if run.finished else _write(run, selector, config, trajectories)


def _write(run: Run, selector: Selector, config: SelectConfig, trajectories: Path) -> Manifest:
    order = _ids(trajectories)
    log = run.log(SELECTION_FILE.removesuffix(".jsonl"), Selection, key=lambda selection: selection.trajectory_id)
    if not log.sealed:
        try:
            _run(_select_missing(selector, config, trajectories, log, len(order)))
            log.seal(order)
        finally:
            log.close()
    problems: list[Problem] = []
    summary = _summary(read_records(log.path, Selection), config, problems)
    if summary["steps"] and not summary["selected_steps"]:
        reason = problems[0].reason if problems else "the budget is 0 everywhere, or every selection is empty"
        raise DataError(
            f"selector '{config.selector}' selected no step of {len(order)} trajectories: {reason}. Use other settings and another --out."
        )
    run.write_problems(problems)
    return run.finish(summary)


def _ids(trajectories: Path) -> list[str]:
    order = [trajectory.id for trajectory in read_trajectories(trajectories)]
    if twice := [id_ for id_, count in Counter(order).items() if count > 1]:
        raise DataError(f"{trajectories} has {len(twice)} trajectory ids more than once, '{twice[0]}' for one; selections go by id.")
    return order


async def _select_missing(
    selector: Selector, config: SelectConfig, trajectories: Path, log: RecordLog[Selection], num_trajectories: int
) -> None:
    """Each trajectory that has no selection yet, at most `max_in_flight` at a time, kept as it comes."""
    done = log.done
    missing = (trajectory for trajectory in read_trajectories(trajectories) if trajectory.id not in done)
    columns = (TextColumn("select"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("select", total=num_trajectories, completed=len(done))
        try:
            unanswered = await _work(selector, config, missing, log, lambda: progress.advance(bar))
        finally:
            if isinstance(selector, HasClose):
                await selector.close()
    if unanswered:
        raise EndpointError(
            f"{len(unanswered)} of {num_trajectories} trajectories got no answer. The first: {unanswered[0]} "
            "The others are safe: run the same command again, it asks for the missing ones alone."
        )


async def _work(
    selector: Selector, config: SelectConfig, missing: Iterator[Trajectory], log: RecordLog[Selection], advance: Callable[[], None]
) -> list[str]:
    """What went wrong for trajectories without an answer. Gives up when nothing comes back any more."""
    unanswered: list[str] = []
    in_a_row = 0

    async def work() -> None:
        nonlocal in_a_row
        for trajectory in missing:  # shared: each worker takes the next one
            budget = step_budget(len(trajectory.steps), config.ratio, config.rounding, config.min_steps)
            try:
                result = selector.select(trajectory, budget)
                selection = await result if inspect.isawaitable(result) else result
            except EndpointError as error:
                unanswered.append(str(error))
                in_a_row += 1
                if in_a_row >= max(5, 2 * config.max_in_flight):
                    raise EndpointError(
                        f"{in_a_row} requests in a row got no answer. The last: {error} Run the same command again later."
                    ) from None
                continue
            in_a_row = 0
            log.append(selection)
            advance()

    workers = [asyncio.create_task(work()) for _ in range(config.max_in_flight)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return unanswered


def _run(work: Coroutine[Any, Any, None]) -> None:
    """To its end, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
    else:
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(asyncio.run, work).result()


def _summary(selections: Iterable[Selection], config: SelectConfig, problems: list[Problem]) -> dict[str, Any]:
    """Counts over all selections; the problems among them are added to `problems`."""
    num_trajectories = num_steps = num_selected = num_own_budgets = 0
    kinds: Counter[str] = Counter()
    usage = Usage()
    for selection in selections:
        num_trajectories += 1
        num_steps += selection.num_steps
        num_selected += len(selection.critical_steps)
        num_own_budgets += selection.budget != step_budget(selection.num_steps, config.ratio, config.rounding, config.min_steps)
        kinds.update(kind for step in selection.critical_steps for kind in step.kinds)
        usage += selection.usage
        if selection.problem is not None:
            problems.append(Problem(where=f"trajectory {selection.trajectory_id}", reason=selection.problem, item=selection.trajectory_id))
    return {
        "trajectories": num_trajectories,
        "steps": num_steps,
        "selected_steps": num_selected,
        "share": round(num_selected / num_steps, 4) if num_steps else 0.0,
        "kinds": dict(sorted(kinds.items())),
        "problems": len(problems),
        "usage": usage.model_dump(),
        "budget": f"ratio {config.ratio}, {config.rounding}, at least {config.min_steps}"
        if not num_own_budgets
        else f"selector '{config.selector}' sets its own; the ratio of {config.ratio} was not used",
    }
