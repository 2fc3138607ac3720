"""How much time and memory asking an oracle takes beyond the model's own.

    python benchmarks/selection.py --out benchmarks/results/selection.json

Runs `atlas select` against a server with a fixed delay. The server runs in another process and
answers every question after 50 ms. With F questions in flight, N of them take at least N / F * 50
ms: that is the ideal, which no client reaches that does anything at all. Give the server its
own processor (taskset), or it takes its share from the client. (The file is not called
select.py, which would hide a module of Python.)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atlas.config import Config
from atlas.records import Message, Outcome, Source, Step, Task, Trajectory
from atlas.store.record_files import write_records
from atlas.store.run_folders import start_run

SERVER = Path(__file__).with_name("loopback_server.py")


class NoSettings(Config):
    """Settings of a run of trajectories made here."""


def make_trajectory(number: int) -> Trajectory:
    """Ten steps of about 500 characters, as in AgentTraj's BabyAI and ALFWorld."""
    steps = tuple(
        Step(
            observation=(
                Message(
                    role="user",
                    content=f"You are in room {number}, {index}. "
                    + "You see a red ball and a door. " * 8,
                ),
            ),
            response=Message(
                role="assistant",
                content="Thought:\n"
                + "I look around and go on. " * 8
                + f"\n\nAction:\ngo to red ball {index}",
            ),
        )
        for index in range(10)
    )
    return Trajectory(
        id=f"t{number}",
        task=Task(id=f"t{number}", environment="benchmark"),
        prompt=(Message(role="system", content="You are in a house of many rooms."),),
        steps=steps,
        outcome=Outcome(status="success", score=1.0),
        source=Source(name="benchmark"),
    )


def measure(url: str, run: Path, out: Path, in_flight: int) -> dict[str, float]:
    """One selection in a fresh process: seconds of wall and processor, peak memory."""
    script = f"""
import json, resource, time
from pathlib import Path
from atlas.selection.select_steps import SelectConfig, select_steps
endpoint = {{"base_url": {url!r}, "max_in_flight": {in_flight}}}
config = SelectConfig(selector={{"name": "oracle", "model": "loopback", "endpoint": endpoint}})
start, busy = time.perf_counter(), time.process_time()
manifest = select_steps(config, Path({str(run)!r}), Path({str(out)!r}))
print(json.dumps({{
    "wall_seconds": time.perf_counter() - start,
    "processor_seconds": time.process_time() - busy,
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "problems": manifest.summary["problems"],
}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trajectories",
        type=int,
        nargs="+",
        default=[1_000, 10_000],
        help="sizes; memory should not grow with them",
    )
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=[16, 64, 256], help="questions at a time"
    )
    parser.add_argument(
        "--delay",
        type=float,
        default=0.05,
        help="seconds that the server takes; a large model takes 1 to 20",
    )
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    given = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--delay", str(given.delay)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        rows = [
            row
            for count in given.trajectories
            for row in measure_all(url, count, given.in_flight, given.delay)
        ]
    finally:
        server.terminate()
        server.wait()
    show(rows, given.delay)
    if given.out is not None:
        machine = {
            "python": platform.python_version(),
            "processors": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[0], 2),
        }
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(
            json.dumps(
                {
                    "benchmark": "select",
                    "delay_seconds": given.delay,
                    "machine": machine,
                    "rows": rows,
                },
                indent=2,
            )
            + "\n"
        )


def measure_all(url: str, count: int, in_flights: list[int], delay: float) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "trajectories"
        with start_run(run, "collect", NoSettings()) as made:
            write_records(run / "trajectories.jsonl", map(make_trajectory, range(count)))
            made.finish({})
        for in_flight in in_flights:
            found = measure(url, run, Path(folder) / f"out-{in_flight}", in_flight)
            ideal = -(-count // in_flight) * delay
            rows.append(
                {
                    "trajectories": count,
                    "in_flight": in_flight,
                    "ideal_seconds": ideal,
                    **{name: round(value, 3) for name, value in found.items()},
                    "share_of_ideal": round(ideal / found["wall_seconds"], 3),
                    "requests_per_second": round(count / found["wall_seconds"], 1),
                    "overhead_ms_per_request": round(
                        1000 * (found["wall_seconds"] - ideal) / count, 3
                    ),
                    "processor_ms_per_request": round(1000 * found["processor_seconds"] / count, 3),
                }
            )
    return rows


def show(rows: list[dict[str, Any]], delay: float) -> None:
    table = Table(title=f"atlas select, an oracle that takes {1000 * delay:g} ms")
    names = [
        "trajectories",
        "in_flight",
        "ideal_seconds",
        "wall_seconds",
        "share_of_ideal",
        "requests_per_second",
    ]
    names += ["overhead_ms_per_request", "processor_ms_per_request", "peak_memory_mb"]
    for name in names:
        table.add_column(name.replace("_", "\n"), justify="right")
    for row in rows:
        table.add_row(*(f"{row[name]:,.6g}" for name in names))
    Console().print(table)


if __name__ == "__main__":
    main()
