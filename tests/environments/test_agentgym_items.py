"""Which tasks the splits of AgentGym's servers hold, and what is said about their overlaps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.environments.agentgym.environment import SPLITS, AgentGymEnvironment
from atlas.environments.agentgym.servers import SERVERS
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task
from tests.environments.agentgym_servers import CraftServer, Reply, serving
from tests.environments.paper_worlds import write_items

pytest.importorskip("urllib3", reason="needs the extra agentgym")
EVAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "agenteval"
EVAL_FILES = {
    "textcraft": ("textcraft_test.json", 100),
    "babyai": ("babyai_test.json", 90),
    "sciworld": ("sciworld_test.json", 200),
    "alfworld": ("alfworld_test.json", 200),
    "maze": ("lmrlgym_maze_test.json", 25),
    "wordle": ("lmrlgym_wordle_test.json", 25),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of which only the liveness is asked for."""
    with serving(lambda method, path, body: Reply("ok")) as address:
        yield address


def make(url: str, server: str, **settings: Any) -> AgentGymEnvironment:
    return AgentGymEnvironment(AgentGymEnvironment.Config(server=server, url=url, **settings))


def ids(environment: AgentGymEnvironment, split: str) -> set[str]:
    return {item.id for item in environment._items_of(split)}


def write(path: Path, *item_ids: str) -> str:
    path.write_text(json.dumps([{"item_id": one} for one in item_ids]))
    return str(path)


@pytest.mark.parametrize("server", SERVERS)
def test_the_splits_of_a_server_are_tasks_or_an_error_that_names_what_to_give(
    server: str, url: str
) -> None:
    environment = make(url, server)
    held, refused = {}, {}
    for split in SPLITS:
        try:
            held[split] = ids(environment, split)
        except ConfigError as error:
            refused[split] = str(error)
            continue
        tasks = list(environment.tasks(split, 3, 1))
        assert tasks == list(environment.tasks(split, 4, 1))[:3]
        assert {task.id for task in tasks} <= held[split]
        assert all(task.environment == environment.name for task in tasks)
    for split, said in refused.items():
        assert split in said
        assert "agenttraj=…" in said or "agenteval=…" in said
    train = held.get("train", set())
    assert not train & held.get("held_in_test", set())
    assert not train & held.get("held_out_test", set())
    if server != "maze":
        # The test tasks of Maze are the starts of its training tasks, and all others.
        assert not train & held.get("paper_test", set())


def test_tasks_of_a_file_come_once_each_in_its_order(tmp_path: Path, url: str) -> None:
    path = write(tmp_path / "a.json", *(f"lmrlgym_maze_{n}" for n in (18, 13, 18, 25, 14, 13)))
    environment = make(url, "maze", agenttraj=path)
    tasks = environment.tasks("paper_train", 3, 0)
    assert [task.id for task in tasks] == [f"lmrlgym_maze_{n}" for n in (18, 13, 14)]
    notes = "\n".join(environment.notes("paper_train"))
    assert "2 of its rows name a task again" in notes
    assert "lmrlgym_maze_25 cannot be played" in notes
    with pytest.raises(ConfigError, match="holds 3"):
        environment.tasks("paper_train", 4, 0)


def test_leaks_between_the_papers_splits_are_said_and_can_be_left_out(
    tmp_path: Path, url: str
) -> None:
    settings = {
        "agenttraj": write(tmp_path / "train.json", "sciworld_1", "sciworld_2", "sciworld_3"),
        "agenteval": write(tmp_path / "test.json", "sciworld_2", "sciworld_9"),
    }
    [note] = make(url, "sciworld", **settings).notes("paper_test")
    assert "1 of its 2 tasks are in paper_train; drop_leaked=true leaves them out" in note
    environment = make(url, "sciworld", **settings, drop_leaked=True)
    assert ids(environment, "paper_test") == {"sciworld_9"}
    assert not ids(environment, "held_in_test") & ids(environment, "paper_train")
    [note] = make(url, "sciworld", agenteval="2,9").notes("paper_test")
    assert "of AgentEval's tasks 61 are in AgentTraj: agenttraj=… finds them" in note
    assert not make(url, "babyai", agenteval="2,9").notes("paper_test")


def test_leaks_cannot_be_left_out_without_the_training_tasks(url: str) -> None:
    for server in ("wordle", "textcraft", "sciworld"):
        environment = make(url, server, agenteval="0-9", drop_leaked=True)
        with pytest.raises(ConfigError, match=r"drop_leaked=true needs .* agenttraj=…"):
            environment.tasks("paper_test", 5, 0)


def test_tasks_of_textcraft_are_compared_by_goal_because_numbers_differ_between_servers(
    tmp_path: Path,
) -> None:
    text = "Crafting commands:\ncraft 1 item 3 using 1 stick\n\nGoal: craft item 3."
    path = write_items(tmp_path / "train.json", ["textcraft_400"], [text])
    settings = {"agenttraj": path, "agenteval": "0-5"}
    with serving(CraftServer(shift=1)) as address:
        environment = make(address, "textcraft", **settings, drop_leaked=True)
        tasks = environment.tasks("paper_test", 5, 0)
        assert [task.id for task in tasks] == [f"textcraft_{n}" for n in (0, 1, 3, 4, 5)]
        assert [task.goal for task in tasks] == [f"item {n}" for n in (1, 2, 4, 5, 6)]
        assert "textcraft_2" not in ids(environment, "held_in_test")
        [note, _] = make(address, "textcraft", **settings).notes("paper_test")
        assert "1 of its 6 tasks are in paper_train; drop_leaked=true leaves them out" in note
        # The id of an imported trajectory does not say its goal; AgentTraj's file does.
        first = environment.reset(Task(id="textcraft_400", environment="textcraft"))
        environment.close()
    assert first[0].content.endswith("Goal: craft item 3.")


def test_a_training_task_without_its_goal_is_refused(tmp_path: Path, url: str) -> None:
    path = write_items(tmp_path / "a.json", ["textcraft_1", "textcraft_2"], ["Goal: craft x."])
    with pytest.raises(ConfigError, match="textcraft_2 has no goal"):
        make(url, "textcraft", agenttraj=path).tasks("paper_train", 1, 0)


def test_the_kind_of_a_task_is_its_group(url: str) -> None:
    environment = make(url, "sciworld", agenteval="0,30,4638")
    groups = [task.group for task in environment.tasks("paper_test", 3, 0)]
    assert groups == ["boil", "melt", "identify-life-stages-2"]
    [task] = make(url, "babyai", agenteval=41).tasks("paper_test", 1, 0)
    assert task.id == "babyai_41"
    environment = make(url, "babyai", agenteval="0,41,79")
    groups = [task.group for task in environment.tasks("paper_test", 3, 0)]
    assert groups == ["level 1", "level 2", "level 40"]


def test_the_games_of_alfworld_are_numbered_by_the_mapping(tmp_path: Path, url: str) -> None:
    game = "look_at_obj_in_light-AlarmClock-None-DeskLamp-301_trial_T20190907_174127_043461"
    path = write(tmp_path / "train.json", game)
    with pytest.raises(ConfigError, match=r"mappings_train\.json of AgentGym, as alfworld_mapping"):
        make(url, "alfworld", agenttraj=path).tasks("paper_train", 1, 0)
    task_type, _, task_id = game.partition("_trial_")
    rows = [{"item_id": 17, "task_type": task_type, "task_id": f"trial_{task_id}"}]
    mapping = tmp_path / "mappings_train.json"
    mapping.write_text(json.dumps(rows))
    environment = make(url, "alfworld", agenttraj=path, alfworld_mapping=mapping)
    [task] = environment.tasks("paper_train", 1, 0)
    assert (task.id, task.group, task.seed) == (game, "look_at_obj_in_light", 17)
    assert environment._items.number_of(task) == 17


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("{}", "expected a JSON list"),
        ("[]", "expected a JSON list"),
        ("[7]", "row 0 has no text 'item_id'"),
        ('[{"item_id": 7}]', "row 0 has no text 'item_id'"),
        ('[{"item_id": "babyai_1"}]', "'babyai_1' is not a task of this world"),
        ('[{"item_id": "textcraft_544"}]', "expected textcraft_0 to textcraft_543"),
        ('[{"item_id": "textcraft_x"}]', "row 0: 'textcraft_x' has no number"),
    ],
)
def test_a_file_that_is_not_one_of_the_servers_tasks_is_refused(
    content: str, said: str, tmp_path: Path, url: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        make(url, "textcraft", agenttraj=str(path)).tasks("paper_train", 1, 0)


@pytest.mark.parametrize("text", ["9-3", "0-99999999", "no/such.json"])
def test_numbers_that_are_not_numbers_are_refused(text: str, url: str) -> None:
    with pytest.raises(ConfigError, match="agentgym: "):
        make(url, "textcraft", agenttraj=text).tasks("paper_train", 1, 0)


def test_a_task_of_another_world_is_an_error_of_its_episode(url: str) -> None:
    environment = make(url, "textcraft")
    with pytest.raises(EpisodeError, match="task 'babyai_3' is not known"):
        environment.reset(Task(id="babyai_3", environment="babyai"))


@pytest.mark.parametrize("server", EVAL_FILES)
def test_the_files_of_agenteval_are_understood(server: str, url: str) -> None:
    name, num_tasks = EVAL_FILES[server]
    if not (EVAL / name).is_file():
        pytest.skip(f"AgentEval's files are not here: {EVAL / name}")
    environment = make(url, server, agenteval=str(EVAL / name))
    assert len(environment.tasks("paper_test", num_tasks, 0)) == num_tasks
    if "paper_test" in SERVERS[server].splits:
        assert ids(environment, "paper_test") == ids(make(url, server), "paper_test")
