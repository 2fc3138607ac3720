"""Select: `trajectories -> selections`. Finds the critical steps under a budget.

    OUT/selections.jsonl   one line per trajectory, in the order of the trajectories
    OUT/scores.jsonl       for selectors that score: the score of each step, selected or not
    OUT/problems.jsonl     trajectories left without a critical step, and why
    OUT/spent.jsonl        for selectors that ask a model: the total that the run paid
    OUT/small/             for selectors that ask a cheaper model first: the run of that model
    OUT/layers.jsonl       for the same selectors: who decided about each trajectory

Each trajectory is read once. Each result is written to disk at once, so a resumed run asks a model
only for the missing ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any

from atlas.config import StrPath
from atlas.errors import ConfigError, DataError
from atlas.records import Problem, Selection, Trajectory
from atlas.selection.answer_all import AnswerJob, answer_all
from atlas.selection.answer_each import AnswerT
from atlas.selection.config import SelectConfig, make_selector
from atlas.selection.cost_meter import CostMeter
from atlas.selection.costs import price_of
from atlas.selection.layers import (
    LAYERS_FILE,
    Layers,
    Settled,
    paid_above,
    paid_below,
    settle,
    summarize_layers,
)
from atlas.selection.prepare_selection import PreparedSelection, prepare_selection
from atlas.selection.scores import SCORES_FILE, StepScores, score_steps, select_by_scores
from atlas.selection.selectors.base import (
    HasChecks,
    HasClose,
    HasDay,
    HasEstimate,
    KeepsRecords,
    Scorer,
    Selector,
)
from atlas.selection.summary import describe_choice, summarize_selections
from atlas.selection.trajectory_counts import count_trajectories
from atlas.store.readers import SELECTION_FILE, describe_limit
from atlas.store.record_files import read_records, write_records
from atlas.store.run_folders import Manifest, Run, start_run

__all__ = ["SelectConfig", "select_steps"]


def select_steps(config: SelectConfig, trajectories: StrPath, out: StrPath) -> Manifest:
    """Select the critical steps of every trajectory in the run `trajectories`; write the run `out`.

    Raises:
        ConfigError: a setting is invalid, or scope "dataset" is used with a selector without
            scores.
        RunError: an input is not a finished run of the right kind, or `out` is another run.
        EndpointError: some trajectories got no answer; the same call asks only about those.
        CostLimitError: the next question might exceed the cost limit; a higher limit continues.
        ModelError: the model cannot be used.
        DataError: nothing could be selected, or two trajectories have the same id.
    """
    trajectories, out = map(Path, (trajectories, out))
    return _select(prepare_selection(config, trajectories, out))


def _select(prepared: PreparedSelection, paid_elsewhere_usd: float = 0.0) -> Manifest:
    config, trajectories = prepared.config, prepared.trajectories
    selector, kept = prepared.selector, prepared.kept
    # A cost limit without a known price is reported now.
    price = price_of(selector.config) if isinstance(selector, HasEstimate) else None
    with start_run(prepared.out, "select", config, prepared.inputs) as run:
        if run.finished:
            return run.manifest
        if isinstance(selector, HasDay):
            selector.pin_day(run.manifest.day)
        if not isinstance(selector, HasEstimate):
            return _write(run, selector, config, trajectories, kept, None)
        layers, below = prepared.layers, None
        if layers is not None:
            below = _select_below(layers, prepared)
            kept = {**kept, **below.settled.selections}
        paid_usd = paid_elsewhere_usd + paid_below(layers)
        with closing(CostMeter(run, price, config, selector, paid_usd)) as meter:
            return _write(run, selector, config, trajectories, kept, meter, below)


@dataclass(frozen=True, slots=True)
class _Below:
    """What the layers below the strong model decided, and the summary of the cheaper model."""

    layers: Layers
    settled: Settled
    summary: Mapping[str, Any]


def _select_below(layers: Layers, prepared: PreparedSelection) -> _Below:
    """Ask the cheaper model, in a run inside this one."""
    manifest = _select(prepared.of_cheaper_model(layers), paid_above(layers))
    settled = settle(layers, prepared.trajectories, prepared.kept)
    return _Below(layers, settled, manifest.summary)


def _write(
    run: Run,
    selector: Selector | Scorer,
    config: SelectConfig,
    trajectories: Path,
    kept: Mapping[str, Selection],
    meter: CostMeter | None,
    below: _Below | None = None,
) -> Manifest:
    selections = run.path / SELECTION_FILE
    how = (config.accept_unanswered, config.limit)
    if isinstance(selector, Selector) and config.scope == "trajectory":
        selecting = _with_workers(selection_job(selector, config), run, config, trajectories)
        outlines = answer_all(run, selecting, trajectories, kept, meter, *how)
    else:
        assert isinstance(selector, Scorer)
        ask = partial(score_steps, selector)
        scoring = AnswerJob(selector, SCORES_FILE, StepScores, ask, _without_scores)
        scoring = _with_workers(scoring, run, config, trajectories)
        if isinstance(selector, KeepsRecords):
            selector.keep_records(run)
        outlines = answer_all(run, scoring, trajectories, {}, meter, *how)
        if isinstance(selector, KeepsRecords):
            selector.seal_records(run, outlines)
        write_records(selections, select_by_scores(run.path / SCORES_FILE, config))
    if meter is not None:
        meter.seal()
    problems: list[Problem] = []
    if isinstance(selector, HasChecks):
        read = read_records(selections, Selection)
        problems += selector.check({one.trajectory_id: one.num_steps for one in read})
    found = read_records(selections, Selection)
    summary = summarize_selections(found, config, outlines, problems, meter)
    if summary["steps"] and not summary["selected_steps"]:
        sentence = describe_choice(selector, config.selector)["sentence"]
        reason = f"the budget is 0 everywhere, or no step is among {sentence}"
        reason = problems[0].reason if problems else reason
        raise DataError(
            f"selector '{config.selector.name}' selected no step of {summary['trajectories']} "
            f"trajectories: {reason.rstrip('.')}. Use other settings and another --out."
        )
    run.write_problems(problems)
    if below is not None and meter is not None:
        layers, settled = below.layers, below.settled
        write_records(run.path / LAYERS_FILE, settled.decisions())
        summary |= summarize_layers(layers, settled, meter.paid, below.summary, summary)
    summary |= _limits(config, trajectories)
    return run.finish(summary | {"chosen_by": describe_choice(selector, config.selector)})


def _with_workers(
    job: AnswerJob[AnswerT], run: Run, config: SelectConfig, trajectories: Path
) -> AnswerJob[AnswerT]:
    """The same job for several processes, each of which makes the selector itself."""
    settings = job.selector.config if isinstance(job.selector, HasEstimate) else None
    if config.workers != 1 and getattr(settings, "batch", None):
        raise ConfigError("a batch is sent from one process. Leave workers out, or batch.")
    if config.workers != 1 and isinstance(job.selector, KeepsRecords):
        raise ConfigError(
            f"selector '{config.selector.name}' keeps its records from one process, so workers="
            f"{config.workers} cannot be used. Leave workers out; a server may run several copies "
            "of the model."
        )
    return replace(
        job,
        open_asker=partial(open_asker, config, trajectories, run.manifest.day, job.record),
        workers=config.chosen_workers,
    )


@asynccontextmanager
async def open_asker(
    config: SelectConfig, trajectories: Path, day: date | None, record: type[Any]
) -> AsyncIterator[Callable[[Trajectory], Any]]:
    """Make the selector in a worker: a coroutine that gives the answer to a trajectory."""
    selector = make_selector(config, trajectories)
    if isinstance(selector, HasDay):
        selector.pin_day(day)
    ask: Callable[[Trajectory], Any]
    if record is Selection:
        assert isinstance(selector, Selector)
        ask = selection_job(selector, config).ask
    else:
        assert isinstance(selector, Scorer)
        ask = partial(score_steps, selector)

    async def answer(trajectory: Trajectory) -> Any:
        result = ask(trajectory)
        return await result if isawaitable(result) else result

    try:
        yield answer
    finally:
        if isinstance(selector, HasClose):
            await selector.close()


def _limits(config: SelectConfig, trajectories: Path) -> dict[str, str]:
    """What the summary says about limits of this run and of its input."""
    limits = {}
    if config.limit is not None:
        limits["limit"] = f"the first {config.limit:,} of {count_trajectories(trajectories):,}"
    if (limited := describe_limit(trajectories)) is not None:
        limits["input"] = limited
    return limits


def selection_job(selector: Selector, config: SelectConfig) -> AnswerJob[Selection]:
    """What a selector is asked about each trajectory, and how the answer is checked."""

    def fail(trajectory_id: str, num_steps: int, reason: str) -> Selection:
        return Selection(
            trajectory_id=trajectory_id,
            selector=config.selector.name,
            num_steps=num_steps,
            budget=config.budget(num_steps),
            problem=reason,
        )

    async def ask(trajectory: Trajectory) -> Selection:
        num_steps = len(trajectory.steps)
        result = selector.select(trajectory, config.budget(num_steps))
        found = await result if isawaitable(result) else result
        if not isinstance(found, Selection):
            raise ConfigError(
                f"selector '{config.selector.name}': select returned {found!r:.80}, expected a "
                "Selection."
            )
        if (found.trajectory_id, found.num_steps) != (trajectory.id, num_steps):
            raise ConfigError(
                f"selector '{config.selector.name}': select returned a Selection of "
                f"'{found.trajectory_id}' with {found.num_steps} steps for '{trajectory.id}' with "
                f"{num_steps} steps, expected one of this trajectory."
            )
        return found

    return AnswerJob(selector, SELECTION_FILE, Selection, ask, fail)


def _without_scores(trajectory_id: str, num_steps: int, reason: str) -> StepScores:
    return StepScores(trajectory_id=trajectory_id, num_steps=num_steps, problem=reason)
