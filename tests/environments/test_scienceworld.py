"""ScienceWorld: the paper's ids, the same text for the same actions, ends, choices, solutions."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from atlas.environments.java import simulators
from atlas.environments.java.simulators import Simulator
from atlas.environments.scienceworld import gold
from atlas.environments.scienceworld.config import Kind, ScienceWorldConfig
from atlas.environments.scienceworld.expert import objects_of, renamed, verb_of
from atlas.environments.scienceworld.game import AMBIGUOUS, PROGRAM, ScienceGame
from atlas.environments.scienceworld.tasks import (
    VARIATIONS,
    ScienceTasks,
    own_variations,
    paper_variation,
    parse_task,
)
from atlas.errors import ConfigError, DependencyError, EpisodeError
from atlas.records import Task
from tests.environments.java_worlds import act, make_world, require

AGENTEVAL = Path(__file__).parents[3] / "shared" / "data" / "agenteval" / "sciworld_test.json"
# Actions that go through rooms whose contents are said in an order that is not fixed by itself.
WALK = (
    "open door to art studio",
    "go to art studio",
    "look around",
    "open door",
    "1",
    "open large cupboard",
    "look in large cupboard",
    "open door to hallway",
    "go to hallway",
    "open door to greenhouse",
    "go to greenhouse",
    "wait",
    "look around",
)


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[None]:
    """Keeps the Java process alive between tests."""
    try:
        PROGRAM.check()
    except DependencyError:
        yield
        return
    keeper = Simulator(PROGRAM)
    yield
    keeper.close()
    assert not simulators._running


def test_item_ids_count_the_variations_of_the_papers_kinds() -> None:
    assert paper_variation(0) == ("boil", 0)
    assert paper_variation(30) == ("melt", 0)
    assert paper_variation(4638) == ("identify-life-stages-2", 9)
    assert paper_variation(4639) is None
    assert paper_variation(-1) is None
    assert tuple(VARIATIONS) == get_args(Kind)


def test_the_table_is_that_of_the_package() -> None:
    require(PROGRAM)
    order = [row["task_name"] for row in json.loads((PROGRAM.folder / "tasks.json").read_text())]
    assert order == list(VARIATIONS)
    simulator = Simulator(PROGRAM)
    for kind, size in VARIATIONS.items():
        assert simulator.call("getTaskMaxVariations", kind) == size
    for kind in ("boil", "find-plant", "identify-life-stages-2", "lifespan-longest-lived"):
        simulator.call("load", kind, 0, "", False)
        for split, method in (("train", "getVariationsTrain"), ("test", "getVariationsTest")):
            of_package = set(simulator.call(method))
            own = set(own_variations(kind, split))  # type: ignore[arg-type]
            assert own <= of_package
            left_out = kind.startswith(("find-", "lifespan-")) and split == "test"
            assert (own < of_package) == left_out
    simulator.close()


@pytest.mark.slow
def test_no_test_variation_begins_like_a_training_variation() -> None:
    require(PROGRAM)
    game = ScienceGame()

    def starts(split: str) -> set[str]:
        kind: Kind = "lifespan-shortest-lived"
        return {
            game.start(kind, variation, "").text + game.task
            for variation in own_variations(kind, split)
        }

    assert not starts("train") & starts("test")
    game.close()


def test_own_tasks_of_train_and_test_are_different_variations() -> None:
    tasks = ScienceTasks(ScienceWorldConfig())
    train = tasks.draw("train", 500, 0)
    test = tasks.draw("held_in_test", 190, 0)
    assert not {task.id for task in train} & {task.id for task in test}
    assert not {task.group for task in train} & {t.group for t in tasks.draw("held_out_test", 9, 0)}
    assert parse_task(train[0]) == ("find-living-thing", 0, "")
    with pytest.raises(ConfigError, match="which holds"):
        tasks.draw("train", 10_000, 0)


def test_the_papers_splits_are_those_of_its_files_and_their_leak_is_reported(
    tmp_path: Path,
) -> None:
    files = {}
    for name, numbers in (("agenttraj", (5, 31, 99)), ("agenteval", (31, 4638, 7))):
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps([{"item_id": f"sciworld_{n}"} for n in numbers]))
    settings = {name: str(path) for name, path in files.items()}
    tasks = ScienceTasks(ScienceWorldConfig(**settings))
    found = tasks.draw("paper_test", 3, 0)
    assert [(task.id, task.group, task.seed) for task in found] == [
        ("sciworld_31", "melt", 1),
        ("sciworld_4638", "identify-life-stages-2", 9),
        ("sciworld_7", "boil", 7),
    ]
    assert "1 of the 3 tasks of paper_test are also in paper_train" in tasks.notes("paper_test")[0]
    clean = ScienceTasks(ScienceWorldConfig(**settings, drop_leaked=True))
    assert [task.id for task in clean.draw("paper_test", 2, 0)] == ["sciworld_4638", "sciworld_7"]
    with pytest.raises(ConfigError, match="which holds 2"):
        clean.draw("paper_test", 3, 0)
    with pytest.raises(ConfigError, match="agenteval=PATH"):
        ScienceTasks(ScienceWorldConfig()).draw("paper_test", 1, 0)
    assert "61 of the 200" in ScienceTasks(ScienceWorldConfig()).notes("paper_test")[0]


def test_what_is_in_agenttraj_is_reported_and_can_be_left_out_of_its_own_test_splits(
    tmp_path: Path,
) -> None:
    # Variations 22 (test) and 3 (train) of boil, and 21 of melt (test).
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"item_id": f"sciworld_{n}"} for n in (22, 3, 51)]))
    settings = {"kinds": ["boil"], "held_out_kinds": ["melt"], "agenttraj": str(file)}
    tasks = ScienceTasks(ScienceWorldConfig.model_validate(settings))
    assert (
        "1 of the 9 tasks of held_in_test are also in paper_train" in tasks.notes("held_in_test")[0]
    )
    assert len(tasks.draw("held_in_test", 9, 0)) == 9
    clean = ScienceTasks(ScienceWorldConfig.model_validate(settings | {"drop_leaked": True}))
    assert clean.notes("held_in_test") == []
    assert 22 not in {task.seed for task in clean.draw("held_in_test", 8, 0)}
    assert 21 not in {task.seed for task in clean.draw("held_out_test", 8, 0)}
    assert len(clean.draw("train", 14, 0)) == 14


def test_all_ids_of_agenteval_are_tasks() -> None:
    if not AGENTEVAL.exists():
        pytest.skip(f"{AGENTEVAL} is not there")
    tasks = ScienceTasks(ScienceWorldConfig(agenteval=str(AGENTEVAL)))
    found = tasks.draw("paper_test", 200, 0)
    assert len({task.id for task in found}) == 200
    assert all(parse_task(task)[0] == task.group for task in found)


def walk(kind: str, variation: int, simplifications: str = "") -> list[str]:
    game = ScienceGame()
    texts = [game.start(kind, variation, simplifications).text, game.task]
    texts += [game.act(action).text for action in WALK]
    game.close()
    return texts


def test_the_same_actions_give_the_same_text_also_among_other_worlds() -> None:
    require(PROGRAM)
    tasks = [("boil", 1, ""), ("find-plant", 2, "easy"), ("power-component", 0, "easy")]
    alone = {task: walk(*task) for task in tasks}
    together: list[tuple[tuple[str, int, str], list[str]]] = []
    threads = [
        threading.Thread(target=lambda task=task: together.append((task, walk(*task))))
        for task in tasks * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == len(tasks) * 2
    assert all(texts == alone[task] for task, texts in together)


def test_simplifications_of_one_world_do_not_reach_another() -> None:
    require(PROGRAM)
    plain, easy = ScienceGame(), ScienceGame()
    plain.start("boil", 0, "")
    easy.start("boil", 0, "easy")
    assert plain.act("teleport to kitchen").is_invalid
    assert not easy.act("teleport to kitchen").is_invalid
    assert plain.act("teleport to kitchen").is_invalid
    plain.close()
    easy.close()


def test_a_wrong_focus_ends_the_episode_as_a_failure() -> None:
    environment = make_world("scienceworld", kinds=["boil"], held_out_kinds=["melt"])
    environment.reset(environment.tasks("train", 1, 0)[0])
    result = environment.step(act("focus on picture"))
    assert (result.terminated, result.success, result.score) == (True, False, 0)
    assert not result.truncated
    with pytest.raises(EpisodeError, match="the episode is over"):
        environment.step(act("look around"))
    environment.close()


def test_after_an_ambiguous_request_the_next_action_is_the_choice() -> None:
    environment = make_world("scienceworld", kinds=["boil"], held_out_kinds=["melt"])
    environment.reset(environment.tasks("train", 1, 0)[0])
    asked = environment.step(act("open door"))
    assert asked.observation[0].content.startswith(AMBIGUOUS)
    assert not asked.is_invalid
    assert environment.step(act("look around")).is_invalid
    assert not environment.step(act("look around")).is_invalid
    environment.step(act("open door"))
    assert environment.step(act("0")).observation[0].content == "The door is now open."
    environment.close()


def test_half_of_a_surrogate_pair_is_an_invalid_action_not_a_broken_world() -> None:
    require(PROGRAM)
    game = ScienceGame()
    game.start("boil", 0, "")
    assert game.act("open \ud800 door").is_invalid
    game.close()


def test_the_expert_finds_a_thing_and_repeats_itself() -> None:
    environment = make_world("scienceworld", kinds=["lifespan-longest-lived", "find-animal"],
                             held_out_kinds=["boil"])  # fmt: skip
    for task in environment.tasks("train", 2, 0):
        plays = []
        for _ in range(2):
            environment.reset(task)
            expert = environment.expert(4)  # type: ignore[attr-defined]
            plays.append([])
            result = None
            while result is None or not (result.terminated or result.truncated):
                turn = expert.respond()
                plays[-1].append(turn.response.content)
                result = environment.step(turn.response)
            assert result.success
        assert plays[0] == plays[1]
    environment.close()


def test_solutions_are_kept_on_disk_and_found_again_if_a_file_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def find(*key: object) -> tuple[str, ...]:
        asked.append(key)
        return ("look around", "wait")

    monkeypatch.setattr(gold, "_folder", lambda: tmp_path)
    monkeypatch.setattr(gold, "_find", find)
    monkeypatch.setattr(gold, "_known", {})
    key = ("boil", 3, "openDoors,teleportAction")
    assert gold.gold_path(*key) == gold.gold_path(*key) == ("look around", "wait")
    gold._known.clear()
    assert gold.gold_path(*key) == ("look around", "wait")
    assert asked == [key]
    [file] = tmp_path.rglob("*.json")
    file.write_text('["look aro')
    gold._known.clear()
    assert gold.gold_path(*key) == ("look around", "wait")
    assert asked == [key, key]
    assert json.loads(file.read_text()) == ["look around", "wait"]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(gold, "_folder", lambda: blocked)
    monkeypatch.setattr(gold, "_find", lambda *key: ("wait",))
    monkeypatch.setattr(gold, "_known", {})
    assert gold.gold_path("boil", 0, "") == ("wait",)


def test_actions_are_taken_apart() -> None:
    assert verb_of("open door to kitchen") == "open door to"
    assert verb_of("open cupboard") == "open"
    assert objects_of("use thermometer in inventory on metal pot in inventory", "use") == [
        "thermometer",
        "metal pot",
    ]
    assert renamed("focus on adult pea plant") == "focus on pea plant"
    assert (
        renamed("move flower pot 4 containing pea plant and soil in inventory to red box")
        == "move flower pot 4 in inventory to red box"
    )
    assert renamed("look around") is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kinds": ["boil"], "held_out_kinds": ["boil"]}, "'boil' is in kinds and"),
        ({"kinds": ["boil", "boil"]}, "kinds has a name twice"),
        ({"simplifications": ["easy", "openDoors"]}, "'easy', which stands for several"),
        ({"simplifications": ["noElectricalAction"]}, "'power-component' needs electricity"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ScienceWorldConfig.model_validate(settings)


def test_a_process_that_hangs_is_ended_and_costs_no_more_than_its_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require(PROGRAM)
    if os.name != "posix":
        pytest.skip("needs signals")
    monkeypatch.setattr(simulators, "LOCK_SECONDS", 0.5)
    first, second = Simulator(PROGRAM), Simulator(PROGRAM)
    entered, leave = threading.Event(), threading.Event()

    def hang() -> None:
        with first.exclusively():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hang)
    thread.start()
    entered.wait(10)
    with pytest.raises(EpisodeError, match="the Java process hung"), second.exclusively():
        pass
    leave.set()
    thread.join()
    with pytest.raises(EpisodeError, match="the Java process ended"):
        first.call("getTaskNames")
    third = Simulator(PROGRAM)
    assert third.call("getTaskNames")
    for one in (first, second, third):
        one.close()


def test_a_task_of_another_world_is_an_error_that_says_so() -> None:
    environment = make_world("scienceworld")
    for name in ("babyai/x/1", "sciworld_4639", "scienceworld/boil/plain/x"):
        with pytest.raises(EpisodeError, match="is not known, expected sciworld_ and a number"):
            environment.reset(Task(id=name, environment="x"))
    environment.close()


def test_an_action_that_is_not_possible_now_is_flagged() -> None:
    impossible = (
        *("go to kitchen", "close door to kitchen", "move agent to hallway", "activate air"),
        *("connect air to air", "drop air"),
    )
    possible = ("look around", "look at picture", "wait1", "inventory")
    # Another process for each action would take most of the time.
    world = make_world("scienceworld")
    task = Task(id="scienceworld/find-living-thing/plain/0", environment="scienceworld")
    for action in (*impossible, *possible):
        world.reset(task)
        result = world.step(act(action))
        assert result.is_invalid is (action in impossible), (action, result.observation[0].content)
        assert not world.step(act("open door to kitchen")).is_invalid
        assert world.step(act("open door to kitchen")).is_invalid
    world.close()
