"""The numbers of a report equal those of the episode files, and name where they come from."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from atlas.evaluation.metrics import summarize_episodes
from atlas.presenting.wording import DASH, PERCENT
from atlas.records import CRITICAL_KINDS
from atlas.reporting.arms import Arm
from atlas.reporting.config import ArmRun
from atlas.reporting.measures.budgets import measure_silencing
from atlas.reporting.page.training_tables import silencing_table
from atlas.reporting.report import Report
from atlas.store.run_folders import read_manifest
from tests.reporting.synthetic_runs import RunFolders, read_built

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def _numbers(value: Any) -> Iterator[dict[str, Any]]:
    """Every number of report.json, wherever it stands."""
    if isinstance(value, dict):
        if "sources" in value and "method" in value:
            yield value
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)


def test_numbers_equal_a_recomputation_from_the_episode_files(
    folders: RunFolders, report: Report
) -> None:
    for arm in report.arms:
        for result in arm.results:
            metrics = summarize_episodes(folders.episodes(arm.name, result.split))
            for group, counts in {"": result.total, **result.groups}.items():
                expected = metrics.groups[group] if group else metrics
                assert counts.num_success.value == expected.num_success
                assert counts.num_truncated.value == expected.num_truncated
                assert counts.num_invalid.value == expected.num_errors
                for limit in ("value", "low", "high"):
                    assert getattr(counts.success_rate, limit) == pytest.approx(
                        getattr(expected.success_rate, limit)
                    )
                assert counts.mean_score.value == pytest.approx(expected.mean_score.value)
                assert counts.mean_steps.value == pytest.approx(expected.mean_steps.value)


def test_paired_difference_equals_a_recomputation_from_the_episode_files(
    folders: RunFolders, report: Report
) -> None:
    for row in report.comparisons:
        outcomes = [
            {e.task.id: e.outcome for e in folders.episodes(arm, row.scope)}
            for arm in (row.arm, row.against)
        ]
        both = [
            task
            for task in outcomes[0]
            if outcomes[0][task].is_valid and outcomes[1][task].is_valid
        ]
        differences = [
            (outcomes[0][task].status == "success") - (outcomes[1][task].status == "success")
            for task in both
        ]
        assert row.success_difference.value == pytest.approx(np.mean(differences))
        assert (row.num_tasks, row.num_higher, row.num_lower) == (
            len(both),
            differences.count(1),
            differences.count(-1),
        )


def test_every_number_names_a_run_a_file_and_a_field_that_exist(
    folders: RunFolders, report: Report
) -> None:
    out = folders.root.parent / "report"
    paths = {name: out / run.path for run in report.runs for name in run.names}
    numbers = list(_numbers(json.loads((out / "report.json").read_text())))
    assert len(numbers) > 300
    for source in {source for number in numbers for source in number["sources"]}:
        place, _, field = source.partition("#")
        run, _, file = place.rpartition("/")
        assert (paths[run] / file).is_file(), source
        if file == "manifest.json":
            assert field.removeprefix("summary.") in read_manifest(paths[run]).summary


def test_rate_over_several_seeds_counts_each_task_once(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("all", "random"), num_tasks=60, num_seeds=3)
    rate = read_built(folders).arm("random").results[0].total.success_rate
    by_task: dict[str, list[bool]] = {}
    for seed in range(3):
        for episode in folders.episodes("random", "held_in_test", seed):
            if episode.outcome.is_valid:
                by_task.setdefault(episode.task.id, []).append(episode.outcome.status == "success")
    assert rate.value == pytest.approx(
        np.mean([np.mean(outcomes) for outcomes in by_task.values()])
    )


def test_zero_valid_episodes_are_shown_as_unknown_and_not_as_zero(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(
        arms=("all", "random"), splits=("held_in_test",), num_tasks=10, error_share=1.1
    )
    report = read_built(folders)
    counts = report.arm("random").results[0].total
    assert counts.success_rate.value is None
    assert counts.num_invalid.value == 10
    assert [row.verdict for row in report.comparisons] == ["untested"]
    assert "no task with a valid episode in both" in report.headline
    page = (folders.root.parent / "report" / "report.html").read_text()
    assert "nan" not in re.sub(r"<[^>]*>", "", page.split("</style>")[1]).lower().split()
    problems = (folders.root.parent / "report" / "problems.jsonl").read_text().splitlines()
    assert len(problems) == 10


def test_errors_are_a_caution_and_never_failures(make_runs: Callable[..., RunFolders]) -> None:
    report = read_built(make_runs(num_tasks=60, error_share=0.2))
    counts = report.arm("random").results[0].total
    assert counts.num_invalid.value
    assert counts.num_valid.value == 60 - counts.num_invalid.value
    assert any(
        "Episodes that broke" in note.text and note.level == "caution" for note in report.notes
    )


def test_arms_that_are_the_same_show_no_difference(make_runs: Callable[..., RunFolders]) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=20)
    reference, critical = folders.config.arms
    twin = critical.model_copy(
        update={"runs": (ArmRun(evaluations=reference.runs[0].evaluations),)}
    )
    report = read_built(folders, arms=(reference, twin))
    assert report.headline.startswith("No difference is shown between these two checkpoints")
    assert all(row.p_value == 1.0 and row.verdict == "no_difference" for row in report.comparisons)
    for row in report.comparisons:  # 20 tasks without a difference do not prove that there is none
        low, high = row.success_difference.limits or (0.0, 0.0)
        assert low == pytest.approx(-high)
        assert high > 0.05
    assert any("have a checkpoint in common" in note.text for note in report.notes)


def test_selected_steps_are_counted_by_tenth_and_by_kind(
    folders: RunFolders, report: Report
) -> None:
    profile = report.arm("critical").selection
    assert profile is not None
    lines = (folders.paths["annotated"] / "selections.jsonl").read_text().splitlines()
    selections = [json.loads(line) for line in lines]
    middles = [
        Fraction(2 * step["index"] + 1, 2 * selection["num_steps"])
        for selection in selections
        for step in selection["critical_steps"]
    ]
    tenths = Counter(int(10 * middle) for middle in middles)
    assert [part.num_selected for part in profile.bins] == [tenths[index] for index in range(10)]
    assert (
        sum(part.num_steps for part in profile.bins)
        == profile.num_steps
        == sum(s["num_steps"] for s in selections)
    )
    assert sum(profile.kinds.values()) == profile.num_selected == profile.num_selected_annotated


def test_silenced_tokens_are_reported_by_kind_for_arms_that_have_an_objective(
    folders: RunFolders, report: Report
) -> None:
    found = report.arm("critical").silencing
    assert found is not None
    assert found.objective == "dft"
    assert found.mean_factor.value == 0.7
    shares = {row: share.value for row, share in found.shares.items()}
    kinds = dict(zip(CRITICAL_KINDS, (0.5, 0.25, 0.125), strict=False))
    assert shares == {"all": 0.2, **kinds}, "a kind without tokens has no share"
    assert report.arm("all").silencing is None
    table = silencing_table(report)
    (row,) = table.groups[0].rows
    texts = [cell.text for cell in row.cells]
    assert texts[1:4] == ["dft", f"20.0{PERCENT}", f"50.0{PERCENT}"]
    assert texts[-3:] == [DASH, DASH, "0.700"]
    page = (folders.root.parent / "report" / "report.html").read_text(encoding="utf-8")
    assert table.caption in page


@pytest.mark.parametrize(
    ("summary", "named"),
    [
        ({"objective": "none", "num_negative_steps": 3}, "negative weights"),
        ({"objective": "dft", "num_negative_steps": 3}, "dft, negative weights"),
        ({"objective": "dft"}, "dft"),
    ],
)
def test_what_silences_is_the_objective_or_the_floor_of_negative_weights(
    summary: dict[str, object], named: str
) -> None:
    manifest = SimpleNamespace(summary=summary | {"silenced": 0.2, "mean_factor": 0.8})
    training = SimpleNamespace(folder=SimpleNamespace(name="run", manifest=manifest))
    found = measure_silencing(cast(Arm, SimpleNamespace(trainings=(training,))))
    assert found is not None
    assert found.objective == named


def test_a_report_without_objectives_has_no_table_of_silenced_tokens(
    make_runs: Callable[..., RunFolders],
) -> None:
    report = read_built(make_runs(arms=("all", "random")))
    assert silencing_table(report).is_empty
