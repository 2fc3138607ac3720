"""How fast `atlas audit` is: rows and tokens per second for each trainer, and peak memory.

    python benchmarks/audit.py [--rows 20000] [--tokenizer NAME] [--processes N] [TRAINER…]

Makes a JSON Lines file of chats from a seed (benchmarks/import.py has the same): agent turns with
thought and action, observations of several lines. Each trainer audits it in a process of its own.
Without a tokenizer, a byte-level one of 320 tokens is made, which gives two to three times as many
tokens as that of a real model. CPU seconds are those of all processes; the peak is of the largest.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from export_dialects import make_tokenizer

RUN = """
import json, resource, sys, time
from atlas.auditing.audit_files import AuditConfig, audit_files
from atlas.kinds import Choice
path, tokenizer, trainer, processes, settings = sys.argv[1:]
config = AuditConfig(
    trainer=Choice(trainer, json.loads(settings)),
    paths=(path,),
    tokenizer=tokenizer,
    processes=int(processes) or None,
)
start = time.perf_counter()
tally = audit_files(config).tally
seconds = time.perf_counter() - start
own, others = (
    resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
)
print(json.dumps({
    "seconds": seconds,
    "cpu_seconds": own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
    "peak_mib": max(own.ru_maxrss, others.ru_maxrss) / 1024,
    "rows": tally.num_rows,
    "tokens": int(tally.tokens.sum()) + tally.num_cut_tokens,
}))
"""
SETTINGS = {"trl": {"max_length": None}, "verl": {"max_length": None}}
TRAINERS = ("axolotl", "llamafactory", "ms-swift", "openai", "torchtune", "trl", "verl")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trainers", nargs="*", help=f"of {', '.join(TRAINERS)}; all if left out")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=8, help="mean number of turns")
    parser.add_argument("--tokenizer", help="a hub id or a folder")
    parser.add_argument("--processes", type=int, default=0, help="0: one per CPU")
    arguments = parser.parse_args()
    # Its name is a keyword, so it cannot be imported by a statement.
    write_rows = importlib.import_module("import").write_rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, arguments.rows, arguments.steps, seed=0)
        tokenizer = arguments.tokenizer
        if tokenizer is None:
            tokenizer = str(Path(folder) / "tokenizer")
            make_tokenizer(Path(tokenizer))
        megabytes = path.stat().st_size / 1e6
        print(f"{arguments.rows:,} rows, {megabytes:.0f} MB, {os.cpu_count()} CPUs")
        for name in arguments.trainers or TRAINERS:
            given = (name, str(arguments.processes), json.dumps(SETTINGS.get(name, {})))
            done = subprocess.run(
                [sys.executable, "-c", RUN, str(path), tokenizer, *given],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(f"{name:13} {done.stderr.strip().splitlines()[-1]}")
                continue
            made = json.loads(done.stdout.strip().splitlines()[-1])
            rows, tokens = (made[unit] / made["seconds"] for unit in ("rows", "tokens"))
            print(
                f"{name:13} {made['seconds']:7.1f} s {rows:8,.0f} rows/s {tokens:12,.0f} tokens/s "
                f"{made['cpu_seconds']:7.1f} s CPU {made['peak_mib']:6.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
