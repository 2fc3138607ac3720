"""Item ids of the paper, from tables and from files of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.environments.paper.items import PaperItems, item_number, read_items
from atlas.environments.paper.recorded import first_recorded_text
from atlas.errors import ConfigError
from tests.environments.paper_worlds import write_items


@pytest.mark.parametrize(
    ("item_id", "number"),
    [
        ("babyai_12", 12),
        ("babyai_0", 0),
        ("babyai_", None),
        ("babyai_-1", None),
        ("babyai_1x", None),
        ("babyai_" + "9" * 5000, None),
        ("babyai/GoToDoor/1000000", None),
        ("textcraft_12", None),
        ("", None),
    ],
)
def test_the_number_of_an_item(item_id: str, number: int | None) -> None:
    assert item_number(item_id, "babyai_") == number


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "null", "{}", "[]", "[1]", '[{"item_id": 3}]', "[[]]"]
)
def test_what_is_not_a_file_of_agentgym_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"agenttraj=.*items\.json"):
        read_items(str(path), "babyai_", "agenttraj")


def test_a_missing_file_or_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigError, match="agenteval="):
            read_items(str(path), "babyai_", "agenteval")
    with pytest.raises(ConfigError, match="instruction="):
        first_recorded_text(str(tmp_path), "babyai_")


def test_a_file_takes_precedence_over_the_table(tmp_path: Path) -> None:
    path = write_items(tmp_path / "train.json", ["x_7", "x_7", "x_8", "y_9"])
    items = PaperItems("world", "x_", train=(1, 2), test=(7, 9), agenttraj=path)
    assert items.numbers("paper_train") == [7, 8]
    assert items.notes("paper_test") == [
        "world: 1 of the 2 tasks of paper_test are also in paper_train; drop_leaked=true leaves "
        "them out"
    ]
    dropped = PaperItems("world", "x_", test=(7, 9), agenttraj=path, drop_leaked=True)
    assert dropped.numbers("paper_test") == [9]
    assert "left out" in dropped.notes("paper_test")[0]


def test_a_leak_that_is_known_is_told_without_the_file() -> None:
    items = PaperItems("world", "x_", test=(7,), known_leak="one task is also in AgentTraj")
    [note] = items.notes("paper_test")
    assert note.startswith("world: one task is also in AgentTraj; name AgentTraj's file")
    assert not items.notes("paper_train")
