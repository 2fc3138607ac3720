"""AgentTraj, replayed: the paper's worlds show what AgentGym's servers showed.

The paper's data is not a part of the package; without it these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.environments.base import ENVIRONMENT
from atlas.errors import DependencyError
from atlas.records import Trajectory
from benchmarks.replay import kind_of_difference, main, make_environment, read, replay
from tests.environments.paper_worlds import agenttraj

# world -> AgentTraj's file, and settings beside those that name the file.
WORLDS = {
    "babyai-agentgym": ("babyai", []),
    "textcraft": ("textcraft", ["agenttraj={run}"]),
    "maze": ("lmrlgym_maze", ["instruction={run}"]),
}
NUM_FAST = 40
# Observations that cannot be had from the recorded responses: two of TextCraft's textcraft_210,
# where a command for stairs is answered by planks.
NUM_OTHER = {"babyai-agentgym": 0, "textcraft": 2, "maze": 0}


@pytest.fixture(scope="module", params=sorted(WORLDS))
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[str], list[Trajectory]]:
    from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

    world: str = request.param
    name, settings = WORLDS[world]
    path = agenttraj(name)
    try:
        ENVIRONMENT.find(world)(ENVIRONMENT.find(world).Config())
    except DependencyError as error:
        pytest.skip(str(error))
    run: Path = tmp_path_factory.mktemp(name) / "run"
    import_trajectories(ImportConfig(paths=(str(path),)), run)
    return world, [one.format(run=run) for one in settings], list(read(run))


def check(
    recorded: tuple[str, list[str], list[Trajectory]], limit: int | None, num_other: int
) -> None:
    world, settings, trajectories = recorded
    played = trajectories[:limit]
    # The client of 2024 recorded AgentTraj; the maze has one client only.
    client = [] if world == "maze" else ["client=2024"]
    found = replay(make_environment(world, [*settings, *client]), played)
    assert found.firsts == {"same": len(played)}
    assert found.laters["same"] + num_other == found.laters.total()
    assert found.ends == {"solved, ended": len(played)}


def test_the_first_trajectories_of_agenttraj_replay_word_for_word(
    recorded: tuple[str, list[str], list[Trajectory]],
) -> None:
    check(recorded, NUM_FAST, 0)


@pytest.mark.slow
def test_all_of_agenttraj_replays_word_for_word(
    recorded: tuple[str, list[str], list[Trajectory]],
) -> None:
    check(recorded, None, NUM_OTHER[recorded[0]])


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("Got 1 stick\n", "Got 1 stick", "same"),
        ("Instruction:\nGot 1 stick", "Got 1 stick", "prefix"),
        ("You see a ball.", "You see a ball.\nAvailable actions: []", "suffix"),
        ("a\nb\nGoal: c", "b\na\nGoal: c", "order"),
        ("a\nb\nGoal: c", "d\nb\nGoal: c", "lines"),
        ("a", "b", "text"),
    ],
)
def test_differences_have_kinds(one: str, other: str, kind: str) -> None:
    assert kind_of_difference(one, other) == kind


def test_a_limit_that_would_leave_out_the_last_trajectory_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["replay", "x.json", "maze", "--limit", "-1"])
    with pytest.raises(SystemExit):
        main()
    assert "--limit is -1" in capsys.readouterr().err
