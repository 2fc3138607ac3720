"""Many trajectories, a server that breaks a fifth of its answers, a process killed thrice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ModelError
from atlas.records import Problem
from atlas.selection.select_steps import select_steps
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import HTML_PAGE, Reply, completion, failure, serve
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import select_config
from tests.selection.oracle_answers import answer_of, good, number_in

BROKEN_SHARE = 0.2
MAX_IN_FLIGHT = 16
NUM_KILLS = 3
TIMEOUT_SECONDS = 3.0

# To a question; the number says how often this trajectory was asked about before.
Answer = Callable[[dict[str, Any], int], Reply]


def at_first(reply: Reply, times: int = 1) -> Answer:
    return lambda body, asked: reply if asked < times else good(body)


# What breaks; how many answers are paid for (completions sent whole and in time) if nothing is
# killed; whether there is a selection.
FAULTS: dict[str, tuple[Answer, int, bool]] = {
    "busy": (at_first(failure(429, "slow down", Retry_After="0.05"), 2), 1, True),
    "broken": (at_first(failure(500)), 1, True),
    "cut": (at_first(replace(completion("{}" * 1_000), is_cut=True)), 1, True),
    "silent": (at_first(completion("too late", delay=TIMEOUT_SECONDS + 1)), 1, True),
    "HTML page": (at_first(HTML_PAGE), 1, True),
    "no JSON": (at_first(Reply("{")), 1, True),
    "prose": (at_first(completion("Step 1 seems important to me.")), 2, True),
    "wrong schema": (at_first(completion(json.dumps({"critical_steps": {"index": 0}}))), 2, True),
    "wrong indices": (at_first(completion(answer_of([99]))), 2, True),
    "huge": (at_first(completion("{" * 500_000)), 2, True),
    "always wrong": (lambda body, asked: completion(answer_of([99])), 2, False),
    "refusal": (lambda body, asked: completion(None, refusal="I would rather not"), 1, False),
    "too long": (lambda body, asked: failure(400, "maximum context length exceeded"), 0, False),
    "always broken": (lambda body, asked: failure(503, "overloaded"), 0, False),
}


def is_paid(reply: Reply) -> bool:
    return (
        reply.status == 200
        and '"choices"' in reply.body
        and not reply.is_cut
        and reply.delay == 0.0
    )


@pytest.mark.parametrize("num_trajectories", [300, pytest.param(1_000, marks=pytest.mark.slow)])
def test_every_trajectory_ends_well_or_with_a_problem_and_none_is_paid_for_twice(
    num_trajectories: int, tmp_path: Path
) -> None:
    chance = random.Random(11)
    broken = chance.sample(range(num_trajectories), int(BROKEN_SHARE * num_trajectories))
    fault_of = {number: list(FAULTS)[place % len(FAULTS)] for place, number in enumerate(broken)}
    trajectories = [
        make_trajectory(4, f"t{number}", thought=f"I am number {number}.")
        for number in range(num_trajectories)
    ]
    run, out = write_trajectories(tmp_path / "trajectories", trajectories), tmp_path / "out"
    asked: Counter[int] = Counter()
    paid: Counter[int] = Counter()
    lock = threading.Lock()

    def answer(body: dict[str, Any], _: int) -> Reply:
        number = number_in(body)
        with lock:
            before, asked[number] = asked[number], asked[number] + 1
        reply = FAULTS[fault_of[number]][0](body, before) if number in fault_of else good(body)
        with lock:
            paid[number] += is_paid(reply)
        return reply

    with serve(answer) as server:
        for kill in range(NUM_KILLS):
            process = start(server.url, run, out)
            wait_for_lines(
                process, out, (kill + chance.uniform(0.3, 1.0)) * num_trajectories / (NUM_KILLS + 1)
            )
            process.kill()
            process.wait()
        for attempt in range(6):
            if start(server.url, run, out, accept_unanswered=attempt >= 2).wait() == 0:
                break

    manifest = read_manifest(out, ("select",))
    selections = selections_in(out)
    assert [selection.trajectory_id for selection in selections] == [
        trajectory.id for trajectory in trajectories
    ]
    for number, selection in enumerate(selections):
        is_good = number not in fault_of or FAULTS[fault_of[number]][2]
        assert (selection.problem is None) is is_good, (
            number,
            fault_of.get(number),
            selection.problem,
        )
        assert len(selection.indices) == (selection.budget if is_good else 0)
    listed = {problem.item for problem in read_records(out / "problems.jsonl", Problem)}
    assert listed == {
        selection.trajectory_id for selection in selections if selection.problem is not None
    }
    assert manifest.summary["problems"] == len(listed) > 0

    due = {
        number: FAULTS[fault_of[number]][1] if number in fault_of else 1
        for number in range(num_trajectories)
    }
    paid_again = [number for number in range(num_trajectories) if paid[number] > due[number]]
    assert len(paid_again) <= NUM_KILLS * MAX_IN_FLIGHT  # those in flight at a kill, and no other
    assert all(paid[number] >= 1 for number in range(num_trajectories) if due[number])


def start(url: str, run: Path, out: Path, **settings: Any) -> subprocess.Popen[bytes]:
    config = select_config(
        selector="oracle",
        base_url=url,
        max_in_flight=MAX_IN_FLIGHT,
        timeout_seconds=TIMEOUT_SECONDS,
        max_retries=2,
        **settings,
    )
    script = f"""
from pathlib import Path
from atlas.errors import EndpointError
from atlas.selection.select_steps import SelectConfig, select_steps
try:
    config = SelectConfig.model_validate_json({config.model_dump_json()!r})
    select_steps(config, Path({str(run)!r}), Path({str(out)!r}))
except EndpointError:
    raise SystemExit(2)
"""
    return subprocess.Popen([sys.executable, "-c", script])


def wait_for_lines(process: subprocess.Popen[bytes], out: Path, count: float) -> None:
    """Until that many answers are safe on disk."""
    partial = out / "selections.jsonl.partial"
    deadline = time.monotonic() + 120
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= count):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_when_the_key_is_refused_answers_under_way_are_kept_for_they_are_paid(
    tmp_path: Path,
) -> None:
    run = write_trajectories(
        tmp_path / "trajectories",
        [make_trajectory(4, f"t{n}", thought=f"I am number {n}.") for n in range(30)],
    )
    asked: Counter[int] = Counter()

    def answer(body: dict[str, Any], number: int) -> Reply:
        if number == 8:
            return failure(401, "the account is closed")
        asked[number_in(body)] += 1
        return replace(good(body), delay=0.3)

    with serve(answer) as server:
        config = select_config(
            selector="oracle", model="judge", base_url=server.url, max_in_flight=8
        )
        with pytest.raises(ModelError, match="the account is closed"):
            select_steps(config, run, tmp_path / "out")
        assert len(server.requests) < 20, "nothing new is asked"
        select_steps(config, run, tmp_path / "out")
    assert asked == Counter(range(30)), "each was paid for once"
