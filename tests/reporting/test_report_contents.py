"""What the page shows beside success: curves, causes, skills, the paper; two kinds of claims."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.errors import RunError
from atlas.reporting.build_report import build_report
from atlas.reporting.measures.curves import budget_curves
from atlas.reporting.measures.training_method import TrainingMethod
from atlas.reporting.page.paper_figures import PAPER_ROWS
from atlas.reporting.page.paper_table import paper_pairs
from atlas.reporting.page.unit_tables import unit_table
from atlas.reporting.report import Report
from tests.reporting.conftest import SUITE_ARMS
from tests.reporting.synthetic_runs import RunFolders, read_built
from tests.reporting.synthetic_suites import SKILLS, MadeArm, make_suite_runs
from tests.run_folders import edit_manifest

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def test_arms_of_one_selector_are_a_curve_that_ends_where_all_steps_are_supervised(
    suite_report: Report,
) -> None:
    [curve] = budget_curves(suite_report)
    assert curve.title == "oracle"
    assert [arm.name for arm in curve.arms] == ["oracle-10", "oracle-30", "all"]


def test_budgets_are_compared_between_arms_of_one_ratio(suite_report: Report) -> None:
    [caution] = [note.text for note in suite_report.notes if "budget of tokens" in note.text]
    assert "oracle 30 % has 10 % more supervised tokens than random 30 %" in caution
    assert "oracle 10 %" not in caution


def test_arms_that_were_trained_in_another_way_are_not_one_curve(suite_report: Report) -> None:
    def changed(name: str, training: dict[str, float]) -> Report:
        arms = tuple(
            arm.model_copy(update={"method": arm.method.model_copy(update={"training": training})})
            if arm.name == name and arm.method
            else arm
            for arm in suite_report.arms
        )
        return suite_report.model_copy(update={"arms": arms})

    assert budget_curves(changed("oracle-30", {"learning_rate": 1.0})) == ()
    [curve] = budget_curves(changed("all", {"learning_rate": 1.0}))
    assert [arm.name for arm in curve.arms] == ["oracle-10", "oracle-30"]


def test_every_unit_has_a_row_for_each_arm(suite_report: Report) -> None:
    for scope in suite_report.scopes:
        units = [unit for unit in suite_report.units if unit.scope == scope.name]
        expected = scope.environments if len(scope.environments) > 1 else scope.groups
        assert len(units) == len(expected)
        assert sum(unit.num_tasks for unit in units) == scope.num_tasks
        table = unit_table(suite_report, scope)
        assert table.num_rows == len(units) * len(suite_report.arms)
        for unit in units:
            for one in unit.arms:
                assert (one.difference is None) == (one.arm == suite_report.reference)
                # The probability needs three trainings, as a claim about methods does.
                assert (one.improvement is None) == (one.claim != "methods")


def test_endings_are_those_of_the_episodes_and_examples_exist(
    suite: RunFolders, suite_report: Report
) -> None:
    out = suite.root.parent / "report"
    paths = {name: out / run.path for run in suite_report.runs for name in run.names}
    for arm in suite_report.arms:
        for found, scope in zip(arm.endings, suite_report.scopes, strict=True):
            runs = [name for name in paths if name.startswith(f"{arm.name}/")]
            inside = [name for name in runs if name.split("/evaluate/")[-1] in scope.splits]
            lines = [
                json.loads(line)
                for name in inside
                for line in (paths[name] / "episodes.jsonl").read_text().splitlines()
            ]
            statuses = Counter(line["outcome"]["status"] for line in lines)
            assert found.num_episodes == len(lines)
            assert found.count("success") == statuses["success"]
            assert found.count("step_limit") + found.count("other_limit") == statuses["truncated"]
            assert found.count("broke") + found.count("refused") == statuses["error"]
            ids = {line["id"] for line in lines}
            assert all(ending.example.episode in ids for ending in found.endings)


def test_crashes_are_shown_by_reason_and_rare_reasons_together(
    tmp_path: Path,
) -> None:
    reasons = [f"timeout after {n} s" for n in range(9)] + [f"fault {name}" for name in "abcdefg"]
    arms = (MadeArm("all", "all", 1.0, seeds=1),)
    made = make_suite_runs(
        tmp_path / "runs", arms, 1, 40, has_skills=False, reasons=reasons, crash_share=1.1
    )
    [endings] = read_built(made).arm("all").endings
    assert sum(ending.num_episodes for ending in endings.endings) == 40
    # Reasons that differ in a number only are one; beyond five, the others are together.
    assert len(endings.endings) == 6
    assert endings.endings[0].reason.startswith("timeout after ")
    assert endings.endings[-1].reason == "other reasons"


def test_base_skills_are_the_scores_of_the_items(suite: RunFolders, suite_report: Report) -> None:
    for arm, config in zip(suite_report.arms, suite.config.arms, strict=True):
        for skill in arm.skills:
            scores = [
                row["score"]
                for run in config.runs
                if run.skills
                for line in (run.skills / "items.jsonl").read_text().splitlines()
                if (row := json.loads(line))["task"] == skill.task
            ]
            assert skill.accuracy.value == pytest.approx(sum(scores) / len(scores))
            assert (skill.difference is None) == (arm.role == "base")
        assert [skill.task for skill in arm.skills] == list(SKILLS)


def test_base_skills_on_other_items_or_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    arms = (SUITE_ARMS[0], MadeArm("all", "all", 1.0, seeds=1))
    made = make_suite_runs(tmp_path / "runs", arms, 1, 3)
    base, tuned = made.config.arms
    swapped = tuned.runs[0].model_copy(update={"evaluations": tuned.runs[0].evaluations})
    items = base.runs[0].skills
    assert items is not None
    other = swapped.model_copy(update={"skills": items})
    # The untuned model has no digest, so nothing says that it is another checkpoint.
    tuned_by_other = tuned.model_copy(update={"runs": (other,)})
    edit_manifest(items, lambda content: content["inputs"]["model"].update(digest="0" * 64))
    with pytest.raises(RunError, match="did not ask the checkpoint"):
        build_report(
            made.config.model_copy(update={"arms": (base, tuned_by_other)}), tmp_path / "swapped"
        )
    path = items / "items.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    edit_manifest(items, lambda content: None)
    with pytest.raises(RunError, match="expected the same items"):
        build_report(made.config, tmp_path / "fewer")


@pytest.mark.parametrize(
    ("selector", "ratio", "selection", "held_in"),
    [
        ("all", None, {}, {60.52, 57.83, 56.20}),
        ("oracle", 0.3, {}, {65.91, 60.83, 57.72}),
        ("annotated", 0.3, {}, {65.91, 60.83, 57.72}),
        ("random", 0.3, {}, {59.90}),
        ("complement", 0.3, {}, {56.17}),
        ("perplexity", 0.3, {"selector.band": "high"}, {53.21}),
        ("perplexity", 0.3, {"selector.band": "low"}, set()),
        ("random", 0.2, {}, set()),
        ("random", None, {}, set()),
        ("critical", 0.3, {}, set()),
    ],
)
def test_an_arm_is_recognized_by_its_selector_settings_and_ratio(
    selector: str, ratio: float | None, selection: dict[str, str], held_in: set[float]
) -> None:
    method = TrainingMethod(
        selector=selector, ratio=ratio, selection=selection, training={}, model="m"
    )
    assert {row.held_in for row in PAPER_ROWS if row.is_of(method)} == held_in


def test_a_label_makes_no_arm_one_of_the_paper(make_runs: Callable[..., RunFolders]) -> None:
    labels = {"critical": "Random 30 %", "random": "Critical steps, 30 %", "all": "?"}
    report = read_built(make_runs(arms=("all", "critical", "random"), num_tasks=8, labels=labels))
    found = {(row.title, arm.name) for row, arm in paper_pairs(report)}
    assert found == {
        ("all steps", "all"),
        ("critical steps, 30 %", "critical"),
        ("random 30 %", "random"),
    }


def _body(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8").partition("</style>")[2]


def test_a_claim_about_checkpoints_has_no_color_and_says_what_it_is_about(
    folders: RunFolders, report: Report
) -> None:
    assert {row.claim for row in report.comparisons} == {"checkpoints"}
    body = _body(folders.root.parent / "report")
    assert not re.search(r'class="[^"]*\b(good|bad)\b', body)
    assert not re.search(r"\b(better|worse) than\b", body.partition("<details")[0])
    assert "about these checkpoints only" in body
    assert "these checkpoints differ" in body


def test_a_claim_about_methods_has_color_and_words_and_undecided_says_what_it_could_see(
    suite: RunFolders, suite_report: Report
) -> None:
    assert "methods" in {row.claim for row in suite_report.comparisons}
    verdicts = {row.verdict for row in suite_report.comparisons}
    body = _body(suite.root.parent / "report")
    assert bool(re.search(r'class="[^"]*\bgood\b', body)) == ("better" in verdicts)
    assert "undecided" in verdicts
    assert re.search(r"undecided[^(<]*\(could have seen \d+ points\)", body)
    for plot in (suite.root.parent / "report" / "plots").glob("differences-*.svg"):
        assert "The band is the margin" in body, plot
