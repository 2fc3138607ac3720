"""What training on chosen steps costs: the engine and its parts beside Trainer, TRL, LLaMA-Factory.

    python benchmarks/train.py [--preset small] [--repetitions 2] [--out train.json]
        [--peers trl=PYTHON llamafactory=PYTHON]
    python benchmarks/train.py --device cuda --preset 1b --repetitions 3
    python benchmarks/train.py --model smollm2 --chats chats.json --peers trl=PYTHON axolotl=PYTHON

The preset 8b uses low-rank adapters and gradient checkpointing.

Makes ReAct chats from a seed, as token ids: a prompt of 438 tokens that all share, then steps of an
observation and a response, up to 3,000 tokens; 30 % of the steps are supervised. With `--model` and
`--chats` (benchmarks/real_chats.py) it is a real model on real trajectories. Each way trains one
pass over the same chats with the same model in a new process, in turn, and the turns are repeated.

Seconds are of the optimizer steps after the warm-up, once model and data are made; the fastest turn
counts. On a CPU they are processor seconds, which other processes disturb least, and memory is the
peak of the process, checks before the training included. On a GPU they are wall-clock seconds, and
memory is the peak of tensors. Loss and gradient norm of the first optimizer step show that all ways
compute the same.

"peak" is the share of the measured matrix-multiplication peak (same device, precision and threads,
best over the turns): of the operations that the way performs, padding and recomputation included,
and of those that the same gradients need at least. A peer is measured if its interpreter has it; on
a GPU also with padding-free rows, flash attention and Liger, if these are installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from train_data import PRESETS
from train_ways import WAYS, chats_of, measure_matmul_peak, preset_of, run

MATMUL = "matmul peak"


def run_turn(way: str, interpreter: str, arguments: list[str]) -> dict[str, Any]:
    """The figures of one turn in a new process; `failed` if it did not finish (out of memory)."""
    done = subprocess.run(
        [interpreter, "-W", "ignore", __file__, "--way", way, *arguments],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return {
            "failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][
                :300
            ]
        }
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=list(WAYS), default="cpu")
    parser.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="small",
        help="shape of the model, number of chats",
    )
    parser.add_argument("--model", help="a real Llama in a folder, instead of a preset")
    parser.add_argument("--chats", help="the file of chats that real_chats.py made for it")
    parser.add_argument(
        "--examples", type=int, help="chats that are measured, instead of the preset's"
    )
    parser.add_argument(
        "--batch", type=int, help="chats of an optimizer step, instead of the preset's"
    )
    parser.add_argument(
        "--layers", type=int, help="layers, instead of the preset's, where memory demands it"
    )
    parser.add_argument(
        "--micro-batch-tokens",
        type=int,
        default=8192,
        help="for the packed ways; padded ones take 4 chats",
    )
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="compute in bf16; the default on a GPU",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peers",
        nargs="*",
        default=[],
        metavar="NAME=PYTHON",
        help="interpreters that have trl, llamafactory, swift (ms-swift) or axolotl",
    )
    parser.add_argument(
        "--only", nargs="*", default=[], help="parts of the names of the ways to run"
    )
    parser.add_argument("--out", type=Path, default=Path("train.json"))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if (given.model is None) != (given.chats is None):
        parser.error("--model and --chats go together: real_chats.py makes the chats for a model")
    given.bf16 = given.device == "cuda" if given.bf16 is None else given.bf16
    return given


def main() -> None:
    given = parse()
    if given.way:
        print(
            json.dumps(measure_matmul_peak(given) if given.way == MATMUL else run(given.way, given))
        )
        return
    # A peer's interpreter has no atlas.
    from train_costs import needed_operations, operations_of

    preset, ways = preset_of(given), WAYS[given.device]
    names = (
        "device",
        "preset",
        "model",
        "chats",
        "examples",
        "batch",
        "layers",
        "micro_batch_tokens",
        "threads",
        "seed",
    )
    settings = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    arguments = [
        text
        for name, value in settings.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    arguments.append("--bf16" if given.bf16 else "--no-bf16")
    interpreters = dict(peer.split("=", 1) for peer in given.peers)
    chats = chats_of(preset, given.seed, given.chats)[preset.warm_up * preset.batch :]
    num_tokens, supervised = (
        sum(len(ids) for ids, _ in chats),
        sum(int((labels != -100).sum()) for _, labels in chats),
    )
    share = f"{supervised:,} supervised ({supervised / num_tokens:.1%})"
    print(f"{len(chats)} chats, {num_tokens:,} tokens, {share}, Python {platform.python_version()}")
    turns: dict[str, list[dict[str, Any]]] = {}
    peaks: list[dict[str, Any]] = []
    passed_over: dict[str, str] = {}
    for repetition in range(given.repetitions):
        peaks.append(run_turn(MATMUL, sys.executable, arguments))
        for name, way in ways.items():
            if name in passed_over or (given.only and not any(part in name for part in given.only)):
                continue
            figures = run_turn(name, interpreters.get(way.kind, sys.executable), arguments)
            if problem := figures.get("missing") or figures.get("failed"):
                passed_over[name] = problem
                print(
                    f"{name}: skipped "
                    f"({'not installed: ' if 'missing' in figures else ''}{problem})",
                    flush=True,
                )
                continue
            figures["seconds"] = (
                figures["wall"] if given.device == "cuda" else figures["cpu"] / given.threads
            )
            turns.setdefault(name, []).append(figures)
            print(
                f"turn {repetition + 1}, {name}: {figures['seconds']:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    if any("failed" in peak for peak in peaks) or not turns:
        sys.exit(f"nothing was measured: {peaks[0].get('failed') or passed_over}")
    peak = max(each["operations_per_second"] for each in peaks)
    needed = needed_operations(preset, chats, given.micro_batch_tokens)
    results = {
        name: min(figures, key=lambda figure: figure["seconds"]) for name, figures in turns.items()
    }
    for name, figure in results.items():
        performed = operations_of(ways[name], preset, chats, given.micro_batch_tokens)
        figure |= {
            "ratio": next(iter(results.values()))["seconds"] / figure["seconds"],
            "tokens_per_second": num_tokens / figure["seconds"],
            "supervised_per_second": supervised / figure["seconds"],
            "operations": performed,
            "share_of_peak": performed / figure["seconds"] / peak,
            "needed_share_of_peak": None
            if ways[name].window is not None
            else needed / figure["seconds"] / peak,
        }
    print(
        f"{peaks[0]['device']}, matrix products: {peak / 1e12:.3g} T operations/s "
        f"({'bf16' if given.bf16 else 'fp32'})"
    )
    columns = f"{'':36}{'seconds':>9}{'ratio':>7}{'tokens/s':>10}{'superv./s':>10}{'MiB':>8}"
    print(f"{columns}{'peak':>7}{'needed':>8}{'loss':>10}{'grad norm':>11}")
    for name, figure in results.items():
        needed_share = figure["needed_share_of_peak"]
        needed_text = "" if needed_share is None else f"{needed_share:.1%}"
        print(
            f"{name:36}{figure['seconds']:9.1f}{figure['ratio']:7.2f}{figure['tokens_per_second']:10,.0f}"
            f"{figure['supervised_per_second']:10,.1f}{figure['peak_mib']:8,.0f}{figure['share_of_peak']:7.1%}"
            f"{needed_text:>8}{figure['loss']:10.5f}{figure['grad_norm']:11.5f}"
        )
    record = {
        "settings": settings
        | {
            "bf16": given.bf16,
            "repetitions": given.repetitions,
            "model": dataclasses.asdict(preset),
        },
        "tokens": num_tokens,
        "supervised": supervised,
        "needed_operations": needed,
        "matmul": peaks,
        "passed_over": passed_over,
        "results": results,
        "turns": turns,
    }
    given.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
