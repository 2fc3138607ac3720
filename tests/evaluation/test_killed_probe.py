"""Probe after kill -9: the episodes that were finished are not played again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from tests.environments.push import PushEnvironment
from tests.models.endpoints.chat_server import Reply, completion, serve

ROOT = Path(__file__).resolve().parents[2]
PUSH = Choice(f"{PushEnvironment.__module__}:{PushEnvironment.__name__}")
STOP_AT = 5
# The longest episode has as many answers.
MAX_ANSWERS = 4


def test_after_kill_9_only_the_episode_in_flight_is_played_again(tmp_path: Path) -> None:
    trajectories, selection = tmp_path / "trajectories", tmp_path / "selection"
    collect_experts(CollectConfig(environment=PUSH, episodes=8, workers=1), trajectories)
    select_steps(SelectConfig(selector=Choice("random"), ratio=0.3), trajectories, selection)
    stop_at = 10_000

    def answer(_: dict[str, Any], number: int) -> Reply:
        # From then on it hangs, until the process is killed.
        return Reply(completion("push").body, delay=20.0 if number >= stop_at else 0.0)

    with serve(answer) as server:

        def start(out: Path) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "atlas", "probe", "--trajectories", str(trajectories)]
            command += ["--selection", str(selection), "--model", "m", "--player", "endpoint"]
            command += ["--out", str(out), f"endpoint.base_url={server.url}", "worlds=1"]
            path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
            return subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, text=True
            )

        assert start(tmp_path / "whole").wait() == 0
        num_whole = len(server.requests)
        assert num_whole > STOP_AT + MAX_ANSWERS
        stop_at = num_whole + STOP_AT
        killed, deadline = start(tmp_path / "killed"), time.monotonic() + 60
        while len(server.requests) <= stop_at and time.monotonic() < deadline:
            time.sleep(0.05)
        killed.kill()
        killed.wait()
        assert len(server.requests) == stop_at + 1
        finished = (tmp_path / "killed" / "episodes.jsonl.partial").read_bytes().splitlines()
        assert finished
        stop_at = 10_000
        assert start(tmp_path / "killed").wait() == 0
    num_again = len(server.requests) - 2 * num_whole
    # The answers of the episode in flight, and none of a finished one.
    assert 1 <= num_again <= MAX_ANSWERS
    whole, again = (tmp_path / name / "episodes.jsonl" for name in ("whole", "killed"))
    assert again.read_bytes() == whole.read_bytes()
    for name in ("metrics.json", "problems.jsonl"):
        one = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "killed" / name).read_bytes() == one
