"""The claims of the report, on run folders as the other stages write them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt  # comes with rich
from rich.console import Console

from atlas.errors import ConfigError, RunError
from atlas.evaluation.metrics import summarise_episodes
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.report import Report
from atlas.reporting.tables import format_main_table
from atlas.statistics.intervals import wilson_interval
from atlas.store.run_folders import read_manifest
from tests.reporting.synthetic_runs import RunFolders, make_run_folders

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")

HOSTILE = '<script>alert("x")</script> | `a` [b](http://evil) $x$\n# \u202e\x1b[31m#a0b0c1'


@pytest.fixture
def make_runs(tmp_path: Path) -> Callable[..., RunFolders]:
    """`make_runs(...)` writes run folders under the test's own folder; the report goes beside them."""
    return lambda **settings: make_run_folders(tmp_path / "runs", **settings)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> RunFolders:
    """Five arms, two splits, one seed, made once for the tests that only read."""
    return make_run_folders(tmp_path_factory.mktemp("whole") / "runs")


@pytest.fixture(scope="module")
def report(folders: RunFolders) -> Report:
    return _report(folders)


def _report(folders: RunFolders, name: str = "report", **changes: Any) -> Report:
    build_report(folders.config.model_copy(update=changes), folders.root.parent / name)
    return Report.model_validate_json((folders.root.parent / name / "report.json").read_bytes())


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
            metrics = summarise_episodes(folders.episodes(arm.name, result.split))
            for group, counts in {"": result.total, **result.groups}.items():
                expected = metrics.groups[group] if group else metrics
                assert counts.num_success.value == expected.num_success
                assert counts.num_truncated.value == expected.num_truncated
                assert counts.num_invalid.value == expected.num_errors
                assert counts.success_rate.value == expected.success_rate.value
                assert (counts.success_rate.low, counts.success_rate.high) == (
                    expected.success_rate.low,
                    expected.success_rate.high,
                )
                assert counts.mean_score.value == pytest.approx(expected.mean_score.value)
                assert counts.mean_steps.value == pytest.approx(expected.mean_steps.value)


def test_paired_difference_equals_a_recomputation_from_the_episode_files(
    folders: RunFolders, report: Report
) -> None:
    for row in report.comparisons:
        outcomes = [
            {e.task.id: e.outcome for e in folders.episodes(arm, row.split)}
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


def test_digests_of_all_runs_are_recorded_and_no_path_is_absolute(
    folders: RunFolders, report: Report
) -> None:
    out = folders.root.parent / "report"
    manifest = read_manifest(out, ("report",))
    assert set(manifest.inputs) == {name for name, _, _ in folders.config.named_runs()}
    for run in report.runs:
        assert run.digest == read_manifest(out / run.path).digest
    for file in out.rglob("*"):
        if file.is_file():
            assert str(folders.root.parent) not in file.read_text(encoding="utf-8"), file


def test_the_same_runs_give_the_same_bytes_in_another_folder(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(num_tasks=16)
    _report(folders, "first")
    _report(folders, "second")
    first, second = folders.root.parent / "first", folders.root.parent / "second"
    files = sorted(
        file.relative_to(first)
        for file in first.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    )
    assert len(files) >= 10
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_finished_report_is_not_made_again(folders: RunFolders, report: Report) -> None:
    page = folders.root.parent / "report" / "report.html"
    before = page.stat().st_mtime_ns
    _report(folders)
    assert page.stat().st_mtime_ns == before


def test_relative_paths_make_the_same_run(
    make_runs: Callable[..., RunFolders], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make_runs(num_tasks=8)
    _report(folders)
    monkeypatch.chdir(folders.root)
    build_report(folders.config.relative_to(folders.root), Path("../report"))


def test_arms_with_different_tasks_are_refused_with_the_arm_and_the_number(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=20)
    fewer = make_run_folders(tmp_path / "fewer", arms=("all", "critical"), num_tasks=17)
    mixed = folders.config.model_copy(
        update={"arms": (folders.config.arms[0], fewer.config.arms[1])}
    )
    with pytest.raises(
        RunError,
        match=r"arm 'critical', split 'held_in_test': 3 tasks differ .*\(3 missing, 0 of its own",
    ):
        build_report(mixed, tmp_path / "out")


def test_an_arm_without_one_of_the_splits_is_refused(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    critical = folders.config.arms[1]
    run = critical.runs[0]
    partial = critical.model_copy(
        update={
            "runs": (
                run.model_copy(
                    update={"evaluations": {"held_in_test": run.evaluations["held_in_test"]}}
                ),
            )
        }
    )
    with pytest.raises(
        RunError, match="arm 'critical' was evaluated on 'held_in_test', arm 'all' on"
    ):
        build_report(
            folders.config.model_copy(update={"arms": (folders.config.arms[0], partial)}),
            tmp_path / "out",
        )


def test_an_evaluation_of_another_checkpoint_is_refused(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    reference, critical = folders.config.arms
    swapped = critical.model_copy(
        update={
            "runs": (
                ArmRun(
                    training=critical.runs[0].training, evaluations=reference.runs[0].evaluations
                ),
            )
        }
    )
    with pytest.raises(RunError, match="did not evaluate the checkpoint"):
        build_report(
            folders.config.model_copy(update={"arms": (reference, swapped)}), tmp_path / "out"
        )


def test_a_selection_that_changed_since_the_training_is_refused(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    manifest = folders.paths["annotated"] / "manifest.json"
    content = json.loads(manifest.read_text())
    content["outputs"]["selections.jsonl"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(RunError, match="was made again"):
        build_report(folders.config, tmp_path / "out")


def test_a_missing_or_unfinished_run_is_named(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all",), splits=("held_in_test",), num_tasks=8)
    missing = ArmConfig(
        name="critical", runs=(ArmRun(evaluations={"held_in_test": tmp_path / "nowhere"}),)
    )
    with pytest.raises(RunError, match="nowhere does not exist"):
        build_report(
            folders.config.model_copy(update={"arms": (*folders.config.arms, missing)}),
            tmp_path / "out",
        )
    manifest = folders.paths["evaluate-all-0-held_in_test"] / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"'))
    with pytest.raises(RunError, match="is not finished"):
        build_report(folders.config, tmp_path / "out")


class _Page(HTMLParser):
    """What a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} has a handler {name}"
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.references.append(value or "")


def test_the_page_loads_nothing_and_runs_nothing(folders: RunFolders, report: Report) -> None:
    text = (folders.root.parent / "report" / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert not {"script", "iframe", "link", "img", "object", "embed", "form"} & set(page.tags)
    assert all(reference.startswith("#") for reference in page.references)
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text


def test_ids_of_the_page_are_unique_and_every_reference_has_its_target(
    folders: RunFolders, report: Report
) -> None:
    text = (folders.root.parent / "report" / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) | set(
        re.findall(r"url\(#([^)]+)\)", text)
    ) <= set(ids)


def test_hostile_names_are_text_in_the_page_the_markdown_and_the_plots(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(
        arms=("all", "critical"), num_tasks=8, labels={"critical": HOSTILE}, group_name=HOSTILE
    )
    _report(folders, title=HOSTILE)
    out = folders.root.parent / "report"
    page, markdown = (out / "report.html").read_text(), (out / "report.md").read_text()
    parser = _Page()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "&lt;script&gt;" in page
    for text in (page, markdown):
        assert "<script" not in text
        assert not set(text) & {"\x1b", "\u202e", "\u2028"}
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    parser = _Page()
    parser.feed(rendered)
    assert set(parser.tags) == {
        "h1",
        "h2",
        "p",
        "strong",
        "em",
        "ul",
        "li",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert {reference.partition("/")[0] for reference in parser.references} == {"plots"}
    assert rendered.count("<h1>") == 1
    assert (
        rendered.count(
            "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; | `a` [b](http://evil) $x$ # [31m#a0b0c1</td>"
        )
        >= 4
    )
    plots = list((out / "plots").glob("*.svg"))
    assert len(plots) >= 6
    for plot in plots:
        root = xml.etree.ElementTree.parse(plot).getroot()  # well-formed, whatever the labels hold
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            "svg",
            "title",
            "desc",
            "rect",
            "g",
            "path",
            "text",
            "use",
            "defs",
            "clipPath",
        }
    assert "#a0b0c1" in page  # a label that looks like a stand-in colour stays the label that it is


def test_headline_says_better_only_after_correction_and_none_where_nothing_was_shown(
    report: Report,
) -> None:
    rows = {
        row.split: row
        for row in report.comparisons
        if row.family == "reference" and row.arm == "critical"
    }
    assert rows["held_in_test"].verdict == "better"
    assert rows["held_out_test"].verdict == "none"
    assert report.headline.startswith(
        "Critical 30 % beats All steps on held-in test: +22.5 points [+"
    )
    assert "on held-out test no difference could be shown" in report.headline
    for row in report.comparisons:
        assert row.p_value is not None
        assert row.p_adjusted is not None
        assert row.p_adjusted >= row.p_value
        assert (row.verdict in ("better", "worse")) == (row.p_adjusted < 0.05)


def test_arms_that_are_the_same_show_no_difference(make_runs: Callable[..., RunFolders]) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=20)
    reference, critical = folders.config.arms
    twin = critical.model_copy(
        update={"runs": (ArmRun(evaluations=reference.runs[0].evaluations),)}
    )
    report = _report(folders, arms=(reference, twin))
    assert report.headline.startswith("No difference between Critical 30 % and All steps")
    assert all(row.p_value == 1.0 and row.verdict == "none" for row in report.comparisons)
    for row in report.comparisons:  # 20 tasks without a difference do not prove that there is none
        limit = wilson_interval(0, 20).high
        assert (row.success_difference.low, row.success_difference.high) == (-limit, limit)


def test_one_seed_is_a_caution_and_several_widen_what_the_intervals_cover(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    once = _report(make_runs(arms=("all", "critical"), num_tasks=40))
    assert any(
        note.level == "caution" and "one training seed per arm" in note.text for note in once.notes
    )
    thrice = _report(
        make_run_folders(
            tmp_path / "thrice" / "runs", arms=("all", "critical"), num_tasks=40, num_seeds=3
        )
    )
    assert not any("one training seed per arm" in note.text for note in thrice.notes)
    result = thrice.arm("critical").results[0].total
    assert result.success_rate.method == "bootstrap over tasks and runs"
    assert result.num_episodes.value == 120
    assert len(result.success_rate.sources) == 3
    assert len(thrice.arm("critical").losses) == 3
    assert thrice.arm("critical").budget is not None
    assert thrice.arm("critical").budget.train_seconds.low == 612.4  # type: ignore[union-attr]


def test_rate_over_several_seeds_counts_each_task_once(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("all", "random"), num_tasks=60, num_seeds=3)
    rate = _report(folders).arm("random").results[0].total.success_rate
    by_task: dict[str, list[bool]] = {}
    for seed in range(3):
        for episode in folders.episodes("random", "held_in_test", seed):
            if episode.outcome.is_valid:
                by_task.setdefault(episode.task.id, []).append(episode.outcome.status == "success")
    assert rate.value == pytest.approx(
        np.mean([np.mean(outcomes) for outcomes in by_task.values()])
    )


def test_one_arm_alone_is_reported_without_comparisons(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("critical",), num_tasks=16)
    report = _report(folders)
    assert report.comparisons == ()
    assert "There is no other tuned arm to compare it with." in report.headline
    assert not (folders.root.parent / "report" / "plots" / "differences.svg").exists()


def test_zero_valid_episodes_are_shown_as_unknown_and_not_as_zero(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(
        arms=("all", "random"), splits=("held_in_test",), num_tasks=10, error_share=1.1
    )
    report = _report(folders)
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
    report = _report(make_runs(num_tasks=60, error_share=0.2))
    counts = report.arm("random").results[0].total
    assert counts.num_invalid.value
    assert counts.num_valid.value == 60 - counts.num_invalid.value
    assert any(
        "Episodes that broke" in note.text and note.level == "caution" for note in report.notes
    )


def test_report_says_that_no_oracle_was_used_when_the_labels_are_the_experts_own(
    report: Report,
) -> None:
    assert report.label_origin[0].startswith("No LLM oracle was used")
    assert any(note.text == report.label_origin[0] for note in report.notes)
    assert any("that the selection of 'annotated' left" in line for line in report.label_origin)


def test_training_tasks_in_an_evaluation_are_a_caution(
    make_runs: Callable[..., RunFolders],
) -> None:
    report = _report(make_runs(arms=("all", "critical"), num_tasks=8, leaked_tasks=3))
    assert any(
        "3 of the 8 tasks of held-in test are also training tasks" in note.text
        for note in report.notes
    )


def test_unequal_settings_and_budgets_are_cautions(make_runs: Callable[..., RunFolders]) -> None:
    folders = make_runs(num_tasks=8, settings_of={"critical": {"learning_rate": 3e-5}})
    cautions = [note.text for note in _report(folders).notes if note.level == "caution"]
    assert any("learning_rate (1e-05, 3e-05)" in text for text in cautions)
    assert any("more supervised tokens than" in text for text in cautions)


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


def test_terminal_table_fits_80_columns_and_shows_labels_as_they_are(
    make_runs: Callable[..., RunFolders],
) -> None:
    report = _report(
        make_runs(num_tasks=16, labels={"critical": "[bold]Critical[/bold]", "all": "All steps"})
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(format_main_table(report))
    text = console.export_text()
    assert "[bold]Critical[/bold]" in text
    assert "held-out test" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "everything"}, "the reference 'everything' is none of the arms"),
        ({"base": "all"}, "must be different arms"),
        (
            {"arms": [{"name": "all", "runs": [{"evaluations": {"a": "x"}}]}] * 2},
            "two arms are named 'all'",
        ),
    ],
)
def test_a_config_that_makes_no_comparison_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    from atlas.config import check_config

    values = {"arms": [{"name": "all", "runs": [{"evaluations": {"held_in": "x"}}]}], **changes}
    with pytest.raises(ConfigError, match=message):
        check_config(ReportConfig, values, "recipe")


def test_importing_the_reporting_package_is_light() -> None:
    heavy = "import atlas.reporting.build_report, sys; print([m for m in ('matplotlib', 'torch', 'jinja2', 'rich') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
