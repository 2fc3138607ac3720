"""How fast `atlas import` reads: rows and megabytes per second beside decoders, and peak memory.

    python benchmarks/import.py [--rows 100000] [--steps 8] [--out import.json]

Makes a JSON Lines file of OpenAI chats from a seed: agent turns with thought and action,
observations of several lines, one failure in twenty. Then it reads the file in a process each, with
json.loads, orjson, datasets.load_dataset (where it is installed) and the whole import: detection,
decoding, hashing, checks, records, summary, and digests of what came in and went out. CPU seconds
are those of all processes together, the peak is that of the largest.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

IMPORT = (
    "from pathlib import Path\n"
    "from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories\n"
    "import_trajectories(ImportConfig(paths=(path,)), Path(out))"
)
DATASETS = (
    "import datasets\ndatasets.load_dataset('json', data_files=path, split='train', cache_dir=out)"
)
READERS = {
    "json.loads": "import json\nfor line in open(path, 'rb'): json.loads(line)",
    "orjson.loads": "import orjson\nfor line in open(path, 'rb'): orjson.loads(line)",
    "datasets": DATASETS,
    "atlas import": IMPORT,
}
FRAME = """
import resource, sys, time
def usage(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
path, out = sys.argv[1:]
try:
    start, cpu_start = time.perf_counter(), time.process_time()
{body}
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    (_, peak), (cpu_of_others, peak_of_others) = map(
        usage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
except ImportError:
    sys.exit(3)
print(seconds, cpu_seconds + cpu_of_others, max(peak, peak_of_others))
"""


def write_rows(path: Path, num_rows: int, mean_steps: int, seed: int) -> None:
    """Chats of 1 to 2 x `mean_steps` - 1 steps."""
    rng = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(4000)] + [
        "é",
        "«naïve»",
        '"quoted"',
        "C:\\path",
    ]

    def text(num_words: int, line: int = 12) -> str:
        chosen = rng.choices(words, k=num_words)
        return "\n".join(
            " ".join(chosen[start : start + line]) for start in range(0, num_words, line)
        )

    with path.open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            messages = [{"role": "system", "content": text(80)}]
            for _ in range(rng.randint(1, 2 * mean_steps - 1)):
                messages.append({"role": "user", "content": text(rng.randint(10, 120))})
                messages.append(
                    {
                        "role": "assistant",
                        "content": f"Thought:\n{text(rng.randint(10, 60))}\n\nAction:\n{text(4)}",
                    }
                )
            row = {
                "messages": messages,
                "task_id": f"synthetic_{number}",
                "success": rng.random() > 0.05,
                "reward": 1.0,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def measure(name: str, path: Path, out: Path) -> tuple[float, float, float] | None:
    """Seconds on the clock and on the CPU, and peak MiB; None where a package is missing."""
    body = "\n".join(f"    {line}" for line in READERS[name].splitlines())
    done = subprocess.run(
        [sys.executable, "-c", FRAME.format(body=body), str(path), str(out)],
        capture_output=True,
        text=True,
    )
    if done.returncode == 3:
        return None
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    seconds, cpu_seconds, peak = map(float, done.stdout.split()[-3:])
    return seconds, cpu_seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=8, help="mean steps of a trajectory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest counts")
    parser.add_argument("--out", type=Path, default=Path("import.json"))
    given = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, given.rows, given.steps, given.seed)
        megabytes = path.stat().st_size / 1e6
        print(
            f"{given.rows:,} trajectories, {megabytes:,.0f} MB, Python {platform.python_version()}"
        )
        print(f"{'':14}{'rows/s':>10}{'MB/s':>9}{'of json':>9}{'(CPU)':>8}{'peak MiB':>10}")
        for name in READERS:
            runs = [
                measure(name, path, Path(folder) / f"{name}-{repeat}")
                for repeat in range(given.repeats)
            ]
            if None in runs:
                print(f"{name:14}  not installed, skipped")
                continue
            seconds, cpu_seconds, peak = min(run for run in runs if run)
            results[name] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak}
            results[name] |= {
                "rows_per_second": given.rows / seconds,
                "mb_per_second": megabytes / seconds,
            }
            plain = results["json.loads"]
            shares = f"{plain['seconds'] / seconds:9.0%}{plain['cpu_seconds'] / cpu_seconds:8.0%}"
            print(
                f"{name:14}{given.rows / seconds:10,.0f}{megabytes / seconds:9,.0f}"
                f"{shares}{peak:10,.0f}",
                flush=True,
            )
    settings = {
        "rows": given.rows,
        "mean_steps": given.steps,
        "seed": given.seed,
        "megabytes": megabytes,
    }
    given.out.write_text(
        json.dumps(
            {"settings": settings, "python": platform.python_version(), "results": results},
            indent=2,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
