"""Which trajectory to label next."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.records import CriticalStep, Selection
from atlas.viewing.web.labels.uncertain import rank_uncertain, read_scores

GOOD = '{"version": 1, "trajectory_id": "%s", "num_steps": 3, "scores": [0.9, %s, null]}'


@pytest.mark.parametrize("broken", ["", "{", "[]", "7", '{"scores": [1]}', '{"trajectory_id": "x"'])
def test_a_broken_line_of_scores_leaves_the_others(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text("\n".join((GOOD % ("a", "0.1"), broken, GOOD % ("b", "0.8"), "")))
    assert read_scores(file) == {"a": (0.9, 0.1, None), "b": (0.9, 0.8, None)}


def test_close_scores_come_first_then_selections_that_differ() -> None:
    def select(id_: str, *steps: int) -> Selection:
        critical = tuple(CriticalStep(index=step) for step in steps)
        return Selection(
            trajectory_id=id_, selector="t", num_steps=3, budget=2, critical_steps=critical
        )

    one = {id_: select(id_, 0) for id_ in "abcd"}
    other = {**one, "c": select("c", 0, 2)}
    scores = {"a": (0.9, 0.1, None), "b": (0.9, 0.8, None)}
    found = rank_uncertain([one, other], scores, dict.fromkeys("ab", 1))
    assert [each.trajectory_id for each in found] == ["b", "a", "c"]
    assert found[-1].step == 2
