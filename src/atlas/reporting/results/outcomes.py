"""Which score counts on a benchmark, and what a sample's score means.

A sample that broke, or has no score, is invalid: it is never a failure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import OutcomeStatus
from atlas.reporting.results.result_runs import Attempts, ResultRun
from atlas.reporting.results.samples import Sample
from atlas.reporting.results.settings import ResultSettings
from atlas.statistics.trajectory_summary import TrajectoryFacts

MAX_LISTED = 12


@dataclass(frozen=True, slots=True)
class CountedScore:
    """The score that counts on one benchmark.

    Attributes:
        name: None where logs say of each sample whether it succeeded, and have no score.
        success_at: None where logs say so, or scores are 0 and 1.
        is_told: what the logs say of success counts, not the score.
        is_score: the logs say nothing of success but their scores.
    """

    name: str | None
    success_at: float | None
    is_told: bool
    is_score: bool

    @property
    def description(self) -> str:
        """What a success is."""
        if self.name is None or (self.is_told and not self.is_score):
            return "a success is what the results call one"
        at = 1.0 if self.success_at is None else round(self.success_at, 4)
        return f"a success is a score '{self.name}' of {at:g} or more"

    def facts(self, sample: Sample) -> TrajectoryFacts:
        """The sample as an episode."""
        value = None if self.name is None else sample.scores.get(self.name)
        reason = self._fault(sample, value)
        score = float(value) if isinstance(value, float) and math.isfinite(value) else None
        common = {
            "score": score,
            "num_steps": sample.num_steps,
            "usage": sample.usage,
            "environment": sample.environment or sample.benchmark,
            "trajectory_id": sample.task,
        }
        if reason is not None:
            return TrajectoryFacts(
                sample.task,
                sample.group,
                "error",
                reason=reason,
                **common,  # type: ignore[arg-type]
            )
        is_success = sample.is_success if self.is_told else None
        if is_success is None:
            is_success = (score or 0.0) >= (1.0 if self.success_at is None else self.success_at)
        unsolved: OutcomeStatus = "truncated" if sample.limit else "failure"
        status: OutcomeStatus = "success" if is_success else unsolved
        return TrajectoryFacts(
            sample.task,
            sample.group,
            status,
            reason=sample.limit,
            **common,  # type: ignore[arg-type]
        )

    def _fault(self, sample: Sample, value: float | str | None) -> str | None:
        """Why the sample is invalid; None if it is not."""
        if sample.error is not None:
            return sample.error
        if self.is_told and sample.is_success is not None:
            return None
        if value is None:
            ended = f", it ended at the {sample.limit}" if sample.limit else ""
            return f"no score '{self.name}'{ended}"
        if isinstance(value, str) or not math.isfinite(value):
            return f"the score '{self.name}' is {value}, not a number"
        return None


def choose_scores(runs: Iterable[ResultRun], settings: ResultSettings) -> dict[str, CountedScore]:
    """The score that counts on each benchmark.

    Raises:
        ConfigError: a benchmark has several scores, none of those that were asked for, or values
            other than 0 and 1 without a threshold.
    """
    by_benchmark: dict[str, list[Attempts]] = {}
    for run in runs:
        for name, attempts in run.benchmarks.items():
            by_benchmark.setdefault(name, []).append(attempts)
    known = {name for given in by_benchmark.values() for name in _scores_of(given)}
    for name in settings.score:
        if name not in known:
            raise ConfigError(f"no benchmark has a score '{name}'. {nearest(name, sorted(known))}")
    return {name: _choose(name, given, settings) for name, given in by_benchmark.items()}


def _choose(benchmark: str, given: Sequence[Attempts], settings: ResultSettings) -> CountedScore:
    scores = _scores_of(given)
    asked = [name for name in settings.score if name in scores]
    says_so = all(
        sample.is_success is not None or sample.error is not None for sample in _samples(given)
    )
    own = {facts.log.score for attempts in given for facts in attempts.logs}
    if len(asked) == 1:
        name: str | None = asked[0]
    elif not asked and len(own) == 1 and (default := next(iter(own))) in scores:
        name = default
    elif not asked and len(scores) < 2:
        name = next(iter(scores), None)
    else:
        which = "several of the scores that were asked for" if asked else "several scores"
        raise ConfigError(
            f"'{benchmark:.80}' has {which}: {_listed(scores)}. Say which counts: "
            f"score={next(iter(asked or scores))}"
        )
    if name is None and not says_so:
        raise ConfigError(
            f"'{benchmark:.80}' has no score at all, expected one for each sample. Was it "
            "evaluated without scoring?"
        )
    if name is not None and not says_so:
        _refuse_unscored(benchmark, name, given)
    threshold = settings.success_at
    if threshold is None and name in own:
        told = {facts.log.success_at for attempts in given for facts in attempts.logs}
        threshold = next(iter(told)) if len(told) == 1 else None
    if threshold is None and not says_so and name is not None:
        _refuse_shares(benchmark, name, _samples(given))
    return CountedScore(name, threshold, is_told=settings.success_at is None, is_score=not says_so)


def _refuse_unscored(benchmark: str, name: str, given: Sequence[Attempts]) -> None:
    """Raise ConfigError if no sample of a run that did not break has the score."""
    for attempts in given:
        scored = [name in sample.scores for sample in _samples([attempts]) if sample.error is None]
        if scored and not any(scored):
            raise ConfigError(
                f"none of the {len(scored)} samples in {attempts.logs[0].name} has the score "
                f"'{name}' that counts on '{benchmark:.80}'. Score them, or say which score counts "
                "with score=…"
            )


def _refuse_shares(benchmark: str, name: str, samples: Iterable[Sample]) -> None:
    """Raise ConfigError if a score is not 0 or 1 everywhere."""
    values = [
        value
        for sample in samples
        if sample.error is None
        and isinstance(value := sample.scores.get(name), float)
        and math.isfinite(value)
    ]
    other = next((value for value in values if value not in (0.0, 1.0)), None)
    if other is not None:
        raise ConfigError(
            f"the score '{name}' of '{benchmark:.80}' is not only 0 or 1: it is {other:g} "
            f"somewhere, and lies between {min(values):g} and {max(values):g}. Say from which "
            f"score on an episode is a success, for example success_at={max(values):g}"
        )


def _scores_of(given: Iterable[Attempts]) -> Counter[str]:
    """How many samples have each score, in the order in which the scores occur."""
    return Counter(name for sample in _samples(given) for name in sample.scores)


def _samples(given: Iterable[Attempts]) -> Iterable[Sample]:
    return (
        sample for attempts in given for samples in attempts.by_task.values() for sample in samples
    )


def _listed(scores: Counter[str]) -> str:
    shown = [f"{name:.80} ({count} samples)" for name, count in scores.items()]
    more = f" and {len(shown) - MAX_LISTED} more" if len(shown) > MAX_LISTED else ""
    return ", ".join(shown[:MAX_LISTED]) + more
