"""Item ids of the paper, from tables and from files of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.environments.agentgym.config import AgentGymConfig
from atlas.environments.paper.babyai.config import BabyAIAgentGymConfig
from atlas.environments.paper.item_files import item_number, read_items
from atlas.environments.paper.items import PaperItems
from atlas.environments.paper.maze.config import MazeConfig
from atlas.environments.paper.recorded import first_recorded_text
from atlas.environments.paper.textcraft.config import TextCraftConfig
from atlas.environments.paper.wordle.config import WordleConfig
from atlas.errors import ConfigError
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
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


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("7", "row 1 has no text 'item_id'"),
        ('{"item_id": "babyai_x"}', "row 1: 'babyai_x' has no number"),
        ('{"item_id": "babyai_１２"}', "row 1: 'babyai_１２' has no number"),
        ('{"item_id": "babyai_40"}', "expected babyai_0 to babyai_39"),
    ],
)
def test_a_damaged_row_is_an_error_because_its_task_would_become_a_test_task(
    tmp_path: Path, row: str, said: str
) -> None:
    path = tmp_path / "items.json"
    path.write_text(f'[{{"item_id": "babyai_3"}}, {row}]')
    with pytest.raises(ConfigError, match=said):
        read_items(str(path), "babyai_", "agenttraj", size=40)


def test_items_are_a_file_a_run_or_numbers(tmp_path: Path) -> None:
    path = write_items(tmp_path / "all.json", ["babyai_7", "maze_1", "babyai_3"], ["a", "b", "c"])
    import_trajectories(ImportConfig(paths=(path,)), tmp_path / "run")
    for value in (path, str(tmp_path / "run")):
        found = read_items(value, "babyai_", "agenttraj")
        assert [(item.number, item.first_text) for item in found] == [(7, "a"), (3, "c")]
    assert [item.id for item in read_items("3, 7-8", "x_", "agenttraj")] == ["x_3", "x_7", "x_8"]
    many = ",".join(map(str, range(300)))
    assert len(read_items(many, "x_", "agenttraj")) == 300
    assert AgentGymConfig(server="maze", url="http://x", agenttraj=41).agenttraj == "41"
    assert MazeConfig(agenttraj=41).agenttraj == "41"


def test_the_paper_settings_have_one_name_and_one_form_in_all_worlds() -> None:
    configs = (AgentGymConfig, BabyAIAgentGymConfig, TextCraftConfig, MazeConfig, WordleConfig)
    for name in ("client", "wording", "agenttraj", "agenteval", "drop_leaked", "instruction"):
        fields = [one.model_fields[name] for one in configs if name in one.model_fields]
        assert len(fields) > 1
        assert len({repr(field.annotation) for field in fields}) == 1


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
