"""Comparisons -> the headline and the findings in words. Every sentence follows from a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from atlas.presenting.wording import join_words, percent, percent_interval
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import ArmComparison, ArmReport, ArmVerdict
from atlas.reporting.verdicts import difference_text, split_label

# The words of a verdict in the headline: in its first clause, which names both arms, and in later
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
# The words of a verdict that several arms share: one arm against others, and others against one.
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


def write_headline(
    arms: Sequence[ArmReport], comparisons: Sequence[ArmComparison], config: ReportConfig
) -> str:
    """One sentence: the focus against the reference on each split.

    Without a focus the sentence holds the numbers of the reference.
    """
    labels = {arm.name: arm.label for arm in arms}
    focus, reference = config.focus_arm, config.reference
    if focus is None:
        results = next(arm.results for arm in arms if arm.name == reference)
        rates = [(result.total.success_rate, split_label(result.split)) for result in results]
        words = [
            f"{percent(rate)} {percent_interval(rate)}".strip() + f" of the episodes on {split}"
            for rate, split in rates
        ]
        return (
            f"{labels[reference]} succeeds in {join_words(words)}. "
            "No other tuned arm was given to compare it with."
        )
    rows = [row for row in comparisons if row.family == "reference" and row.arm == focus]
    clauses = [
        CLAUSES[row.verdict][min(index, 1)].format(
            arm=labels[focus],
            against=labels[reference],
            where=split_label(row.split),
            how=difference_text(row),
        )
        for index, row in enumerate(rows)
    ]
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def write_findings(
    arms: Sequence[ArmReport], comparisons: Sequence[ArmComparison], config: ReportConfig
) -> tuple[str, ...]:
    """The other comparisons: focus and controls, controls and reference, all and base."""
    labels = {arm.name: arm.label for arm in arms}
    controls = [(labels[row.against], row) for row in comparisons if row.family == "focus"]
    to_reference, to_base = (
        [
            (labels[row.arm], row)
            for row in comparisons
            if row.family == family and (family, row.arm) != ("reference", config.focus_arm)
        ]
        for family in ("reference", "base")
    )
    return (
        *_share(ONE_AGAINST_SEVERAL, labels.get(config.focus_arm or "", ""), controls),
        *_share(SEVERAL_AGAINST_ONE, labels[config.reference], to_reference),
        *_share(SEVERAL_AGAINST_ONE, labels.get(config.base or "", ""), to_base),
    )


def _share(
    sentences: Mapping[ArmVerdict, str], one: str, rows: Sequence[tuple[str, ArmComparison]]
) -> Iterator[str]:
    """A sentence for each verdict and all the arms that have it on the same splits.

    `rows` holds the comparisons of `one`, each with the label of the other arm.
    """
    for verdict, sentence in sentences.items():
        splits_of_arm: dict[str, list[str]] = defaultdict(list)
        for label, row in rows:
            if row.verdict == verdict:
                splits_of_arm[label].append(split_label(row.split))
        arms_of_splits: dict[str, list[str]] = defaultdict(list)
        for label, splits in splits_of_arm.items():
            arms_of_splits[join_words(splits)].append(label)
        for where, several in arms_of_splits.items():
            yield sentence.format(one=one, several=join_words(several), where=where)
