"""The lines of `--dry-run` for sampling: responses, tokens, and time or money."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.models.local.local_player import LocalPlayerConfig
from atlas.models.players import PLAYER
from atlas.records import Trajectory, Usage
from atlas.selection.agreement.base import EstimatesUsage
from atlas.selection.costs import cost_usd, full_price
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.sampling.pivot_config import PivotConfig
from atlas.selection.sampling.plan_samples import (
    TRIAL_TOKENS,
    SamplePlan,
    plan_samples,
    time_trial,
)
from atlas.selection.sampling.samples import SAMPLES, StepSample
from atlas.store.record_log import read_log


def tell_plan(
    config: PivotConfig,
    agreement: Any,
    seed: int,
    trajectories: Iterable[Trajectory],
    out: Path,
) -> list[str]:
    """What a run would sample. For a local model, a short trial measures its speed."""
    settings = config.player.settings
    kept = {sample.key for sample in read_log(out / f"{SAMPLES}.jsonl", StepSample)}
    names = ("max_new_tokens", "max_tokens")
    most = next((value for name in names if (value := getattr(settings, name, None))), None)
    judged = [Usage()]

    def counted() -> Iterable[Trajectory]:
        for trajectory in trajectories:
            if isinstance(agreement, EstimatesUsage):
                judged[0] += agreement.estimate(trajectory, config.num_samples)
            yield trajectory

    plan = plan_samples(counted(), config.num_samples, most, kept)
    asked = plan.asked
    lines = [
        f"would sample: {config.model}, {config.num_samples} times at each of {plan.num_steps:,} "
        f"steps of {plan.num_trajectories:,} trajectories: {plan.num_samples:,} responses"
        + (f" ({plan.num_kept:,} are there)" if plan.num_kept else ""),
        f"tokens:    about {asked.input_tokens:,} of histories and {asked.output_tokens:,} "
        "generated, if samples are as long as the expert's responses (4 characters a token)",
    ]
    if isinstance(settings, LocalPlayerConfig):
        lines += _tell_time(config, settings, seed, plan)
    costs = []
    for payee in config.payees():
        is_judge = payee is config.agreement.settings
        usage = judged[0] if is_judge else asked
        lines.append(_tell_price("judge:" if is_judge else "price:", payee, usage, is_judge))
        costs.append(cost_usd(usage, full_price(payee)))
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs) > 1:
        lines.append(f"{'together:':11}at most about {sum(known):,.2f} USD")
    return [*lines, "Nothing was sent or written."]


def _tell_time(
    config: PivotConfig, settings: LocalPlayerConfig, seed: int, plan: SamplePlan
) -> list[str]:
    """The time by two trials of a full batch at a typical step: of one token, and of several."""
    read = f"shared:    about {plan.read_once:,} tokens of histories, each common start once"
    if not plan.num_samples:
        return [read]
    number = min(settings.batch_size, plan.num_samples)
    player: Any = None
    trials = []
    for most in (1, TRIAL_TOKENS):
        # At temperature 0, one early end of turn would end the trial.
        trial = settings.model_copy(update={"max_new_tokens": most, "temperature": 1.0})
        if player is None:
            player = PLAYER.make(Choice(config.player.name, trial), config.model, seed)
        else:
            player.end()
            player = player.reopened(trial)
        trials.append(time_trial(player, plan.typical, number))
    player.end()
    (first, one), (second, several) = trials
    per_read = first / max(1, one.input_tokens)
    more = several.output_tokens - one.output_tokens
    per_said = max(0.0, second - first) / more if more > 0 else first / one.output_tokens
    seconds = plan.read_once * per_read + plan.asked.output_tokens * per_said
    return [
        read,
        f"time:      about {seconds / 60:,.1f} minutes on this machine, by a trial of {number} "
        f"answers ({first + second:.1f} s)",
    ]


def _tell_price(label: str, payee: JudgeConfig, usage: Usage, is_judge: bool) -> str:
    price = full_price(payee)
    cost = cost_usd(usage, price)
    told = (
        f"about {usage.input_tokens:,} tokens sent and {usage.output_tokens:,} received in "
        f"{'at most ' if is_judge else ''}{usage.requests:,} requests to {payee.model}"
    )
    if cost is None or price is None:
        return f"{label:11}{told}; no price is known, give prices=FILE"
    return f"{label:11}{told}; about {cost:,.2f} USD by {price.source}"
