"""Asks a model about a few trajectories, and says what the others will cost: `run -> forecast`.

The answers are stored in the run, so that the whole run does not pay for them again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from inspect import isawaitable
from itertools import islice
from pathlib import Path

import numpy as np

from atlas.errors import ConfigError, DataError
from atlas.records import Selection, Trajectory, Usage
from atlas.selection.answer_all import answer_all
from atlas.selection.answer_each import Ask
from atlas.selection.config import SelectConfig
from atlas.selection.cost_meter import CostMeter
from atlas.selection.costs import cost_usd, price_of
from atlas.selection.layers import Settled, paid_above, paid_below, settle
from atlas.selection.prepare_selection import PreparedSelection, prepare_selection
from atlas.selection.select_steps import selection_job
from atlas.selection.selectors.base import (
    Concurrency,
    HasConcurrency,
    HasEstimate,
    Selector,
)
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_log import read_log
from atlas.store.run_folders import is_finished, start_run

# Resamples of the pilot's trajectories for an interval.
NUM_DRAWS = 2_000
# Fewer answers give no interval.
FEWEST_ANSWERS = 5


@dataclass(frozen=True, slots=True)
class Forecast:
    """A value with its 95 % interval, if there are enough answers."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a pilot found.

    Attributes:
        num_asked: trajectories that this call asked about.
        num_answered: trajectories with an answer in the run, from this call or earlier.
        num_problems: those of them whose answer could not be used.
        num_left: trajectories that the whole run still has to ask about.
        paid: what the run has paid so far.
        paid_usd, usd_left: None if no price is known.
        seconds_left: None if this call asked nothing, or asked in batches.
        below: for a selector that asks a cheaper model first, the pilot of that model.
        num_settled: how many of the pilot's trajectories the layers below settled.
    """

    num_asked: int
    num_answered: int
    num_problems: int
    num_left: int
    paid: Usage
    paid_usd: float | None
    tokens_left: Forecast
    usd_left: Forecast | None
    seconds_left: Forecast | None
    below: Pilot | None = None
    num_settled: int = 0


def run_pilot(config: SelectConfig, trajectories: Path, out: Path) -> Pilot:
    """Ask about `config.pilot_size` trajectories of the run `out`, and forecast the rest.

    The trajectories are drawn with `config.seed`. The run stays unfinished: `select_steps` with the
    same arguments asks about the others.

    Raises:
        ConfigError: the selector does not ask a model by the token, or the run is finished.
        The other errors are those of `select_steps`.
    """
    return _run_pilot(prepare_selection(config, trajectories, out))


def _run_pilot(prepared: PreparedSelection, paid_elsewhere_usd: float = 0.0) -> Pilot:
    config, trajectories, out = prepared.config, prepared.trajectories, prepared.out
    selector, kept = prepared.selector, prepared.kept
    if not isinstance(selector, HasEstimate) or not isinstance(selector, Selector):
        raise ConfigError(
            f"selector '{config.selector.name}' does not ask a model by the token, so a pilot "
            "would show nothing. Leave --pilot out."
        )
    price = price_of(selector.config)
    estimates: dict[str, Usage] = {}
    for trajectory in islice(read_trajectories(trajectories), config.limit):
        if trajectory.id not in kept:
            budget = config.budget(len(trajectory.steps))
            estimates[trajectory.id] = selector.estimate(trajectory, budget)
    sample = _draw(estimates, config.pilot_size, config.seed)
    seconds: dict[str, float] = {}
    job = selection_job(selector, config)
    timed = replace(job, ask=_timed(job.ask, seconds))
    with start_run(out, "select", config, prepared.inputs) as run:
        if run.finished:
            raise ConfigError(f"{out} is finished, so there is nothing left to forecast.")
        settled, below = Settled(), None
        if (layers := prepared.layers) is not None:
            if not is_finished(layers.small, "select"):
                below = _run_pilot(prepared.of_cheaper_model(layers), paid_above(layers))
            settled = settle(layers, trajectories, kept)
            kept = {**kept, **settled.selections}
            # Where the cheaper model gave no answer, it is asked again first.
            sample &= settled.overlaps.keys()
        paid_usd = paid_elsewhere_usd + paid_below(layers)
        with closing(CostMeter(run, price, config, selector, paid_usd)) as meter:
            answer_all(run, timed, trajectories, kept, meter, True, config.limit, only=sample)
            paid = meter.paid.usage
    found = {one.trajectory_id: one for one in read_log(out / SELECTION_FILE, Selection)}
    answers = [found[id_] for id_ in estimates if id_ in found]
    # What the layers below settled costs this model nothing.
    usages = {
        one.trajectory_id: Usage() if one.trajectory_id in settled.selections else one.usage
        for one in answers
        if one.usage.requests
    }
    if not usages:
        raise DataError(
            f"none of {len(sample)} trajectories got an answer, so nothing can be forecast. "
            f"{out / 'problems.jsonl'} has the reasons. The same command tries again."
        )
    rest = [estimate for id_, estimate in estimates.items() if id_ not in found]

    def left(cost: Callable[[Usage], float]) -> Forecast:
        pairs = [(cost(usage), cost(estimates[id_])) for id_, usage in usages.items()]
        return _forecast(pairs, sum(map(cost, rest)))

    concurrency = selector.concurrency() if isinstance(selector, HasConcurrency) else Concurrency()
    seconds_left = None
    if seconds and not selector.config.batch:
        rounds = len(rest) / max(1, min(concurrency.trajectories, len(rest)))
        waits = [*seconds.values(), *(0.0 for _ in settled.selections.keys() & sample)]
        seconds_left = _forecast([(one, 1.0) for one in waits], rounds)
    return Pilot(
        num_asked=len(seconds),
        num_answered=len(answers) - len(settled.selections),
        num_problems=sum(answer.problem is not None for answer in answers),
        num_left=len(rest),
        paid=paid,
        paid_usd=cost_usd(paid, price),
        tokens_left=left(lambda usage: float(usage.input_tokens + usage.output_tokens)),
        usd_left=None if price is None else left(lambda usage: cost_usd(usage, price) or 0.0),
        seconds_left=seconds_left,
        below=below,
        num_settled=len(settled.selections),
    )


def _draw(estimates: dict[str, Usage], size: int, seed: int) -> frozenset[str]:
    """Trajectories that ask something, drawn at random; a larger sample includes a smaller one."""
    asking = [id_ for id_, estimate in estimates.items() if estimate.requests]

    def lot(id_: str) -> bytes:
        return hashlib.sha256(f"pilot {seed} {id_}".encode()).digest()

    return frozenset(sorted(asking, key=lot)[:size])


def _timed(ask: Ask[Selection], seconds: dict[str, float]) -> Ask[Selection]:
    """`ask`, with the seconds that each trajectory took."""

    async def timed(trajectory: Trajectory) -> Selection:
        started = time.monotonic()
        result = ask(trajectory)
        answer = await result if isawaitable(result) else result
        seconds[trajectory.id] = time.monotonic() - started
        return answer

    return timed


def _forecast(pairs: Sequence[tuple[float, float]], estimated: float) -> Forecast:
    """`estimated`, corrected by the ratio of what was seen to what was estimated."""
    rows = np.array(pairs, dtype=np.float64)

    def corrected(sums: np.ndarray) -> np.ndarray:
        part: np.ndarray = sums[..., 0] / np.maximum(sums[..., 1], 1e-12) * estimated
        return part

    value = float(corrected(rows.sum(axis=0)))
    if len(rows) < FEWEST_ANSWERS:
        return Forecast(value, None)
    drawn = np.random.default_rng(0).integers(len(rows), size=(NUM_DRAWS, len(rows)))
    low, high = np.percentile(corrected(rows[drawn].sum(axis=1)), [2.5, 97.5])
    return Forecast(value, (float(low), float(high)))
