"""Comparisons -> the headline and the findings as text. Every sentence is based on a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from atlas.presenting.wording import join_words, percent, percent_interval
from atlas.reporting.report import ArmComparison, ArmVerdict, Family, Report
from atlas.reporting.verdicts import difference_text, split_label

# The text for a verdict in the headline: for the first clause, which names both arms, and for later
# clauses.
CLAUSES: dict[ArmVerdict, tuple[str, str]] = {
    "better": ("{arm} beats {against} on {where}: {how}", "on {where} it is better: {how}"),
    "worse": (
        "{arm} falls behind {against} on {where}: {how}",
        "on {where} it falls behind: {how}",
    ),
    "not_corrected": (
        "{arm} and {against} are apart on {where} ({how}), though not after correction for the "
        "number of comparisons",
        "on {where} they are apart ({how}), though not after correction for the number of "
        "comparisons",
    ),
    "none": (
        "no difference between {arm} and {against} could be shown on {where} ({how})",
        "on {where} no difference could be shown ({how})",
    ),
    "untested": (
        "{arm} and {against} have no task with a valid episode in both on {where}",
        "on {where} they have no task with a valid episode in both",
    ),
}
# The text for a verdict that several arms share: one arm against others, and others against one.
ONE_AGAINST_SEVERAL: dict[ArmVerdict, str] = {
    "better": "{one} is better than {several} on {where}.",
    "worse": "{one} is worse than {several} on {where}.",
    "not_corrected": "{one} is apart from {several} on {where}, though not after correction for "
    "the number of comparisons.",
    "none": "No difference between {one} and {several} could be shown on {where}.",
    "untested": "{one} has no task with a valid episode in common with {several} on {where}.",
}
SEVERAL_AGAINST_ONE: dict[ArmVerdict, str] = {
    "better": "Better than {one} on {where}: {several}.",
    "worse": "Worse than {one} on {where}: {several}.",
    "not_corrected": "Apart from {one} on {where}, though not after correction for the number of "
    "comparisons: {several}.",
    "none": "No difference to {one} could be shown on {where}: {several}.",
    "untested": "No task with a valid episode in common with {one} on {where}: {several}.",
}


def write_headline(report: Report) -> str:
    """One sentence: the focus against the reference on each split.

    Without a focus, the sentence reports the numbers of the reference.
    """
    reference = report.arm(report.reference)
    if report.focus is None:
        rates = [(row.total.success_rate, split_label(row.split)) for row in reference.results]
        words = [
            f"{percent(rate)} {percent_interval(rate)}".strip() + f" of the episodes on {split}"
            for rate, split in rates
        ]
        return (
            f"{reference.label} succeeds in {join_words(words)}. "
            "No other tuned arm was given to compare it with."
        )
    clauses: list[str] = []
    for row in report.comparisons:
        if row.family == "reference" and row.arm == report.focus:
            clause = CLAUSES[row.verdict][1 if clauses else 0].format(
                arm=report.arm(report.focus).label,
                against=reference.label,
                where=split_label(row.split),
                how=difference_text(row),
            )
            clauses.append(clause)
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def write_findings(report: Report) -> tuple[str, ...]:
    """The other comparisons: focus and controls, controls and reference, all and base."""
    rows: dict[Family, list[tuple[str, ArmComparison]]] = defaultdict(list)
    for row in report.comparisons:
        if row.family != "reference" or row.arm != report.focus:
            other = row.against if row.family == "focus" else row.arm
            rows[row.family].append((report.arm(other).label, row))
    return (
        *_share(ONE_AGAINST_SEVERAL, report, report.focus, rows["focus"]),
        *_share(SEVERAL_AGAINST_ONE, report, report.reference, rows["reference"]),
        *_share(SEVERAL_AGAINST_ONE, report, report.base, rows["base"]),
    )


def _share(
    sentences: Mapping[ArmVerdict, str],
    report: Report,
    one: str | None,
    rows: Sequence[tuple[str, ArmComparison]],
) -> Iterator[str]:
    """One sentence for all arms that have the same verdict on the same splits.

    `rows` holds the comparisons of the arm `one`, each with the label of the other arm.
    """
    if one is None:
        return
    label_of_one = report.arm(one).label
    for verdict, sentence in sentences.items():
        splits_of_arm: dict[str, list[str]] = defaultdict(list)
        for label, row in rows:
            if row.verdict == verdict:
                splits_of_arm[label].append(split_label(row.split))
        arms_of_splits: dict[str, list[str]] = defaultdict(list)
        for label, splits in splits_of_arm.items():
            arms_of_splits[join_words(splits)].append(label)
        for where, several in arms_of_splits.items():
            yield sentence.format(one=label_of_one, several=join_words(several), where=where)
