"""Select: `trajectories -> selections`. Which steps of each trajectory are critical, under a budget.

    OUT/selections.jsonl   one a trajectory, in the order of the trajectories
    OUT/scores.jsonl       of selectors that score: what each step got, chosen or not
    OUT/problems.jsonl     trajectories left without a critical step, and why
    OUT/spent.jsonl        of selectors that ask a model: what the run paid in all

Results are safe on disk as they come, so that an interrupted run asks a model for the missing ones alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from atlas.errors import ConfigError, DataError, EndpointError
from atlas.models.local.load import model_input
from atlas.records import Problem, Selection, Trajectory, Usage
from atlas.selection.answer_each import AnswerT, Ask, answer_each
from atlas.selection.budget import step_budget
from atlas.selection.config import SelectConfig
from atlas.selection.cost_meter import CostMeter
from atlas.selection.costs import find_price, summarise_cost
from atlas.selection.retry_problems import read_kept_selections
from atlas.selection.scores import SCORES_FILE, StepScores, score_steps, select_by_scores
from atlas.selection.selectors.base import (
    HasChecks,
    HasClose,
    HasEstimate,
    HasForecast,
    HasInputs,
    HasModels,
    Scorer,
    Selector,
    make_selector,
)
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.store.record_files import read_records, write_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, Run, run_input, start_run
from atlas.terminal.progress import say, show_progress

__all__ = ["SelectConfig", "select_steps"]

ResultT = TypeVar("ResultT")
Fail = Callable[[str, int, str], AnswerT]  # trajectory id, number of steps, reason


def select_steps(config: SelectConfig, trajectories: Path, out: Path) -> Manifest:
    """Select the critical steps of every trajectory in the run folder `trajectories`, into the run folder `out`.

    Raises:
        ConfigError: the selector is unknown, a setting that it needs is missing, or scope "dataset" is asked of one without scores.
        RunError: `trajectories` or one of `config.of` is no finished run of the right kind, or `out` belongs to another run.
        EndpointError: some trajectories got no answer; the same call again asks for those alone.
        CostLimitError: what comes next might cost more than is left of `config.max_cost_usd`; a higher limit goes on.
        ModelError: the model cannot be used.
        DataError: nothing at all could be selected.
    """
    inputs = {"trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES))}
    others: dict[str, list[Selection]] = defaultdict(list)
    for number, of in enumerate(config.of, start=1):
        inputs["of" if len(config.of) == 1 else f"of_{number}"] = run_input(
            Path(of), out, ("select",)
        )
        for id_, selection in read_selections(Path(of), trajectories).items():
            others[id_].append(selection)
    selector = make_selector(config, others)
    if config.scope == "dataset" and not isinstance(selector, Scorer):
        raise ConfigError(
            f"selector '{config.selector}' gives no scores, so scope=dataset cannot rank the steps of all trajectories. "
            "Use scope=trajectory, or a selector with scores, such as perplexity or rollout-value."
        )
    if isinstance(selector, HasInputs):
        inputs |= selector.inputs()
    if isinstance(selector, HasModels):
        inputs |= {name: model_input(model, out) for name, model in selector.models().items()}
    if isinstance(selector, HasEstimate):
        find_price(config)  # a limit without a price shows now
    kept: Mapping[str, Selection] = {}
    if config.retry_problems_of is not None and isinstance(selector, Scorer):
        raise ConfigError(
            f"retry_problems_of=… keeps selections, and selector '{config.selector}' gives scores. Select all again."
        )
    if config.retry_problems_of is not None:
        inputs["retry_problems_of"] = run_input(Path(config.retry_problems_of), out, ("select",))
        kept = read_kept_selections(Path(config.retry_problems_of), config, trajectories)
    with start_run(out, "select", config, inputs) as run:
        if run.finished:
            return run.manifest
        if not isinstance(selector, HasEstimate):
            return _write(run, selector, config, trajectories, kept, None)
        with closing(CostMeter(run, find_price(config), config, selector)) as meter:
            return _write(run, selector, config, trajectories, kept, meter)


def _write(
    run: Run,
    selector: Selector | Scorer,
    config: SelectConfig,
    trajectories: Path,
    kept: Mapping[str, Selection],
    meter: CostMeter | None,
) -> Manifest:
    num_steps = _count_steps(trajectories)
    problems = list(selector.check(num_steps)) if isinstance(selector, HasChecks) else []
    if isinstance(selector, Selector) and config.scope == "trajectory":
        ask, fail = _selecting(selector, config), _failing(config)
        selections = _answer_all(
            run,
            SELECTION_FILE,
            Selection,
            ask,
            fail,
            selector,
            config,
            trajectories,
            num_steps,
            kept,
            meter,
        )
    else:
        assert isinstance(selector, Scorer)
        ask_scores = _scoring(selector)
        scores = _answer_all(
            run,
            SCORES_FILE,
            StepScores,
            ask_scores,
            _unscored,
            selector,
            config,
            trajectories,
            num_steps,
            {},
            meter,
        )
        selections = run.path / SELECTION_FILE
        write_records(selections, select_by_scores(scores, config))
    if meter is not None:
        meter.seal()
    summary = _summary(
        read_records(selections, Selection), config, problems, None if meter is None else meter.paid
    )
    if summary["steps"] and not summary["selected_steps"]:
        reason = (
            problems[0].reason
            if problems
            else "the budget is 0 everywhere, or every selection is empty"
        )
        raise DataError(
            f"selector '{config.selector}' selected no step of {len(num_steps)} trajectories: {reason.rstrip('.')}. "
            "Use other settings and another --out."
        )
    run.write_problems(problems)
    return run.finish(summary)


def _selecting(selector: Selector, config: SelectConfig) -> Ask[Selection]:
    def ask(trajectory: Trajectory) -> Selection | Awaitable[Selection]:
        return selector.select(
            trajectory,
            step_budget(len(trajectory.steps), config.ratio, config.rounding, config.min_steps),
        )

    return ask


def _failing(config: SelectConfig) -> Fail[Selection]:
    def fail(id_: str, num_steps: int, reason: str) -> Selection:
        budget = step_budget(num_steps, config.ratio, config.rounding, config.min_steps)
        return Selection(
            trajectory_id=id_,
            selector=config.selector,
            num_steps=num_steps,
            budget=budget,
            problem=reason,
        )

    return fail


def _scoring(scorer: Scorer) -> Ask[StepScores]:
    return lambda trajectory: score_steps(scorer, trajectory)


def _unscored(id_: str, num_steps: int, reason: str) -> StepScores:
    return StepScores(trajectory_id=id_, num_steps=num_steps, problem=reason)


def _count_steps(trajectories: Path) -> dict[str, int]:
    """The number of steps of each trajectory by its id, in their order."""
    found = [
        (trajectory.id, len(trajectory.steps)) for trajectory in read_trajectories(trajectories)
    ]
    if twice := [id_ for id_, count in Counter(id_ for id_, _ in found).items() if count > 1]:
        raise DataError(
            f"{trajectories} has {len(twice)} trajectory ids more than once, '{twice[0]}' for one; selections go by id."
        )
    return dict(found)


def _answer_all(
    run: Run,
    file: str,
    kind: type[AnswerT],
    ask: Ask[AnswerT],
    fail: Fail[AnswerT],
    selector: Selector | Scorer,
    config: SelectConfig,
    trajectories: Path,
    num_steps: Mapping[str, int],
    kept: Mapping[str, AnswerT],
    meter: CostMeter | None,
) -> Path:
    """One answer for each trajectory in `file`, in their order; nothing is asked where one is there already or `kept`."""
    log = run.log(file.removesuffix(".jsonl"), kind, key=lambda answer: answer.trajectory_id)
    with closing(log):
        if meter is not None:  # what is kept was paid for by another run
            earlier = read_records(log.path, kind) if log.sealed else log.records()
            meter.take_over(answer for answer in earlier if answer.trajectory_id not in kept)
        if log.sealed:
            return log.path
        for id_ in kept.keys() - log.done:
            log.append(kept[id_])
        unanswered = _run(
            _answer_missing(ask, selector, config, trajectories, log, num_steps, meter)
        )
        for problem in unanswered if config.accept_unanswered else ():
            log.append(fail(str(problem.item), num_steps[str(problem.item)], problem.reason))
        if unanswered and not config.accept_unanswered:
            run.write_problems(unanswered)
            raise EndpointError(
                f"{len(unanswered)} of {len(num_steps)} trajectories got no answer, see {run.path / 'problems.jsonl'}. "
                f"The first: {unanswered[0].reason} The others are safe: run the same command again, it asks for the missing ones "
                "alone. To finish without them, set accept_unanswered=true."
            )
        log.seal(num_steps)
    return log.path


async def _answer_missing(
    ask: Ask[AnswerT],
    selector: Selector | Scorer,
    config: SelectConfig,
    trajectories: Path,
    log: RecordLog[AnswerT],
    num_steps: Mapping[str, int],
    meter: CostMeter | None,
) -> list[Problem]:
    """Each trajectory that has no answer yet, at most `max_in_flight` at a time, kept as it comes. Returns those that got none."""
    done = log.done
    missing = (
        trajectory for trajectory in read_trajectories(trajectories) if trajectory.id not in done
    )
    if isinstance(selector, HasForecast):
        left = [count for id_, count in num_steps.items() if id_ not in done]
        say(selector.forecast(len(left), sum(left)))
    with show_progress("selecting", len(num_steps), len(done)) as bar:

        def keep(answer: AnswerT) -> None:
            log.append(answer)
            bar.advance()
            if meter is not None:
                meter.count(answer)

        try:
            in_flight = config.batch_size if config.batch else config.max_in_flight
            keeps_answers = not config.batch  # a batch takes up to a day, and is found again
            return await answer_each(
                ask, in_flight, missing, keep, meter, keeps_answers=keeps_answers
            )
        finally:
            if isinstance(selector, HasClose):
                await selector.close()


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """To its end, also where a loop runs already, as in a notebook; there, too, Ctrl-C stops it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def tell_and_work() -> ResultT:
        task = asyncio.current_task()
        assert task is not None
        running.set_result((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(max_workers=1) as thread:
        result = thread.submit(asyncio.run, tell_and_work())
        try:
            return result.result()
        except BaseException:
            if not result.done():  # the thread would go on to ask, and to pay
                loop, task = running.result()
                with suppress(RuntimeError):  # it has ended meanwhile
                    loop.call_soon_threadsafe(task.cancel)
            raise


def _summary(
    selections: Iterable[Selection],
    config: SelectConfig,
    problems: list[Problem],
    paid: Usage | None,
) -> dict[str, Any]:
    """Counts over all selections; the problems among them are added to `problems`."""
    num_trajectories = num_steps = num_selected = num_own_budgets = 0
    kinds: Counter[str] = Counter()
    usage = Usage()
    for selection in selections:
        num_trajectories += 1
        num_steps += selection.num_steps
        num_selected += len(selection.critical_steps)
        num_own_budgets += selection.budget != step_budget(
            selection.num_steps, config.ratio, config.rounding, config.min_steps
        )
        kinds.update(kind for step in selection.critical_steps for kind in step.kinds)
        usage += selection.usage
        if selection.problem is not None:
            problems.append(
                Problem(
                    where=f"trajectory {selection.trajectory_id}",
                    reason=selection.problem,
                    item=selection.trajectory_id,
                )
            )
    paid = usage if paid is None else paid
    return {
        "trajectories": num_trajectories,
        "steps": num_steps,
        "selected_steps": num_selected,
        "share": round(num_selected / num_steps, 4) if num_steps else 0.0,
        "kinds": dict(sorted(kinds.items())),
        "problems": len(problems),
        "usage": paid.model_dump(),
        **summarise_cost(paid, config),
        "budget": _describe_budget(config, bool(num_own_budgets)),
    }


def _describe_budget(config: SelectConfig, is_own: bool) -> str:
    if config.scope == "dataset":
        return f"ratio {config.ratio} of all steps together, {config.rounding}"
    if is_own:
        return (
            f"selector '{config.selector}' sets its own; the ratio of {config.ratio} was not used"
        )
    return f"ratio {config.ratio}, {config.rounding}, at least {config.min_steps}"
