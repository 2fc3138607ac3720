"""Each file of the runs is parsed once by a report and by a comparison of selections."""

from __future__ import annotations

import builtins
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.reporting.selections.compare_selections import CompareConfig, compare_selections
from tests.parse_counts import count_parses
from tests.reporting.synthetic_runs import RunFolders, read_built

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of records was opened for reading, by folder and name."""
    counts: Counter[str] = Counter()
    real = builtins.open

    def counting(file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        if "r" in mode and "+" not in mode and str(file).endswith(".jsonl"):
            counts["/".join(Path(file).parts[-2:])] += 1
        return real(file, mode, *args, **named)

    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)
    return counts


@pytest.fixture
def num_parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each trajectory was parsed, by id."""
    return count_parses(monkeypatch)


def test_a_report_of_arms_that_share_trajectories_reads_each_file_once(
    make_runs: Callable[..., RunFolders], opened: Counter[str], num_parsed: Counter[str]
) -> None:
    folders = make_runs(
        arms=("all", "critical", "random"), num_seeds=2, num_tasks=8, num_trajectories=12
    )
    opened.clear()
    read_built(folders)
    del opened["report/problems.jsonl"]
    assert opened["trajectories/trajectories.jsonl"] == 1
    assert opened["select-annotated/selections.jsonl"] == 1
    assert opened["evaluate-critical-1-held_in_test/episodes.jsonl"] == 1
    assert set(opened.values()) == {1}
    training = {id_: count for id_, count in num_parsed.items() if "/train/" in id_}
    assert len(training) == 12
    assert set(training.values()) == {1}


def test_a_comparison_of_selections_reads_the_trajectories_once(
    make_runs: Callable[..., RunFolders], opened: Counter[str], num_parsed: Counter[str]
) -> None:
    folders = make_runs(arms=("critical", "random"), num_tasks=4, num_trajectories=12)
    opened.clear()
    runs = (folders.paths["annotated"], folders.paths["random"])
    compare_selections(CompareConfig(selections=runs, plot=False), folders.root / "out")
    del opened["out/problems.jsonl"]
    assert set(opened.values()) == {1}
    assert set(num_parsed.values()) == {1}
