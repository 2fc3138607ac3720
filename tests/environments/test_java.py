"""One Java process for all simulators of a program: it is shared, survived, and never left over."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.environments.java import simulators
from atlas.environments.java.simulators import Simulator
from atlas.environments.textworld_express.game import PROGRAM, ExpressGame
from atlas.errors import DependencyError, EpisodeError, ProgramError
from tests.environments.java_worlds import act, make_world, require

SCRIPT = """
import os, sys, time
from atlas.environments.java import simulators
from atlas.environments.java.simulators import Simulator
from atlas.environments.textworld_express.game import PROGRAM
opened = [Simulator(PROGRAM), Simulator(PROGRAM)]
[process] = simulators._running.values()
"""


@pytest.fixture(autouse=True)
def program() -> Iterator[None]:
    require(PROGRAM)
    yield
    assert not simulators._running


def running_pid() -> int:
    [process] = simulators._running.values()
    return process._process.pid


def wait_for_end(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # A zombie of another parent has ended, too.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_simulators_share_a_process_that_ends_with_the_last_of_them() -> None:
    opened = [Simulator(PROGRAM) for _ in range(5)]
    pid = running_pid()
    for one in opened[:4]:
        one.close()
        one.close()
    assert opened[4].call("load", "coin", "") == ""
    opened[4].close()
    assert not simulators._running
    assert wait_for_end(pid)


def test_a_process_that_died_costs_an_episode_and_a_new_one_starts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    first, second = ExpressGame(), ExpressGame()
    first.start("coin", "numLocations=4", "train", 0)
    os.kill(running_pid(), signal.SIGKILL)
    for game in (first, second):
        with pytest.raises(EpisodeError, match=r"the Java process ended with status -9\.$"):
            game.start("coin", "numLocations=4", "train", 0)
    third = ExpressGame()
    assert third.start("coin", "numLocations=4", "train", 0).text
    for game in (first, second):
        game.close()
    # Closing those of the dead process leaves the new one alone.
    assert third.act("look around").text
    third.close()
    assert capfd.readouterr() == ("", "")


def test_the_gateway_refuses_who_has_no_token() -> None:
    from py4j.java_gateway import GatewayParameters, JavaGateway
    from py4j.protocol import Py4JError

    simulator = Simulator(PROGRAM)
    [process] = simulators._running.values()
    port = process._gateway.gateway_parameters.port
    stranger = JavaGateway(gateway_parameters=GatewayParameters(port=port))
    with pytest.raises(Py4JError):
        stranger.jvm.java.lang.System.getProperty("user.name")
    assert simulator.call("load", "coin", "") == ""
    simulator.close()


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "os.kill(process._process.pid, 9)",
        "os.kill(process._process.pid, 9); time.sleep(0.2); [one.close() for one in opened]",
        "sys.exit(3)",
    ],
)
def test_the_end_of_python_is_quiet_and_ends_java(ending: str) -> None:
    code = f"{SCRIPT}\nprint(process._process.pid, flush=True)\n{ending}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == (3 if "exit" in ending else 0)
    assert wait_for_end(int(done.stdout))


@pytest.mark.parametrize("forks", [False, True])
def test_kill_9_of_python_leaves_no_java(forks: bool) -> None:
    # A forked child that lives on holds no pipe of the Java process.
    fork = "if os.fork() == 0: time.sleep(60)" if forks else ""
    code = f"{SCRIPT}\n{fork}\nprint(process._process.pid, flush=True)\ntime.sleep(60)"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    ended = wait_for_end(pid)
    if forks:
        os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert ended


def test_a_forked_child_starts_its_own_process() -> None:
    simulator = Simulator(PROGRAM)
    child = os.fork()
    if child == 0:
        try:
            own = Simulator(PROGRAM)
            is_fine = own.call("load", "coin", "") == ""
            own.close()
            os._exit(0 if is_fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert simulator.call("load", "coin", "") == ""
    simulator.close()


def test_a_forked_child_that_drops_the_worlds_of_its_parent_keeps_its_own_files(
    tmp_path: Path,
) -> None:
    simulator = Simulator(PROGRAM)
    child = os.fork()
    if child == 0:
        try:
            files = [(tmp_path / str(index)).open("w") for index in range(8)]
            simulator.close()
            del simulator
            gc.collect()
            for file in files:
                file.write("x")
                file.flush()
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert simulator.call("load", "coin", "") == ""
    simulator.close()


def test_threads_play_at_the_same_time_what_one_plays_alone() -> None:
    def play(seed: int) -> list[str]:
        game = ExpressGame()
        texts = [game.start("coin", "numLocations=6", "train", seed).text]
        for _ in range(4):
            assert game.state is not None
            moves = [action for action in game.state.actions if action.startswith("move")]
            texts.append(game.act(moves[seed % len(moves)]).text)
        game.close()
        return texts

    keeper = Simulator(PROGRAM)
    alone = {seed: play(seed) for seed in range(8)}
    together: dict[int, list[str]] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: together.__setitem__(seed, play(seed)))
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    keeper.close()


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramError, match=r"'java' was not found\. Install a Java runtime"):
        PROGRAM.check()
    monkeypatch.setenv("JAVA_HOME", "/nowhere/java")
    with pytest.raises(DependencyError, match="JAVA_HOME=/nowhere/java holds no bin/java"):
        PROGRAM.check()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho 'Error: no such class' >&2; exit 3", r"status 3.*Error: no such class"),
        ("#!/bin/sh\nexit 7", r"bin/java did not start \(status 7\)"),
        ("no program", r"bin/java cannot be started: Exec format error.*Install a Java runtime"),
    ],
)
def test_a_java_that_does_not_start_says_what_it_said(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(script)
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EpisodeError, match=said):
        ExpressGame()


def test_a_long_queue_is_not_taken_for_a_process_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulators, "LOCK_SECONDS", 0.3)
    opened = [Simulator(PROGRAM) for _ in range(6)]
    errors: list[EpisodeError] = []

    def work(simulator: Simulator) -> None:
        try:
            with simulator.exclusively():
                time.sleep(0.2)
        except EpisodeError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for one in opened:
        one.close()


def children() -> list[int]:
    me = os.getpid()
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == me and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_64_worlds_are_one_java_process_and_survive_its_death() -> None:
    before = set(children())
    worlds = [
        make_world("textworld-express", games=["sorting"], held_out_games=[]) for _ in range(64)
    ]
    tasks = worlds[0].tasks("train", 64, 0)
    for world, task in zip(worlds, tasks, strict=True):
        world.reset(task)
    [java] = set(children()) - before
    os.kill(java, signal.SIGKILL)
    for world, task in zip(worlds, tasks, strict=True):
        with pytest.raises(EpisodeError, match="the Java process ended"):
            world.step(act("inventory"))
        world.reset(task)
        assert not world.step(act("inventory")).is_invalid
    assert len(set(children()) - before) == 1
    for world in worlds:
        world.close()
    assert not set(children()) - before
    assert not simulators._running
