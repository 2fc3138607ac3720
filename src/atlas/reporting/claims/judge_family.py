"""Tests of claims -> verdicts that hold together.

Everything that is printed as a verdict is one family. A primary comparison that was registered
before the trainings gets half of the error rate (weighted Holm); the others share the rest. So the
probability of any false verdict in a report stays below one minus the confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.reporting.claims.compare_values import ClaimTest
from atlas.reporting.report import ClaimKind, Verdict, WithinMargin
from atlas.statistics.verdict_family import adjust_family

PValues = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """A comparison tested with broken episodes left out, and counted as failures.

    Attributes:
        broken_as_failed: None if no episode broke.
        has_half: whether it gets half of the error rate.
    """

    left_out: ClaimTest
    broken_as_failed: ClaimTest | None
    has_half: bool = False

    @property
    def p_values(self) -> PValues:
        """Those of which both ways are below a limit only if these are."""
        other = self.broken_as_failed
        first = self.left_out.p_values
        if other is None or first[0] is None:
            return first
        p_equal, p_worse, p_better = (
            None if p is None or q is None else max(p, q)
            for p, q in zip(first, other.p_values, strict=True)
        )
        one, two = self.left_out.difference.value, other.difference.value
        # Opposite directions agree on nothing.
        is_opposite = one is not None and two is not None and one * two < 0
        return (1.0 if is_opposite else p_equal), p_worse, p_better


@dataclass(frozen=True, slots=True)
class Judgment:
    """The verdict on one comparison.

    Attributes:
        p_adjusted: of no difference, corrected over the family.
        is_decided_by_broken: whether it would be another one if broken episodes were left out.
        first_share: the share of the error rate that the comparison has before any other is
            decided.
    """

    verdict: Verdict
    within_margin: WithinMargin | None
    p_adjusted: float | None
    is_decided_by_broken: bool
    first_share: float


def judge_family(pairs: Sequence[ComparedPair], confidence: float) -> list[Judgment]:
    """The verdicts on all comparisons of a report."""
    alpha = round(1 - confidence, 9)
    is_tested = [pair.left_out.p_equal is not None for pair in pairs]
    num_others = sum(
        tested and not pair.has_half for pair, tested in zip(pairs, is_tested, strict=True)
    )
    weights = [float(num_others or 1) if pair.has_half else 1.0 for pair in pairs]
    both = adjust_family([pair.p_values for pair in pairs], weights)
    only = adjust_family([pair.left_out.p_values for pair in pairs], weights)
    total = sum(weight for weight, tested in zip(weights, is_tested, strict=True) if tested)
    judgments = []
    for pair, weight, p_both, p_only in zip(pairs, weights, both, only, strict=True):
        value, claim = pair.left_out.difference.value, pair.left_out.claim
        verdict, within = _judge(claim, value, p_both, alpha)
        judgments.append(
            Judgment(
                verdict,
                within,
                p_both[0],
                (verdict, within) != _judge(claim, value, p_only, alpha),
                weight / total if total else 1.0,
            )
        )
    return judgments


def _judge(
    claim: ClaimKind, value: float | None, p_adjusted: Sequence[float | None], alpha: float
) -> tuple[Verdict, WithinMargin | None]:
    p_equal, p_worse, p_better = p_adjusted
    if p_equal is None or value is None:
        return "untested", None
    is_different = p_equal < alpha
    if claim == "checkpoints":
        return ("differ" if is_different else "no_difference"), None
    within: WithinMargin | None = None
    if p_worse is not None and p_worse < alpha:
        within = "alike" if p_better is not None and p_better < alpha else "not_worse"
    if not is_different:
        return within or "undecided", within
    # A better arm is not worse either way.
    return ("better" if value > 0 else "worse"), ("alike" if within == "alike" else None)
