"""How long the viewer takes: to index, to start again, and to show pages of a list.

    python benchmarks/view.py 10000 100000

Each run has trajectories of 10 steps (about 9 kB) and two selections. A page is timed as a whole,
from the request to the HTML, in this process.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi.testclient import TestClient

from atlas.records import (
    CRITICAL_KINDS,
    CriticalStep,
    Message,
    Outcome,
    Selection,
    Source,
    Step,
    Task,
    Trajectory,
)
from atlas.store.manifests import MANIFEST_FILE, Input, Manifest, write_manifest
from atlas.store.record_files import file_digest, write_records
from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.sources import open_sources

NUM_STEPS = 10
WORDS = [f"{a}{b}" for a in ("red", "old", "far", "odd", "wet") for b in ("ball", "key", "door")]
REPEATS = 5
PAGES = {
    "first page": "/",
    "page 100": "/?page=100",
    "last page": "/?page={last}",
    "search": "/?q=redball+oddkey",
    "search of all": "/?q=go",
    "by steps": "/?sort=-steps",
    "by score, page 100": "/?sort=-score&page=100",
    "by task, last page": "/?sort=task&page={last}",
    "failures": "/?outcome=failure",
    "selector and kind": "/?selector=one&kind=self_correction",
    "disagreement": "/?disagreement=1",
    "flipped": "/?flipped=any",
}


def trajectories(count: int) -> Iterator[Trajectory]:
    draw = random.Random(0)
    for number in range(count):
        steps = tuple(
            Step(
                observation=(Message(role="user", content=" ".join(draw.choices(WORDS, k=40))),),
                response=Message(
                    role="assistant", content=f"go to {' '.join(draw.choices(WORDS, k=50))}"
                ),
                action="go",
            )
            for _ in range(NUM_STEPS)
        )
        yield Trajectory(
            id=f"world/{number}",
            task=Task(id=f"world/{number}", environment="world", group=f"level {number % 7}"),
            steps=steps,
            outcome=Outcome(status=draw.choice(("success", "failure")), score=draw.random()),
            source=Source(name="benchmark"),
        )


def selections(count: int, seed: int) -> Iterator[Selection]:
    draw = random.Random(seed)
    for number in range(count):
        chosen = sorted(draw.sample(range(NUM_STEPS), 3))
        yield Selection(
            trajectory_id=f"world/{number}",
            selector="benchmark",
            num_steps=NUM_STEPS,
            budget=3,
            critical_steps=tuple(
                CriticalStep(index=index, kinds=(draw.choice(CRITICAL_KINDS),)) for index in chosen
            ),
        )


def finish(folder: Path, command: str, inputs: dict[str, Input], name: str) -> Manifest:
    manifest = Manifest(command=command, config={}, inputs=inputs)
    finished = manifest.with_outputs(folder, {name: file_digest(folder / name)})
    return write_manifest(folder / MANIFEST_FILE, finished)


def make_runs(folder: Path, count: int) -> list[Path]:
    run, one, two = paths = [folder / name for name in ("run", "one", "two")]
    for path in paths:
        path.mkdir()
    write_records(run / "trajectories.jsonl", trajectories(count))
    digest = finish(run, "import", {}, "trajectories.jsonl").digest
    for seed, path in enumerate((one, two)):
        write_records(path / "selections.jsonl", selections(count, seed))
        made_from = Input(path="../run", digest=digest)
        finish(path, "select", {"trajectories": made_from}, "selections.jsonl")
    return paths


def measure(count: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        runs = make_runs(folder, count)
        size = (runs[0] / "trajectories.jsonl").stat().st_size / 1e6
        print(f"\n{count:,} trajectories ({size:,.0f} MB), two selections")
        for title in ("index", "start again"):
            started = time.perf_counter()
            library = Library(open_sources(runs), folder / "index", shows_progress=True)
            print(f"  {title:24} {time.perf_counter() - started:8.2f} s")
        labels = LabelStore(folder / "labels.sqlite")
        app = make_app(library, labels, ViewConfig())
        client = TestClient(app, base_url="http://127.0.0.1")
        last = -(-count // 50)
        for title, place in PAGES.items():
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                answer = client.get(place.format(last=last))
                seconds.append(time.perf_counter() - started)
                assert answer.status_code == 200, answer.text
            first, rest = seconds[0] * 1e3, statistics.median(seconds[1:]) * 1e3
            print(f"  {title:24} {first:8.0f} ms at first, {rest:6.0f} ms again")
        library.close()


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ["10000"]):
        measure(count)
