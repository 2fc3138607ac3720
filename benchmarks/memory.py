"""How memory grows with the number of trajectories: peak of each command, at two sizes.

    python benchmarks/memory.py [--rows 20000 200000] [--steps 8] [--out memory.json]

Makes the chats of benchmarks/import.py, then imports them, selects from them with selectors that
ask no model, selects from these selections, and exports. Each command runs in a process of its own;
the peak is that of its largest process. Memory is flat where the peaks of both sizes are alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

SELECT = ["select", "--trajectories", "runs", "--selector"]
EXPORT = ["export", "--trajectories", "runs", "--selection", "random"]
COMMANDS = {
    "import": ["import", "rows.jsonl", "--out", "runs"],
    "select random": [*SELECT, "random", "--out", "random"],
    "select random, again": [*SELECT, "random", "seed=1", "--out", "other"],
    "select complement": [*SELECT, "complement", "of=random", "--out", "complement"],
    "select vote": [*SELECT, "vote", "of=[random, other]", "--out", "vote"],
    "export openai": [*EXPORT, "--to", "openai", "--out", "openai.jsonl"],
    "export parquet": [*EXPORT, "--to", "parquet", "--out", "table.parquet"],
}
# The peak of all processes that this one has waited for.
FRAME = """
import resource, subprocess, sys
command = [sys.executable, "-m", "atlas", *sys.argv[1:]]
done = subprocess.run(command, capture_output=True, text=True)
if done.returncode:
    sys.exit(done.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def measure(folder: Path, num_rows: int, mean_steps: int) -> dict[str, dict[str, float]]:
    """Peak in MB and seconds of each command."""
    import_module("import").write_rows(folder / "rows.jsonl", num_rows, mean_steps, seed=0)
    found = {}
    for name, command in COMMANDS.items():
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", FRAME, *command], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{name}: {done.stderr}")
        seconds = time.perf_counter() - start
        found[name] = {"peak_mb": float(done.stdout), "seconds": round(seconds, 2)}
        print(
            f"{num_rows:>9,}  {name:20} {float(done.stdout):8,.0f} MB {seconds:8.1f} s", flush=True
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    for num_rows in asked.rows:
        with tempfile.TemporaryDirectory(prefix="atlas-memory-") as folder:
            results[str(num_rows)] = measure(Path(folder), num_rows, asked.steps)
    record = {"python": platform.python_version(), "steps": asked.steps, "results": results}
    if asked.out is not None:
        asked.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
