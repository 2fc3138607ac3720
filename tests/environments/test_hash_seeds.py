"""Tasks, texts and experts are the same in every process, whatever the seed of its hashes is."""

from __future__ import annotations

import os
import subprocess
import sys

WORLDS = ("office", "sql", "maze", "planning", "wordle")
# Prints what each world shows; the order of a set differs between the processes.
SHOW = """
import sys
from atlas.environments.base import ENVIRONMENT
from atlas.kinds import Choice
for name in sys.argv[1:]:
    world = ENVIRONMENT.make(Choice(name))
    for split in ("train", "held_in_test", "held_out_test"):
        tasks = world.tasks(split, 24, 0)
        print(*(task.model_dump_json() for task in tasks), sep="\\n")
        for task in tasks[:4]:
            print(world.reset(task))
            expert = world.expert(3)
            result = None
            while result is None or not (result.terminated or result.truncated):
                turn = expert.respond()
                result = world.step(turn.response)
                print(turn, result)
    world.close()
"""


def test_processes_with_other_hash_seeds_have_the_same_tasks_texts_and_experts() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHOW, *WORLDS],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    shown = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert shown[0] == shown[1]
