"""What a verdict is about, what it needs, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from atlas.errors import RunError
from atlas.reporting.arms import Arm
from atlas.reporting.claims.compare_values import ArmValues, ComparisonSettings, compare_values
from atlas.reporting.claims.registrations import design_digest
from atlas.reporting.claims.settings import ClaimSettings, PrimaryComparison
from atlas.reporting.claims.verdicts import power_text, verdict_text, verdict_tone
from atlas.reporting.report import ArmComparison, Report
from atlas.statistics.checkpoint_difference import checkpoint_difference
from tests.reporting.made_arms import BASE, make_arm, report_on

SPLIT = "held_in_test"


def draw(rate: float, num_runs: int, num_tasks: int = 200, seed: int = 0) -> Any:
    """Successes [R, T] of tasks that differ in difficulty, the same for all arms."""
    hard = np.random.default_rng(99).normal(size=num_tasks)
    rng = np.random.default_rng([seed, round(1000 * rate)])
    shift = np.quantile(hard, rate)
    noise = rng.normal(scale=0.6, size=(num_runs, num_tasks))
    return (hard + noise < shift * 1.17).astype(float)


def arm(name: str, rate: float, num_runs: int, seed: int = 0, **settings: Any) -> Arm:
    return make_arm(name, {SPLIT: draw(rate, num_runs, seed=seed)}, **settings)


def design_of(names: Sequence[str], **claims: Any) -> dict[str, Any]:
    """A registered design with three seeds of each arm."""
    return {
        **ClaimSettings(**claims).model_dump(mode="json"),
        "reference": "all",
        "focus": next((name for name in names if name != "all"), None),
        "arms": {name: {"seeds": [1, 2, 3]} for name in names},
        "evaluate": {SPLIT: {}},
    }


def registered_arms(names: Sequence[str], registration: str | None) -> list[Arm]:
    """The base model and three trainings of each arm, started under this registration."""
    trained = [
        arm(name, 0.35, 3, seed=seed, registration=registration) for seed, name in enumerate(names)
    ]
    return [arm(BASE, 0.35, 1, seed=len(names)), *trained]


def only_row(report: Report) -> ArmComparison:
    [row] = report.comparisons
    return row


@pytest.mark.parametrize(
    ("num_runs", "claim"),
    [((1, 1), "checkpoints"), ((2, 2), "checkpoints"), ((3, 1), "methods"), ((3, 3), "methods")],
)
def test_a_verdict_is_about_methods_only_with_three_trainings_of_an_arm(
    num_runs: tuple[int, int], claim: str
) -> None:
    arms = (arm("all", 0.3, num_runs[0]), arm("critical", 0.75, num_runs[1], seed=1))
    report = report_on(arms)
    row = only_row(report)
    assert row.claim == claim
    assert row.verdict == ("better" if claim == "methods" else "differ")
    assert verdict_tone(row) == ("good" if claim == "methods" else "")
    assert (row.seed_sd is None) == (claim == "checkpoints")
    assert (row.tipping_seed_sd is None) == (claim == "methods")
    said = report.headline + " ".join(report.findings)
    assert ("better" in said) == (claim == "methods")
    assert ("only if seeds vary by less than" in said) == (claim == "checkpoints")


def test_three_trainings_of_a_third_arm_do_not_lend_the_right_to_a_claim_on_methods() -> None:
    arms = (arm("all", 0.3, 1), arm("critical", 0.75, 1, seed=1), arm("random", 0.3, 3, seed=2))
    rows = {(row.arm, row.against): row for row in report_on(arms).comparisons}
    assert rows["critical", "all"].claim == "checkpoints"
    assert rows["random", "all"].claim == "methods"
    assert rows["critical", "random"].claim == "methods"


def test_an_untuned_model_counts_as_exact() -> None:
    arms = (arm("base", 0.1, 1), arm("all", 0.3, 3), arm("critical", 0.4, 1, seed=1))
    report = report_on(arms)
    rows = {(row.arm, row.against): row for row in report.comparisons}
    assert rows["all", "base"].claim == "methods"
    assert rows["critical", "base"].claim == "checkpoints"
    assert any("was trained once" in note.text for note in report.notes)


def test_one_checkpoint_each_is_tested_exactly_and_says_when_it_would_tip() -> None:
    first, second = draw(0.3, 1), draw(0.45, 1, seed=1)
    arms = (make_arm("all", {SPLIT: first}), make_arm("critical", {SPLIT: second}))
    row = only_row(report_on(arms))
    expected = checkpoint_difference(second, first)
    assert row.p_value == expected.p_exact
    assert row.p_mid == expected.p_mid
    assert row.tipping_seed_sd == expected.tipping_sd
    assert row.p_adjusted == row.p_value, "it is the only verdict"


def test_an_assumed_sd_of_seeds_is_named_in_every_verdict_and_gives_no_color() -> None:
    arms = (arm("all", 0.3, 1), arm("critical", 0.75, 1, seed=1), arm("random", 0.35, 1, seed=2))
    report = report_on(arms, seed_sd=3.5, margin=5.0)
    assert {row.claim for row in report.comparisons} == {"assumed"}
    assert {row.seed_sd for row in report.comparisons} == {0.035}
    for row in report.comparisons:
        assert verdict_text(row, report.claims).endswith("if seeds vary by 3.5 points")
        assert verdict_tone(row) in ("", "muted")
    assert "better" in report.headline
    for sentence in (report.headline, *report.findings):
        assert "seeds vary by 3.5 points" in sentence
    assert any("rest on this assumption" in note.text for note in report.notes)


def test_an_assumption_is_not_used_where_trainings_show_the_noise() -> None:
    arms = (arm("all", 0.3, 3), arm("critical", 0.75, 3, seed=1))
    row = only_row(report_on(arms, seed_sd=30.0))
    assert row.claim == "methods"
    assert row.seed_sd != 0.3


def test_margins_give_alike_and_not_worse_and_never_from_no_difference() -> None:
    arms = tuple(arm(name, 0.3, 10, seed=seed) for seed, name in enumerate(("all", "critical")))
    without = only_row(report_on(arms))
    assert (without.verdict, without.within_margin) == ("undecided", None)
    assert only_row(report_on(arms, margin=20.0)).verdict == "alike"
    assert only_row(report_on(arms, margin=0.1)).verdict == "undecided"
    better = (arm("all", 0.3, 10), arm("critical", 0.33, 10, seed=3))
    row = only_row(report_on(better, margin=3.0))
    assert row.verdict in ("not_worse", "better")
    once = only_row(report_on((arm("all", 0.3, 1), arm("critical", 0.3, 1, seed=1)), margin=90.0))
    assert (once.verdict, once.within_margin) == ("no_difference", None)


def test_what_would_be_found_stands_beside_every_open_verdict() -> None:
    for num_runs in (1, 3):
        arms = tuple(
            arm(name, 0.3, num_runs, seed=seed)
            for seed, name in enumerate(("all", "critical", "random"))
        )
        report = report_on(arms)
        said = [report.headline, *report.findings]
        assert {row.verdict for row in report.comparisons} <= {"undecided", "no_difference"}
        assert all(row.minimum_detectable for row in report.comparisons)
        assert all("would be found in 80 % of such experiments" in text for text in said)
        assert not any("alike" in text for text in said)


def test_all_verdicts_are_one_family() -> None:
    arms = [arm("base", 0.1, 1)] + [
        arm(name, 0.35, 3, seed=seed) for seed, name in enumerate(("all", "critical", "random"))
    ]
    report = report_on(arms)
    rows = [row for row in report.comparisons if row.p_value is not None]
    assert report.claims.num_verdicts == len(rows) == 6
    smallest = min(rows, key=lambda row: row.p_value or 0.0)
    assert smallest.p_adjusted == pytest.approx(min(1.0, 6 * (smallest.p_value or 0.0)))


def test_a_registered_primary_comparison_has_half_of_the_error_rate_and_stands_first() -> None:
    primary = PrimaryComparison(arm="critical", against="random", split=SPLIT)
    names = ("all", "critical", "random", "other")
    design = design_of(names, primary=primary)

    def made(written: str | None, **settings: Any) -> Report:
        return report_on(registered_arms(names, written), primary=primary, **settings)

    kept = made(design_digest(design), design=design)
    first = kept.comparisons[0]
    assert (first.block, first.arm, first.against) == ("primary", "critical", "random")
    assert first.is_primary
    assert kept.headline.startswith("Arm critical against Arm random")
    assert kept.claims.registration == "kept"
    assert first.p_adjusted == pytest.approx(min(1.0, 2 * (first.p_value or 0)))
    pairs = [{row.arm, row.against} for row in kept.comparisons]
    assert pairs.count({"critical", "random"}) == 1, "it is in the family once"
    for status, report in {
        "not_registered": made(None),
        "changed": made("abc", design=design),
        "unchecked": made("abc"),
    }.items():
        assert report.claims.registration == status
        assert any("regist" in note.text and note.level == "caution" for note in report.notes), (
            status
        )
        p_values = [row.p_value or 0.0 for row in report.comparisons]
        if min(p_values) == p_values[0]:
            assert report.comparisons[0].p_adjusted == min(1.0, len(p_values) * p_values[0])
    left_out = ("training/all-seed4: started, but left out of this report",)
    cherries = made(design_digest(design), design=design, design_changes=left_out)
    assert cherries.claims.registration == "changed"
    [said] = [note.text for note in cherries.notes if left_out[0] in note.text]
    assert "verdicts are false more often than stated" in said


def test_a_verdict_that_rests_on_broken_episodes_is_not_given() -> None:
    rng = np.random.default_rng(0)
    values, lucky = draw(0.35, 3), draw(0.35, 3, seed=1)
    # The arm loses half of its failures, and none of its successes.
    lucky[(lucky == 0) & (rng.random(lucky.shape) < 0.5)] = np.nan
    report = report_on((make_arm("all", {SPLIT: values}), make_arm("critical", {SPLIT: lucky})))
    row = only_row(report)
    assert row.p_value is not None
    assert row.p_value < 0.05, "left out, it looks like a difference"
    assert row.verdict == "undecided"
    assert row.broken_as_failed is not None
    assert row.broken_as_failed.is_decisive
    assert row.broken_as_failed.success_difference.value == pytest.approx(0, abs=0.05)
    assert "the episodes that broke decide it" in report.headline
    whole = report_on((make_arm("all", {SPLIT: values}), arm("critical", 0.4, 3, seed=1)))
    assert only_row(whole).broken_as_failed is None


def test_repetitions_are_averaged_within_their_training() -> None:
    values = draw(0.35, 2)
    repeated = np.stack([np.stack([row, row, 1 - row]) for row in values])
    report = report_on((make_arm("all", {SPLIT: values}), make_arm("critical", {SPLIT: repeated})))
    row = only_row(report)
    assert row.claim == "checkpoints", "three repetitions are not three trainings"
    assert row.num_trainings == (2, 2)
    result = report.arm("critical").scopes[0]
    assert result.rates["tasks"].value == pytest.approx(np.mean(repeated))
    figures = result.repetitions
    assert figures is not None
    assert figures.num_repetitions == 3
    assert figures.flip_rate.value == pytest.approx(2 / 3)
    assert figures.pass_hat[1].value == pytest.approx(np.mean(repeated))
    assert figures.pass_hat[3].value == 0.0
    assert report.arm("all").scopes[0].repetitions is None


def test_macro_and_micro_averages_are_both_kept_and_the_verdict_is_on_the_stated_one() -> None:
    rng = np.random.default_rng(1)
    easy, hard = (
        (rng.random((3, 90)) < 0.9).astype(float),
        (rng.random((3, 10)) < 0.2).astype(float),
    )
    rings = {"a": "held_in", "b": "held_in"}
    arms = [
        make_arm("all", {"a": easy, "b": hard}, rings=rings),
        make_arm("critical", {"a": easy * 0, "b": hard}, rings=rings),
    ]
    by_tasks, by_worlds = (report_on(arms, average=by) for by in ("tasks", "environments"))
    assert [scope.name for scope in by_tasks.scopes] == ["held_in"]
    assert by_tasks.scopes[0].splits == ("a", "b")
    for report, average in ((by_tasks, "tasks"), (by_worlds, "environments")):
        row = only_row(report)
        assert row.average == average
        assert row.success_difference == row.averages[average]  # type: ignore[index]
    row = only_row(by_tasks)
    assert row.averages["tasks"].value == pytest.approx(-0.9 * easy.mean())
    assert row.averages["environments"].value == pytest.approx(-0.5 * easy.mean())
    rates = by_tasks.arm("all").scopes[0].rates
    assert rates["environments"].value == pytest.approx((easy.mean() + hard.mean()) / 2)


def test_generalizing_over_groups_needs_five_and_widens_the_interval() -> None:
    def made(num_groups: int, **settings: Any) -> Report:
        arms = [arm("all", 0.3, 3, num_groups=num_groups)]
        arms.append(arm("critical", 0.4, 3, seed=1, num_groups=num_groups))
        return report_on(arms, average="groups", **settings)

    with pytest.raises(RunError, match=r"has 4 groups of tasks, expected at least 5"):
        made(4, generalize_over="group")
    here, other = made(8), made(8, generalize_over="group")
    assert only_row(here).success_difference.value == pytest.approx(
        only_row(other).success_difference.value
    )
    assert any("not about other levels" in note.text for note in here.notes)
    assert any("about groups of tasks like these" in note.text for note in other.notes)
    with pytest.raises(ValueError, match="average: groups"):
        ClaimSettings(generalize_over="group")


def test_a_primary_comparison_on_an_unknown_split_is_refused() -> None:
    primary = PrimaryComparison(arm="critical", against="all", split="nowhere")
    with pytest.raises(RunError, match="primary comparison is on the split 'nowhere'"):
        report_on((arm("all", 0.3, 1), arm("critical", 0.4, 1)), primary=primary)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("num_tasks", [1, 2, 40])
@pytest.mark.parametrize("num_runs", [1, 3])
def test_arms_at_a_limit_give_no_verdict_of_a_difference(
    value: float, num_tasks: int, num_runs: int
) -> None:
    values = np.full((num_runs, num_tasks), value)
    report = report_on([make_arm(name, {SPLIT: values}) for name in ("all", "critical")])
    row = only_row(report)
    assert row.verdict in ("undecided", "no_difference")
    assert row.success_difference.value == 0.0
    gap = [make_arm("all", {SPLIT: values}), make_arm("critical", {SPLIT: values * np.nan})]
    assert only_row(report_on(gap)).verdict == "untested"


def test_a_training_whose_episodes_all_broke_is_not_a_training_that_was_seen() -> None:
    broken = np.full((2, 200), np.nan)
    first = np.concatenate([draw(0.3, 1), broken])
    second = np.concatenate([draw(0.6, 2, seed=1), broken[:1]])
    row = only_row(report_on((make_arm("all", {SPLIT: first}), make_arm("b", {SPLIT: second}))))
    assert (row.claim, row.num_trainings) == ("checkpoints", (2, 1))


def test_a_certain_difference_keeps_an_interval_with_a_width() -> None:
    """2^-59 is the least p of 60 tasks; 1 - 2^-59 is 1, whose quantile is infinite."""
    arms = (make_arm("all", {SPLIT: np.zeros((3, 60))}), make_arm("b", {SPLIT: np.ones((3, 60))}))
    row = only_row(report_on(arms, margin=5.0))
    value, low, high = (getattr(row.success_difference, name) for name in ("value", "low", "high"))
    assert (row.verdict, value, high) == ("better", 1.0, 1.0)
    assert 0.8 < low < 0.98
    assert row.minimum_detectable


@pytest.mark.parametrize("num_runs", [1, 3])
def test_groups_that_broke_leave_no_verdict_on_groups(num_runs: int) -> None:
    """Four of ten groups were played: their 16 tasks are not the unit."""
    values = np.full((num_runs, 40), np.nan)
    values[:, np.arange(40) % 10 < 4] = 1.0
    arms = (
        make_arm("all", {SPLIT: np.zeros((num_runs, 40))}, num_groups=10),
        make_arm("critical", {SPLIT: values}, num_groups=10),
    )
    row = only_row(report_on(arms, average="groups", generalize_over="group"))
    assert row.verdict == "no_difference"
    assert row.p_value == 1.0
    assert row.success_difference.low is None
    assert row.success_difference.value == 1.0


def test_the_noise_of_groups_is_that_of_their_tasks() -> None:
    """A group of 40 tasks is not one episode."""
    arms = tuple(
        make_arm(name, {SPLIT: draw(rate, 3, seed=seed)}, num_groups=5)
        for seed, (name, rate) in enumerate((("all", 0.3), ("critical", 0.7)))
    )
    difference = only_row(
        report_on(arms, average="groups", generalize_over="group")
    ).success_difference
    assert difference.low is not None
    assert difference.value is not None
    assert difference.value - difference.low < 0.2


def test_an_outside_model_is_not_a_training_of_a_method() -> None:
    """It is one model that was evaluated as it is, so it has no noise of training."""
    other = make_arm("outside", {SPLIT: draw(0.4, 1, seed=7)})
    run = replace(other.runs[0], training=None)
    arms = (arm("base", 0.1, 1), arm("all", 0.3, 3), replace(other, runs=(run,)))
    report = report_on(arms)
    rows = {(row.arm, row.against): row for row in report.comparisons}
    assert rows["outside", "all"].claim == "methods"
    assert rows["outside", "base"].claim == "checkpoints"
    assert rows["outside", "base"].tipping_seed_sd is None
    assert not any("trained once" in note.text for note in report.notes)
    assumed = report_on(arms, seed_sd=3.0)
    assert {(row.arm, row.claim) for row in assumed.comparisons if row.against == "base"} == {
        ("all", "methods"),
        ("outside", "checkpoints"),
    }


def test_no_sentence_promises_a_difference_above_all_points() -> None:
    assert power_text(1.2).startswith("no difference, however large, would be found")


def test_a_registration_is_kept_in_any_order_of_seeds_and_if_it_is_older_than_a_setting() -> None:
    names = ("all", "critical")
    design = design_of(names)
    design["arms"]["critical"]["seeds"] = [3, 1, 2]
    for name in ("average", "generalize_over"):
        older = {key: value for key, value in design.items() if key != name}
        arms = registered_arms(names, design_digest(older))
        assert report_on(arms, design=older).claims.registration == "kept"
        assert report_on(arms, design=older, average="groups").claims.registration == "changed"


@pytest.mark.parametrize(
    "changes",
    [
        {"margin": 20.0},
        {"margin": None},
        {"primary": PrimaryComparison(arm="random", against="all", split=SPLIT)},
        {"seed_sd": 1.0},
        {"average": "groups"},
        {"confidence": 0.9},
        {"reference": "critical"},
    ],
)
def test_a_registration_is_not_kept_by_a_report_with_other_claims(changes: dict[str, Any]) -> None:
    """The digest in a recipe proves nothing: the claims beside it may have been edited."""
    names = ("all", "critical", "random")
    primary = PrimaryComparison(arm="critical", against="all", split=SPLIT)
    design = design_of(names, primary=primary, margin=5.0)
    arms = registered_arms(names, design_digest(design))
    settings = {"primary": primary, "margin": 5.0, "design": design}
    assert report_on(arms, **settings).claims.registration == "kept"
    given = {"reference": "all", **settings, **changes}
    assert report_on(arms, **given).claims.registration == "changed"
    *others, last = arms
    left_out = {
        "an arm": others,
        "the base model": arms[1:],
        "a seed": [*others, replace(last, runs=last.runs[:2])],
        "its place among the arms": [arms[0], arms[1], last, arms[2]],
    }
    for what, given_arms in left_out.items():
        assert report_on(given_arms, **settings).claims.registration == "changed", what
    again = replace(last.runs[2], identities=frozenset({"another"}))
    twice = [*others, replace(last, runs=(*last.runs, again))]
    assert report_on(twice, **settings).claims.registration == "changed"


def test_a_margin_is_judged_as_the_limits_of_the_interval_lie() -> None:
    rng = np.random.default_rng(4)
    seen = set()
    for seed in range(40):
        arms = [
            ArmValues(name, draw(rate, 3, 100, seed + place), True)
            for place, (name, rate) in enumerate((("a", 0.4), ("b", rng.choice([0.3, 0.4, 0.5]))))
        ]
        margin = float(rng.uniform(0.02, 0.3))
        found = compare_values(*arms, arms, ComparisonSettings(None, None, margin, None, 0.95))
        low, high = found.difference.limits or (-1.0, 1.0)
        assert ((found.p_worse or 1.0) < 0.05) == (low > -margin)
        assert ((found.p_better or 1.0) < 0.05) == (high < margin)
        seen.add((low > -margin, high < margin))
    assert len(seen) > 2


def test_a_direction_that_another_average_turns_around_is_a_caution() -> None:
    """Better on many tasks of an easy world, far worse on few tasks of another."""
    first, second = draw(0.3, 3), draw(0.75, 3, seed=1)
    easy, hard = {"a": "held_in", "b": "held_in"}, np.zeros((3, 8))
    arms = (
        make_arm("all", {"a": first, "b": hard + 1}, rings=easy),
        make_arm("critical", {"a": second, "b": hard}, rings=easy),
    )
    for average in ("tasks", "environments"):
        report = report_on(arms, average=average)
        assert only_row(report).verdict == ("better" if average == "tasks" else "worse")
        [note] = [note for note in report.notes if "the direction depends" in note.text]
        assert note.level == "caution"
    same = report_on((make_arm("all", {SPLIT: first}), make_arm("critical", {SPLIT: second})))
    assert not any("the direction depends" in note.text for note in same.notes)


def test_an_entry_of_a_registered_suite_may_not_be_left_out() -> None:
    names, splits = ("all", "critical"), ("a", "b")
    suite = {f"suite.entries.{split}.ring": "held_in" for split in splits}
    design = design_of(names) | {"evaluate": {"suite": suite | {"seed": 0}}}

    def status(*played: str) -> str:
        values, rings = {split: draw(0.3, 3) for split in played}, dict.fromkeys(played, "held_in")
        arms = [
            make_arm(name, values, rings=rings, registration=design_digest(design))
            for name in (BASE, *names)
        ]
        return report_on(arms, design=design).claims.registration

    assert status("a", "b") == "kept"
    assert status("a") == "changed"
