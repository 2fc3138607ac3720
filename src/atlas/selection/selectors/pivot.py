"""Selects steps where the model to be tuned sometimes does what the expert did (PivotRL).

    agreement of step t = for each of K responses sampled at the expert's state before t: does it
    do the same as the expert's response? (1 or 0)
    score of step t = variance of the agreement; of equal variances, the lower mean first

PivotRL (arXiv 2603.21383) profiles the turns of expert trajectories with samples of a frozen
reference policy, scored by a verifier, and keeps the turns whose rewards vary and whose mean is
below a threshold, for reinforcement learning: a turn where all samples are right, or all wrong, has
no advantage to learn from. Here such turns are the critical steps for fine-tuning. That they are
ranked under a budget is by atlas. The value of the paper's threshold could not be read in the
sources at hand, so by default there is none; NeMo Gym's guide for such data sets advises at least 8
samples and to drop the easiest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.endpoint_player import EndpointPlayerConfig
from atlas.models.endpoints.prices import Price
from atlas.models.local.load import rendering_inputs
from atlas.models.local.local_player import LocalPlayerConfig
from atlas.models.payments import Payment
from atlas.models.players import PLAYER
from atlas.records import Problem, Trajectory, Usage
from atlas.rendering.tool_schemas import read_tools, with_tools
from atlas.selection.agreement.base import AGREEMENT, ChecksTrajectory, EstimatesUsage
from atlas.selection.costs import full_price, with_cost
from atlas.selection.judging.judge_config import JudgeConfig, PaidTogether
from atlas.selection.sampling.describe_profile import describe_profile
from atlas.selection.sampling.pivot_config import PivotConfig
from atlas.selection.sampling.plan_samples import plan_samples
from atlas.selection.sampling.profile_steps import StepProfiler
from atlas.selection.sampling.sample_book import SampleBook, seal_book
from atlas.selection.sampling.sampler import Sampler
from atlas.selection.sampling.samples import StepAgreement
from atlas.selection.sampling.tell_plan import tell_plan
from atlas.selection.selectors.base import (
    Concurrency,
    HasClose,
    HasInputs,
    HasPayments,
    HasUnusable,
    Scores,
    SelectorContext,
    problem_with,
)
from atlas.selection.unusable_answers import UnusableAnswer
from atlas.store.run_folders import Input, Run
from atlas.terminal.progress import say


class PivotSelector:
    """The steps where samples of the model to be tuned agree with the expert in part."""

    Config = PivotConfig

    def __init__(self, config: PivotConfig, context: SelectorContext) -> None:
        self._config = config
        self._seed = context.seed
        self._player_settings = config.player.settings
        self._agreement = AGREEMENT.make(config.agreement, context)
        self._tools = read_tools(config.tools)
        self._sampler: Sampler | None = None
        self._book: SampleBook | None = None
        self._pay: Callable[[Usage], None] = lambda usage: None
        # Of two models that are paid, each has its own price.
        self._prices: list[Price | None] = []
        self._tell: Callable[[str], None] = lambda note: None
        self._num_sampled = 0
        if payees := config.payees():
            # Only a selector that asks a remote model has these (HasEstimate).
            self.config = _together(payees, config.max_cost_usd)
            self.estimate = self._estimate
            self._prices = list(map(full_price, payees)) if len(payees) > 1 else []

    @classmethod
    def draws(cls, config: PivotConfig) -> bool:
        """Samples at a temperature are drawn, and so may the judge's verdicts be."""
        is_sampled = getattr(config.player.settings, "temperature", None) != 0
        judge = getattr(AGREEMENT.find(config.agreement.name), "draws", None)
        return is_sampled or (judge is not None and bool(judge(config.agreement.settings)))

    @property
    def sentence(self) -> str:
        by_rubric = getattr(self._agreement, "by_rubric", "")
        return (
            f"the steps where samples of {self._config.model} agree with the expert in part"
            f"{by_rubric}"
        )

    def inputs(self, out: Path) -> dict[str, Input]:
        config = self._config
        template = getattr(self._player_settings, "chat_template", None)
        model = PLAYER.find(config.player.name).describe_model(config.model, out)
        given = {"model": model, **rendering_inputs(out, template, config.tools)}
        return given | (
            self._agreement.inputs(out) if isinstance(self._agreement, HasInputs) else {}
        )

    def pin_day(self, day: date | None) -> None:
        if isinstance(self._player_settings, LocalPlayerConfig):
            self._player_settings = self._player_settings.on_day(day)

    def forecast(self, num_trajectories: int, num_steps: int) -> str:
        number = self._config.num_samples
        return (
            f"pivot: {number} samples of {self._config.model} at each of {num_steps:,} steps of "
            f"{num_trajectories:,} trajectories: up to {number * num_steps:,} responses"
        )

    def concurrency(self) -> Concurrency:
        """As many trajectories as fill the model's places with samples."""
        settings, each = self._player_settings, self._config.num_samples
        endpoint = _endpoint_of(settings)
        places = getattr(settings, "batch_size", 8) if endpoint is None else endpoint.max_in_flight
        return Concurrency(1 + places // each, keeps_answers=bool(self._config.payees()))

    def report_payments(self, pay: Callable[[Usage], None]) -> None:
        self._pay = lambda usage: pay(self._priced(usage, 0))
        if isinstance(self._agreement, HasPayments):
            self._agreement.report_payments(lambda usage: pay(self._priced(usage, -1)))

    def report_unusable(self, keep: Callable[[UnusableAnswer], None]) -> None:
        if isinstance(self._agreement, HasUnusable):
            self._agreement.report_unusable(keep)

    def report_progress(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def keep_records(self, run: Run) -> None:
        self._book = SampleBook(run)
        if self._book.num_kept:
            say(f"pivot: {self._book.num_kept:,} samples of an interrupted run are used again")

    def seal_records(self, run: Run, trajectory_ids: Iterable[str]) -> None:
        if self._book is not None:
            # Nothing was asked: a killed run had all its scores.
            self._book.close()
        seal_book(run, trajectory_ids)
        for line in describe_profile(run, self._is_kept):
            say(line)

    async def score(self, trajectory: Trajectory) -> Scores | Problem:
        """The scores of the steps that are kept, and None for the others.

        Raises:
            EndpointError: a sample or a judgment is missing; a rerun asks only for those.
            ModelError: the model cannot be used.
        """
        if not trajectory.steps:
            return []
        checks = isinstance(self._agreement, ChecksTrajectory)
        if checks and (reason := self._agreement.problem(trajectory)) is not None:
            return problem_with(trajectory.id, reason)
        profiler = StepProfiler(
            self._open(), self._agreement, self._config.num_samples, self._book, self._count
        )
        profile = await profiler.profile(with_tools(trajectory, self._tools))
        if all(step.mean is None for step in profile):
            return problem_with(trajectory.id, f"no step could be compared: {profile[0].reason}")
        return [self._score(step) for step in profile]

    def plan(self, trajectories: Iterable[Trajectory], out: Path) -> list[str]:
        """What a run would sample, and what that costs."""
        given = (with_tools(trajectory, self._tools) for trajectory in trajectories)
        return tell_plan(self._config, self._agreement, self._seed, given, out)

    async def close(self) -> None:
        if self._sampler is not None:
            await self._sampler.close()
        if isinstance(self._agreement, HasClose):
            await self._agreement.close()
        if self._book is not None:
            self._book.close()
        self._sampler = self._book = None

    def _open(self) -> Sampler:
        if self._sampler is None:
            choice = Choice(self._config.player.name, self._player_settings)
            player = PLAYER.make(choice, self._config.model, self._seed)
            endpoint = _endpoint_of(self._player_settings)
            self._sampler = Sampler(player, None if endpoint is None else endpoint.max_in_flight)
        return self._sampler

    def _count(self, usage: Usage) -> None:
        self._num_sampled += 1
        self._tell(f"{self._num_sampled:,} samples")
        if isinstance(usage, Payment):
            self._pay(usage)

    def _is_kept(self, step: StepAgreement) -> bool:
        """Whether a step is a pivot by the settings."""
        if step.mean is None or step.variance is None:
            return False
        low, high = self._config.min_variance, self._config.max_mean
        return (low is None or step.variance > low) and (high is None or step.mean < high)

    def _score(self, step: StepAgreement) -> float | None:
        if not self._is_kept(step) or step.mean is None or step.variance is None:
            return None
        # Different variances of k of n samples differ by at least 1 / n^2.
        lower_mean_first = (1 - step.mean) / (2 * self._config.num_samples**2)
        return round(step.variance + lower_mean_first, 12)

    def _estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        """Approximate usage of the remote models for one trajectory."""
        usage, settings = Usage(), self._player_settings
        if isinstance(settings, EndpointPlayerConfig):
            given = with_tools(trajectory, self._tools)
            plan = plan_samples([given], self._config.num_samples, settings.max_tokens, ())
            usage = self._priced(plan.asked, 0)
        if isinstance(self._agreement, EstimatesUsage):
            judged = self._agreement.estimate(trajectory, self._config.num_samples)
            usage += self._priced(judged, -1)
        return usage

    def _priced(self, usage: Usage, payee: int) -> Usage:
        """The usage of the model that samples (0) or that judges (-1), with its cost if both do."""
        return with_cost(usage, self._prices[payee]) if self._prices else usage


def _endpoint_of(settings: Any) -> Endpoint | None:
    endpoint = getattr(settings, "endpoint", None)
    return endpoint if isinstance(endpoint, Endpoint) else None


def _together(payees: list[JudgeConfig], max_cost_usd: float | None) -> JudgeConfig:
    """What a run says about the models that it pays."""
    if len(payees) > 1:
        return PaidTogether.of(payees, max_cost_usd)
    [payee] = payees
    limits = [one for one in (max_cost_usd, payee.max_cost_usd) if one is not None]
    return payee.model_copy(update={"max_cost_usd": min(limits, default=None)})
