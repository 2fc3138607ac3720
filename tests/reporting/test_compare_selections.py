from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from atlas.config import load_config
from atlas.errors import ConfigError, DataError, RunError
from atlas.records import CriticalKind, CriticalStep, Selection, Trajectory
from atlas.reporting.selections.compare_selections import (
    CompareConfig,
    compare_selections,
    read_comparison,
)
from atlas.reporting.selections.selection_comparison import SelectionComparison
from atlas.reporting.selections.selection_tables import comparison_markdown, print_comparison
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.tool_runs import call_runs, tools_file

TRAJECTORIES = [make_trajectory(10, f"t{number}") for number in range(8)]


def choosing(
    indices: tuple[int, ...], kind: CriticalKind | None = None, problem_in: str | None = None
) -> list[Selection]:
    def of(trajectory: Trajectory) -> Selection:
        problem = "refused" if trajectory.id == problem_in else None
        steps = (
            ()
            if problem
            else tuple(
                CriticalStep(index=index, kinds=(kind,) if kind else ()) for index in indices
            )
        )
        return Selection(
            trajectory_id=trajectory.id,
            selector="test",
            num_steps=10,
            budget=3,
            critical_steps=steps,
            problem=problem,
        )

    return [of(trajectory) for trajectory in TRAJECTORIES]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_trajectories(tmp_path / "t", TRAJECTORIES)


def compare(
    run: Path, given: Mapping[str, list[Selection]], **settings: Any
) -> SelectionComparison:
    runs = tuple(
        write_selections(run.parent / name, selections, run) for name, selections in given.items()
    )
    compare_selections(
        CompareConfig(selections=runs, **{"plot": False, **settings}), run.parent / "out"
    )
    return read_comparison(run.parent / "out")


def test_every_pair_is_measured_against_chance_at_its_own_budgets(run: Path) -> None:
    given = {"a": choosing((0, 1, 9)), "b": choosing((0, 1, 2)), "c": choosing((5,))}
    comparison = compare(run, given)
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    first, second, _ = (pair.agreement for pair in comparison.pairs)
    assert (first.num_both, first.expected_both, first.jaccard.value) == (16, 7.2, 0.5)
    assert (second.num_both, second.expected_both) == (0, 2.4)
    assert first.beyond_chance.value == pytest.approx((16 - 7.2) / (24 - 7.2), abs=1e-6)


def test_each_selection_has_its_share_its_kinds_and_its_place_beside_blind_draws(run: Path) -> None:
    comparison = compare(run, {"a": choosing((0, 1), "plan_creation"), "b": choosing((9,))})
    a, b = comparison.profiles
    assert (a.num_selected, a.kinds, a.mean_position.value) == (16, {"plan_creation": 16}, 0.1)
    assert (b.kinds, b.mean_position.value) == ({}, 0.95)
    assert [part.num_selected for part in a.bins] == [8, 8, *[0] * 8]
    assert a.bins[0].kinds["plan_creation"] == 8
    assert b.bins[9].no_kind == 8
    assert sum(part.expected_selected for part in a.bins) == pytest.approx(16)
    assert a.supervised_share.value == pytest.approx(0.2, abs=0.01)
    assert a.random_supervised_share == pytest.approx(0.2)


def test_agreement_is_measured_by_kind_and_by_third(run: Path) -> None:
    given = {"a": choosing((0, 9), "critical_action"), "b": choosing((0, 5))}
    [pair] = compare(run, given).pairs
    assert [
        (row.of, row.by, row.kind, row.num_steps, row.num_found, row.expected_found)
        for row in pair.by_kind
    ] == [("a", "b", "critical_action", 16, 8, 3.2)]
    assert (pair.by_position["start"].num_both, pair.by_position["end"].num_both) == (8, 0)
    assert sum(part.num_steps for part in pair.by_position.values()) == 80


def test_a_trajectory_with_a_problem_is_left_out_of_its_pairs_and_listed(run: Path) -> None:
    comparison = compare(
        run, {"a": choosing((0,), problem_in="t3"), "b": choosing((0,)), "c": choosing((0,))}
    )
    assert [pair.agreement.num_trajectories for pair in comparison.pairs] == [7, 7, 8]
    assert comparison.profiles[0].num_problems == 1
    assert "refused" in (run.parent / "out" / "problems.jsonl").read_text()


def test_selections_of_other_trajectories_are_refused(run: Path, tmp_path: Path) -> None:
    others = write_trajectories(
        tmp_path / "others",
        [make_trajectory(10, f"t{number}", thought="I differ.") for number in range(8)],
    )
    a, b = (
        write_selections(tmp_path / "a", choosing((0,)), run),
        write_selections(tmp_path / "b", choosing((0,)), others),
    )
    with pytest.raises(RunError, match="made from other trajectories"):
        compare_selections(CompareConfig(selections=(a, b), plot=False), tmp_path / "out")


def test_names_are_those_of_the_folders_or_given_and_never_twice(run: Path, tmp_path: Path) -> None:
    runs = [write_selections(tmp_path / parent / "s", choosing((0,)), run) for parent in ("x", "y")]
    with pytest.raises(DataError, match="'s'"):
        compare_selections(CompareConfig(selections=tuple(runs), plot=False), tmp_path / "out")
    compare_selections(
        CompareConfig(selections=tuple(runs), names=("one", "two"), plot=False), tmp_path / "out"
    )
    assert [profile.name for profile in read_comparison(tmp_path / "out").profiles] == [
        "one",
        "two",
    ]


def test_a_finished_comparison_costs_nothing_and_holds_no_path_of_a_machine(
    run: Path, tmp_path: Path
) -> None:
    compare(run, {"a": choosing((0,)), "b": choosing((1,))})
    config = CompareConfig(selections=(tmp_path / "a", tmp_path / "b"), plot=False)
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    compare_selections(config, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path) not in file.read_text()


def test_tokens_are_counted_where_a_tokenizer_is_named(run: Path, tiny_model_folder: Path) -> None:
    comparison = compare(
        run, {"a": choosing((0, 1)), "b": choosing((9,))}, tokenizer=str(tiny_model_folder)
    )
    assert comparison.measure == "tokens"
    assert comparison.profiles[0].supervised_share.value == pytest.approx(0.2, abs=0.02)


def test_what_the_template_of_the_tokenizer_does_not_write_is_said(
    tmp_path: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trajectories, selection = call_runs(tmp_path, 0)
    shutil.copytree(selection, tmp_path / "other")

    def compare_under(template: str | None, name: str) -> str:
        config = CompareConfig(
            selections=(selection, tmp_path / "other"),
            trajectories=trajectories,
            tokenizer=str(tiny_model_folder),
            chat_template=template,
            tools=tools_file(tmp_path),
            plot=False,
        )
        compare_selections(config, tmp_path / name)
        assert str(tmp_path / "tools.json") not in (tmp_path / name / "config.yaml").read_text()
        return capfd.readouterr().err

    lost = "does not write the tool calls of 8 of 12 steps; the tool schemas in the context of 4"
    assert lost in compare_under(None, "one")
    assert "does not write" not in compare_under("chatml-calls", "two")


def test_the_tables_say_the_same_in_the_terminal_and_in_markdown(run: Path) -> None:
    comparison = compare(run, {"[b]a|b": choosing((0, 1), "plan_creation"), "c": choosing((0,))})
    console = Console(width=200, record=True, file=io.StringIO())
    print_comparison(console, comparison)
    shown, written = console.export_text(), comparison_markdown(comparison)
    assert "[b]a|b" in shown
    assert r"\[b\]a\|b" in written
    numbers = re.compile(r"\d\.\d\d")
    assert sorted(numbers.findall(shown)) == sorted(numbers.findall(written))
    lines = [line for line in written.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if "plan creation" in line} == {6}


def test_a_narrow_terminal_or_a_pipe_cuts_no_number(run: Path) -> None:
    comparison = compare(run, {"a": choosing((0, 1, 9), "plan_creation"), "b": choosing((0, 1, 2))})
    console = Console(file=io.StringIO(), width=40, highlight=False)
    print_comparison(console, comparison)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "…" not in shown
    assert console.width == 40
    # The columns that do not fit follow below, with the names of the pair again.
    rows = [line for line in shown.splitlines() if line.split()[:2] == ["a", "b"]]
    assert any(f"{comparison.pairs[0].agreement.chance_kappa:.2f}" in row for row in rows)


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_selections_are_refused(number: int) -> None:
    with pytest.raises(ConfigError, match="two or more selection runs"):
        load_config(CompareConfig, None, [], {"selections": ["a"] * number})


def test_the_plot_is_the_same_bytes_each_time_and_names_every_selection(run: Path) -> None:
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from atlas.presenting.svg import for_file
    from atlas.reporting.selections.plot_positions import plot_selected_positions

    comparison = compare(
        run, {"first $x$": choosing((0, 1), "plan_creation"), "second": choosing((0,))}, plot=True
    )
    written = (run.parent / "out" / "positions.svg").read_text()
    assert written == for_file(plot_selected_positions(comparison).svg)
    assert "positions.svg" in (run.parent / "out" / "comparison.md").read_text()
    for word in (
        "first $x$",
        "second",
        "plan creation",
        "no kind given",
        "random draws of as many",
    ):
        assert word in written


def test_the_numbers_are_a_file_that_others_can_read(run: Path) -> None:
    compare(run, {"a": choosing((0,)), "b": choosing((1,))})
    written = json.loads((run.parent / "out" / "comparison.json").read_text())
    assert written["pairs"][0]["agreement"]["kappa"]["value"] is not None
