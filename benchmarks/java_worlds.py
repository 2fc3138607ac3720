"""Many worlds in one Java process: its memory, and the steps per second of all worlds together.

    python benchmarks/java_worlds.py textworld-express scienceworld worlds=64 rounds=10

Each world plays a task of the split train in its own thread, as in `atlas evaluate`; the actions
are the same for all (`look around` and `inventory`), so that the worlds are measured, not a player.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from atlas.environments.base import ENVIRONMENT, Environment
from atlas.environments.react import react_message
from atlas.errors import AtlasError
from atlas.kinds import Choice
from atlas.records import Task

ACTIONS = ("look around", "inventory")


def java_processes() -> list[int]:
    """The running children of this process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def resident_megabytes(pid: int) -> int:
    """The resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) // 1024


def measure(name: str, num_worlds: int, rounds: int) -> None:
    """Play `rounds` actions in each of `num_worlds` worlds and print what it took."""
    worlds: list[Environment] = [ENVIRONMENT.make(Choice(name)) for _ in range(num_worlds)]
    tasks = worlds[0].tasks("train", num_worlds, 0)

    def reset(pair: tuple[Environment, Task]) -> None:
        pair[0].reset(pair[1])

    def play(world: Environment) -> None:
        for index in range(rounds):
            world.step(react_message("I look.", ACTIONS[index % len(ACTIONS)]))

    with ThreadPoolExecutor(num_worlds) as threads:
        started = time.perf_counter()
        list(threads.map(reset, zip(worlds, tasks, strict=True)))
        ready = time.perf_counter()
        list(threads.map(play, worlds))
        played = time.perf_counter()
    processes = java_processes()
    memory = ", ".join(f"{resident_megabytes(pid)} MB" for pid in processes)
    print(
        f"{name}: {num_worlds} worlds in {len(processes)} Java process ({memory}), started in "
        f"{ready - started:.1f} s, {num_worlds * rounds / (played - ready):.0f} steps/s together"
    )
    started = time.perf_counter()
    for world in worlds:
        world.close()
    print(f"{name}: closed in {time.perf_counter() - started:.1f} s, {len(java_processes())} left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("given", nargs="+", metavar="ENVIRONMENT|worlds=N|rounds=N")
    given = parser.parse_args().given
    settings = dict(one.split("=", 1) for one in given if "=" in one)
    for name in (one for one in given if "=" not in one):
        try:
            measure(name, int(settings.get("worlds", 64)), int(settings.get("rounds", 10)))
        except AtlasError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
