"""Comparisons -> the headline and the findings as text. Every sentence is based on a verdict.

A sentence about methods names arms. A sentence about checkpoints says that it is about these
checkpoints, and what it would take to be about the methods. "Not decided" and "no difference
shown" come with the difference that would have been found: they are not "alike".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.presenting.wording import join_words, percent, percent_interval
from atlas.reporting.claims.verdicts import (
    assumption_text,
    difference_text,
    power_text,
    split_label,
    stated_points,
    tipping_text,
)
from atlas.reporting.report import ArmComparison, Report, Verdict, WithinMargin

# The text for a verdict in the headline: the first clause names both arms, later ones need not.
CLAUSES: dict[Verdict, tuple[str, str]] = {
    "better": (
        "{arm} is better than {against} on {where}{by}: {how}",
        "on {where} it is better{by}: {how}",
    ),
    "worse": (
        "{arm} is worse than {against} on {where}{by}: {how}",
        "on {where} it is worse{by}: {how}",
    ),
    "not_worse": (
        "{arm} is not worse than {against} by more than {margin} points on {where}: {how}",
        "on {where} it is not worse by more than {margin} points: {how}",
    ),
    "alike": (
        "{arm} and {against} are alike within {margin} points on {where}: {how} for {arm}",
        "on {where} they are alike within {margin} points: {how}",
    ),
    "undecided": (
        "{arm} against {against} is undecided on {where}: {how}{more}",
        "on {where} it is undecided: {how}{more}",
    ),
    "differ": (
        "these {number} checkpoints of {arm} and {against} differ on {where}: {how} for "
        "{arm}{more}",
        "on {where} these checkpoints differ: {how}{more}",
    ),
    "no_difference": (
        "no difference is shown between these {number} checkpoints of {arm} and {against} on "
        "{where}: {how} for {arm}{more}",
        "on {where} no difference is shown between them: {how}{more}",
    ),
    "untested": (
        "{arm} and {against} have no task with a valid episode in both on {where}",
        "on {where} they have no task with a valid episode in both",
    ),
}
# The text for a verdict that several arms share: one arm against others, and others against one.
ONE_AGAINST_SEVERAL: dict[Verdict, str] = {
    "better": "{one} is better than {several} on {where}{by}",
    "worse": "{one} is worse than {several} on {where}{by}",
    "not_worse": "{one} is not worse than {several} by more than {margin} points on {where}",
    "alike": "{one} is alike within {margin} points with {several} on {where}",
    "undecided": "Undecided on {where}: {one} against {several}{more}",
    "differ": "The checkpoint of {one} differs from that of {several} on {where} ({side}){more}",
    "no_difference": "No difference is shown on {where} between the checkpoint of {one} and that "
    "of {several}{more}",
    "untested": "{one} has no task with a valid episode in common with {several} on {where}",
}
SEVERAL_AGAINST_ONE: dict[Verdict, str] = {
    "better": "Better than {one} on {where}{by}: {several}",
    "worse": "Worse than {one} on {where}{by}: {several}",
    "not_worse": "Not worse than {one} by more than {margin} points on {where}: {several}",
    "alike": "Alike within {margin} points with {one} on {where}: {several}",
    "undecided": "Undecided against {one} on {where}: {several}{more}",
    "differ": "Checkpoints that differ from that of {one} on {where}: {several} ({side}){more}",
    "no_difference": "No difference is shown on {where} between the checkpoint of {one} and that "
    "of {several}{more}",
    "untested": "No task with a valid episode in common with {one} on {where}: {several}",
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """What comparisons that share a sentence have in common."""

    verdict: Verdict
    within_margin: WithinMargin | None
    assumption: str
    # Whether the arms of two checkpoints that differ are higher or lower.
    side: str


def write_headline(report: Report) -> str:
    """The primary comparison, or the focus against the reference on each scope.

    Without either, the sentence reports the numbers of the reference.
    """
    rows = headline_rows(report)
    if not rows:
        return _rates_of_reference(report)
    # Many scopes of one verdict: what it leaves open is said once, for all of them.
    shares_more = len(rows) > 2 and len({row.verdict for row in rows}) == 1
    clauses = [
        _clause(report, row, not place, "" if shares_more else _more(row.verdict, [row]))
        for place, row in enumerate(rows)
    ]
    if shares_more and (more := _more(rows[0].verdict, rows)):
        clauses[-1] += more
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def headline_rows(report: Report) -> list[ArmComparison]:
    """The primary comparison; without one, the focus against the reference on each scope."""
    primary = [row for row in report.comparisons if row.is_primary]
    return primary or [
        row
        for row in report.comparisons
        if (row.arm, row.against) == (report.focus, report.reference)
    ]


def write_findings(report: Report) -> tuple[str, ...]:
    """The other comparisons: focus and controls, each arm and the reference, all and base."""
    shown = headline_rows(report)
    rows = [row for row in report.comparisons if row not in shown]
    found: list[str] = []
    for block, one in (
        ("focus", report.focus),
        ("reference", report.reference),
        ("base", report.base),
    ):
        inside = [row for row in rows if row.block == block]
        if one is not None:
            sentences = ONE_AGAINST_SEVERAL if block == "focus" else SEVERAL_AGAINST_ONE
            found += _share(sentences, report, one, inside)
    return tuple(found)


def _rates_of_reference(report: Report) -> str:
    reference = report.arm(report.reference)
    rates = [(row.total.success_rate, split_label(row.split)) for row in reference.results]
    words = [
        f"{percent(rate)} {percent_interval(rate)}".strip() + f" of the episodes on {split}"
        for rate, split in rates
    ]
    return (
        f"{reference.label} succeeds in {join_words(words)}. "
        "No other tuned arm was given to compare it with."
    )


def _clause(report: Report, row: ArmComparison, is_first: bool, more: str) -> str:
    assumption = assumption_text(row)
    text = CLAUSES[row.verdict][0 if is_first else 1].format(
        arm=report.arm(row.arm).label,
        against=report.arm(row.against).label,
        where=split_label(row.scope),
        how=difference_text(row),
        by=_by(row.verdict, row.within_margin, report),
        margin=stated_points(report.claims.margin),
        number="two" if sum(row.num_trainings) == 2 else sum(row.num_trainings),
        more=more,
    )
    return f"{assumption}, {text}" if assumption else text


def _share(
    sentences: dict[Verdict, str], report: Report, one: str, rows: Sequence[ArmComparison]
) -> Iterator[str]:
    """One sentence for all arms that have the same kind of verdict on the same scopes."""
    by_kind: dict[_Kind, dict[str, list[ArmComparison]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        side = _side(row) if row.verdict == "differ" else ""
        kind = _Kind(row.verdict, row.within_margin, assumption_text(row), side)
        other = row.against if row.arm == one else row.arm
        by_kind[kind][report.arm(other).label].append(row)
    order = list(sentences)
    for kind in sorted(by_kind, key=lambda kind: order.index(kind.verdict)):
        by_scopes: dict[str, dict[str, list[ArmComparison]]] = defaultdict(dict)
        for label, own in by_kind[kind].items():
            by_scopes[join_words([split_label(row.scope) for row in own])][label] = own
        for where, several in by_scopes.items():
            sentence = sentences[kind.verdict].format(
                one=report.arm(one).label,
                several=join_words(list(several)),
                where=where,
                side=kind.side,
                by=_by(kind.verdict, kind.within_margin, report),
                margin=stated_points(report.claims.margin),
                more=_more(kind.verdict, [row for own in several.values() for row in own]),
            )
            if kind.assumption:
                first = kind.assumption
                yield f"{first[:1].upper()}{first[1:]}: {sentence}."
            else:
                yield f"{sentence}."


def _side(row: ArmComparison) -> str:
    return "higher" if (row.success_difference.value or 0.0) > 0 else "lower"


def _by(verdict: Verdict, within_margin: WithinMargin | None, report: Report) -> str:
    if verdict in ("better", "worse") and within_margin == "alike":
        return f" by less than {stated_points(report.claims.margin)} points"
    return ""


def _more(verdict: Verdict, rows: Sequence[ArmComparison]) -> str:
    """What a verdict without a direction leaves open; over several rows, the most careful."""
    if verdict == "differ":
        known = [row.tipping_seed_sd for row in rows if row.tipping_seed_sd is not None]
        more = [tipping_text(min(known))] if len(known) == len(rows) else []
    else:
        found = [row.minimum_detectable for row in rows if row.minimum_detectable is not None]
        more = [power_text(max(found))] if len(found) == len(rows) else []
    decided = [row for row in rows if row.broken_as_failed and row.broken_as_failed.is_decisive]
    if decided:
        where = "" if len(decided) == len(rows) else f" in {len(decided)} of the {len(rows)}"
        more.insert(0, f"the episodes that broke decide it{where}")
    return "".join(f"; {part}" for part in more)
