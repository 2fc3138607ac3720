"""Notes on what the verdicts are about, what they rest on, and how sure they are together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from atlas.errors import RunError
from atlas.presenting.wording import join_words, points, thousands
from atlas.reporting.arms import Arm, is_method
from atlas.reporting.claims.compare_values import FEWEST_TRAININGS
from atlas.reporting.claims.settings import Average
from atlas.reporting.claims.verdicts import (
    assumption_text,
    plain_points,
    split_label,
    stated_points,
)
from atlas.reporting.identities import share_trainings
from atlas.reporting.report import Report
from atlas.store.manifests import MANIFEST_FILE, Manifest, parse_manifest

# Changes of the design that are listed.
MAX_CHANGES = 8
COUNTED: dict[Average, str] = {
    "tasks": "tasks",
    "environments": "environments",
    "groups": "levels",
}


def claim_cautions(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    """What a verdict cannot say, or rests on."""
    yield from _about_checkpoints(arms, report)
    yield from _assumptions(report)
    yield from _registration(report)
    yield from _averages(report)
    yield from _one_draw(arms)
    yield from _borrowed(arms, report)
    for one, other in combinations(arms, 2):
        if share_trainings(one, other):
            yield (
                f"{one.label} and {other.label} have a checkpoint in common, so a difference "
                "between them is not one of trainings."
            )


def claim_infos(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    """How to read the verdicts."""
    yield from _seeds(arms, report)
    yield from _repetitions(report)
    yield from _family(report)
    yield from _tasks(report)


def _about_checkpoints(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    tested = [row for row in report.comparisons if row.verdict != "untested"]
    num_about = sum(row.claim == "checkpoints" for row in tested)
    if not num_about:
        return
    if report.claims.trainings == "unknown":
        yield (
            "These results were made elsewhere, and a log does not say how its model was trained. "
            "Verdicts are about these models (checkpoints), not about the methods that made them. "
            f"A verdict on methods needs {FEWEST_TRAININGS} results of different trainings of an "
            "arm, stated with results_are=trainings, or the setting seed_sd."
        )
        return
    trained = {len(arm.runs) for arm in arms if is_method(arm, report.base)}
    if trained == {1}:
        yield (
            "There is one training seed per arm. Verdicts are about these checkpoints, not about "
            "the methods that trained them: with another seed the numbers will differ, and arms "
            f"may come out in another order. A verdict on methods needs {FEWEST_TRAININGS} "
            "different trainings of an arm, or the setting seed_sd."
        )
    else:
        which = f"{'All' if num_about == len(tested) else num_about} of the {len(tested)}"
        verb = "is" if num_about == 1 else "are"
        yield (
            f"{f'{which} comparisons {verb}' if len(tested) > 1 else 'The comparison is'} about "
            "the checkpoints that were played, not about methods: both arms have fewer than "
            f"{FEWEST_TRAININGS} different trainings with valid episodes, or nothing shows how "
            "much trainings vary at such rates."
        )


def _assumptions(report: Report) -> Iterator[str]:
    if not any(assumption_text(row) for row in report.comparisons):
        return
    measured = [
        f"{plain_points(noise.seed_sd.value)} on {split_label(noise.scope)}"
        for noise in report.seed_noise
    ]
    known = (
        f"the trainings of this report vary by {join_words(measured)} (estimated from few)"
        if measured
        else "nothing in this report measures it"
    )
    yield (
        f"Verdicts 'if seeds vary by {stated_points(report.claims.seed_sd)} points' rest on this "
        f"assumption (setting seed_sd): {known}."
    )


def _registration(report: Report) -> Iterator[str]:
    match report.claims.registration:
        case "changed":
            changes = report.claims.design_changes
            listed = "; ".join(changes[:MAX_CHANGES])
            more = f"; and {len(changes) - MAX_CHANGES} more" if len(changes) > MAX_CHANGES else ""
            yield (
                "The registered design was changed after trainings had started"
                + (f" ({listed}{more}). " if changes else ": they have another one, or none; or ")
                + ("" if changes else "this report has other claims, arms, seeds or splits. ")
                + "If results were seen before (for example, if seeds are added until a difference "
                "is found), verdicts are false more often than stated."
            )
        case "unchecked":
            yield (
                "The trainings have a registration of their design, but this report was not made "
                "by 'atlas run', so it cannot say whether the design was kept."
            )
        case "not_registered" if report.claims.primary or report.claims.margin:
            yield (
                "The primary comparison and the margin were not registered before the trainings: "
                "they may have been chosen after the results were seen."
            )
        case _:
            return


def _averages(report: Report) -> Iterator[str]:
    """Verdicts with a direction that another average turns around."""
    for row in report.comparisons:
        value = row.success_difference.value
        if row.verdict not in ("better", "worse", "differ") or value is None:
            continue
        others = [
            f"{points(other)} points if {COUNTED[average]} count alike"
            for average, other in row.averages.items()
            if other.value is not None and other.value * value < 0
        ]
        if others:
            yield (
                f"{report.arm(row.arm).label} against {report.arm(row.against).label} on "
                f"{split_label(row.scope)}: the direction depends on the average. The difference "
                f"is {points(row.success_difference)} points if {COUNTED[row.average]} count "
                f"alike, and {join_words(others)}."
            )


def _one_draw(arms: Sequence[Arm]) -> Iterator[str]:
    by_number: dict[int, list[str]] = defaultdict(list)
    for arm in arms:
        folders = [training.data.selection_folder for training in arm.trainings if training.data]
        draws = [folder for folder in folders if _draws(folder.path, folder.manifest)]
        if len(draws) > 1 and len({folder.manifest.digest for folder in draws}) == 1:
            by_number[len(draws)].append(arm.label)
    for number, labels in by_number.items():
        whose = "Its selection" if len(labels) == 1 else "The selection of each"
        yield (
            f"{join_words(labels)}: one draw. {whose} was drawn once for {number} trainings, "
            "so the noise of drawing is in no interval. Draw a selection for each training seed."
        )


def _draws(run: Path, manifest: Manifest) -> bool:
    """Whether a selection would differ with another seed, or is fed by one that would."""
    is_drawn = bool(manifest.summary.get("chosen_by", {}).get("draws"))
    return is_drawn or any(_draws(*fed) for fed in _fed_by(run, manifest))


def _fed_by(run: Path, manifest: Manifest) -> Iterator[tuple[Path, Manifest]]:
    """The selections that a selection was made from, those that are still there."""
    for given in manifest.inputs.values():
        folder = run / given.path
        with suppress(RunError):
            if (folder / MANIFEST_FILE).exists():
                fed = parse_manifest(folder / MANIFEST_FILE)
                if fed.command == "select":
                    yield folder, fed


def _borrowed(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    trained = {arm.name: arm for arm in arms if is_method(arm, report.base)}
    single = dict.fromkeys(
        trained[name].label
        for row in report.comparisons
        if row.claim == "methods"
        for name in (row.arm, row.against)
        if name in trained and len(trained[name].runs) == 1
    )
    if single:
        yield (
            f"{join_words(list(single))} {'was' if len(single) == 1 else 'were'} trained once. "
            "Verdicts take its noise of training from the arms that were trained several times."
        )


def _seeds(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    trained = [arm for arm in arms if arm.name != report.base]
    counts = [f"{arm.label} {len(arm.runs)}" for arm in trained if len(arm.runs) > 1]
    if not counts:
        return
    if len(trained) > 2 and len({len(arm.runs) for arm in trained}) == 1:
        counts = [f"{len(trained[0].runs)} of each tuned arm"]
    noise = [
        f"{plain_points(one.seed_sd.value)} points on {split_label(one.scope)}"
        for one in report.seed_noise
    ]
    text = f"Different trainings: {join_words(counts)}."
    if noise:
        text += (
            f" Success varies between trainings of an arm by an SD of {join_words(noise)}, over "
            "all arms. The interval of a verdict on methods contains the SD of arms with rates "
            "like those that it compares."
        )
    yield text


def _repetitions(report: Report) -> Iterator[str]:
    most = max(
        (
            result.repetitions.num_repetitions
            for arm in report.arms
            for result in arm.scopes
            if result.repetitions
        ),
        default=1,
    )
    if most > 1:
        yield (
            f"Checkpoints played a task up to {most} times. Repetitions are averaged within their "
            "checkpoint; they are not further seeds."
        )


def _family(report: Report) -> Iterator[str]:
    number = report.claims.num_verdicts
    if not number:
        return
    alpha = 100 * round(1 - report.confidence, 9)
    text = (
        f"The {thousands(number)} verdicts of this report are one family: the probability that any "
        f"of them is false is at most {alpha:g} %. P-values are adjusted for it (Holm 1979), and "
        f"differences that would be found are given with it. Intervals are "
        f"{100 * report.confidence:g} % each, not all at once."
        if number > 1
        else f"The verdict of this report is false with a probability of at most {alpha:g} %."
    )
    if number > 1 and report.claims.primary and report.claims.registration == "kept":
        text += (
            f" The primary comparison was registered before the trainings and has {alpha / 2:g} % "
            "of it; the others share the rest."
        )
    yield text
    if report.claims.registration == "kept":
        yield "The design was registered before the trainings started, and was kept."


def _tasks(report: Report) -> Iterator[str]:
    if not report.claims.num_verdicts:
        return
    about = [
        f"{split_label(scope.name)}: {_number(len(scope.groups), 'level')}"
        + (f" of {len(scope.environments)} environments" if len(scope.environments) > 1 else "")
        for scope in report.scopes
    ]
    if report.claims.generalize_over == "group":
        about_what = (
            f"Verdicts are about groups of tasks like these ({join_words(about)}): the groups are "
            "the sample."
        )
    else:
        about_what = (
            f"Verdicts are about other tasks of these levels ({join_words(about)}), not about "
            "other levels or environments."
        )
    yield (
        f"{about_what} In the difference of a verdict, {COUNTED[report.claims.average]} count "
        "alike; other averages are shown beside it. Levels are not tested one by one."
    )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
