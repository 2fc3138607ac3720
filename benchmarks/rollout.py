"""What playing costs: the local player beside other engines, on the same model and the same tasks.

    python benchmarks/rollout.py --model recipes/base/model [--episodes 64] [--max-steps 20]
        [--vllm PYTHON] [--served URL] [--out rollout.json]

Ours runs in fp32 and in bf16, `generate` and transformers' continuous batching in fp32. Each way
plays the same BabyAI tasks, greedily, in a new process with one thread, in turn, and the turns are
repeated; the turn with the least processor time counts. Loading and one warm-up episode are not
measured. `--vllm` is an interpreter that has vLLM: it is served in fp32 and in bf16 and played
by atlas' own endpoint player; its processor time is that of the server's processes and of the
player. `--served` is any OpenAI-compatible server that already runs (llama.cpp's, for instance),
whose processor time is not known.

All ways include the worlds, the chat template and the record of the episodes. Rounding can choose
another token, so the number of tokens may differ a little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from atlas.environments.base import ENVIRONMENT
from atlas.environments.checked import list_tasks
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Worlds
from atlas.kinds import Choice
from atlas.models.players import PLAYER, Player, PlayerAnswer
from atlas.records import Source

OURS = {"ours, fp32": "fp32", "ours, bf16": "bf16"}
RIVALS = {
    "generate again each turn, fp32": "rollout_rivals:GeneratePlayer",
    "transformers' continuous batching, fp32": "rollout_rivals:ContinuousPlayer",
}
SERVED = {"vLLM, fp32": "float32", "vLLM, bf16": "bfloat16"}
START_SECONDS = 1200.0


def make_player(way: str, given: argparse.Namespace, url: str | None) -> Player:
    if url is not None:
        kind, model = "endpoint", "m"
        endpoint = {"base_url": url, "max_in_flight": given.worlds, "timeout_seconds": 3600.0}
        settings: dict[str, Any] = {"endpoint": endpoint, "max_tokens": given.max_new_tokens}
    else:
        kind, model = RIVALS.get(way, "local"), given.model
        settings = {"max_new_tokens": given.max_new_tokens, "batch_size": given.worlds}
        settings |= {"precision": OURS[way]} if way in OURS else {}
    player: Player = PLAYER.make(Choice(kind, settings), model, 0)
    return player


def processor_seconds(server: int | None) -> float:
    """User and system time of this process, and of a server's processes."""
    processes = [psutil.Process()]
    if server is not None:
        root = psutil.Process(server)
        processes += [root, *root.children(recursive=True)]
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def measure(
    way: str, given: argparse.Namespace, url: str | None = None, server: int | None = None
) -> dict[str, Any]:
    """The figures of one way: it plays all tasks once."""
    import torch

    torch.set_num_threads(1)
    environment = Choice("babyai", {"max_steps": given.max_steps})
    world = ENVIRONMENT.make(environment)
    tasks = list_tasks(world, "held_in_test", given.episodes + 1, given.seed)
    player = make_player(way, given, url)
    source = Source(name="evaluate", details={})
    num_tokens = num_answers = num_success = 0

    def count(answer: PlayerAnswer) -> None:
        nonlocal num_tokens, num_answers
        num_answers += answer.finish in ("stop", "length")
        num_tokens += answer.usage.output_tokens

    def play(chosen: list[Any]) -> None:
        nonlocal num_success
        openings = (Opening(task.id, task, source) for task in chosen)
        with Worlds.of(environment, given.worlds) as worlds:
            for _, episode in play_episodes(openings, worlds, player, count):
                if episode.is_broken or episode.trajectory.outcome.status == "error":
                    sys.exit(f"{way}: {episode.trajectory.outcome.reason}")
                num_success += episode.trajectory.outcome.status == "success"

    try:
        play(list(tasks[-1:]))
        num_tokens = num_answers = num_success = 0
        wall, busy = time.perf_counter(), processor_seconds(server)
        play(list(tasks[:-1]))
        wall, busy = time.perf_counter() - wall, processor_seconds(server) - busy
    finally:
        player.end()
    known = url is None or server is not None
    return {
        "episodes": given.episodes,
        "successes": num_success,
        "answers": num_answers,
        "tokens": num_tokens,
        "wall": wall,
        "cpu": busy if known else None,
        "cpu_ms_per_token": 1000 * busy / num_tokens if known else None,
        "episodes_per_second": given.episodes / wall,
        "memory_mib": max_memory_mib(server),
    }


def max_memory_mib(server: int | None) -> float:
    processes = [psutil.Process() if server is None else psutil.Process(server)]
    processes += processes[0].children(recursive=True)
    return float(sum(process.memory_info().rss for process in processes) / 2**20)


@contextmanager
def serve_vllm(python: str, given: argparse.Namespace, dtype: str) -> Iterator[tuple[str, int]]:
    """A vLLM server on this machine: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    length = str(given.max_context)
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", given.model]
    command += ["--served-model-name", "m", "--dtype", dtype, "--max-model-len", length]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enable-prefix-caching"]
    command += ["--max-num-seqs", str(given.worlds), *given.vllm_options.split()]
    settings = {
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(given.cache_gib),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with given.out.with_suffix(f".{dtype}.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment | settings)
        try:
            _wait_for(port, server, log.name)
            yield f"http://127.0.0.1:{port}/v1", server.pid
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise OSError(f"the server ended with exit status {server.returncode}; see {log}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60):
                return
        except OSError:
            time.sleep(1)
    raise OSError(f"the server did not answer within {START_SECONDS:.0f} s; see {log}")


def run_way(way: str, given: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """The figures of one way in a new process; `failed` if it did not finish."""
    command = [sys.executable, "-W", "ignore", __file__, *arguments, "--way", way]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": lines[-1][:300]}
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="recipes/base/model", help="a model folder")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--worlds", type=int, default=64, help="episodes at a time")
    parser.add_argument("--max-steps", type=int, default=20)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--max-context", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--vllm", metavar="PYTHON", help="an interpreter that has vLLM")
    parser.add_argument("--vllm-options", default="--enforce-eager", help="more of its options")
    parser.add_argument("--cache-gib", type=int, default=2, help="its key-value cache, in GiB")
    parser.add_argument("--served", metavar="URL", help="a server that already runs the model")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of the ways")
    parser.add_argument("--out", type=Path, default=Path("rollout.json"))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parse()
    given.model = str(Path(given.model).resolve())
    if given.way in SERVED:
        with serve_vllm(given.vllm, given, SERVED[given.way]) as (url, pid):
            print(json.dumps(measure(given.way, given, url, pid)))
        return
    if given.way is not None:
        served = None if given.way in OURS | RIVALS else given.served
        print(json.dumps(measure(given.way, given, served)))
        return
    ways = [*OURS, *RIVALS, *(SERVED if given.vllm else ()), *(["served"] if given.served else ())]
    chosen = [way for way in ways if not given.only or any(part in way for part in given.only)]
    turns: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for _ in range(given.repetitions):
        for way in chosen:
            figures = run_way(way, given, sys.argv[1:])
            if "failed" in figures:
                failed[way] = figures["failed"]
                print(f"{way}: failed ({failed[way]})", flush=True)
            else:
                turns.setdefault(way, []).append(figures)
                print(f"{way}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    results = {
        way: min(figures, key=lambda each: each["cpu"] or each["wall"])
        for way, figures in turns.items()
    }
    settings = {name: str(value) for name, value in vars(given).items() if name != "way"}
    record = {"settings": settings, "results": results, "turns": turns, "failed": failed}
    given.out.write_text(json.dumps(record, indent=2) + "\n")
    if not results:
        sys.exit("nothing was measured.")
    print(f"{given.episodes} episodes, Python {platform.python_version()}")
    print(f"{'':42}{'CPU s':>8}{'tokens':>9}{'ms/token':>10}{'ratio':>7}{'episodes/s':>12}")
    first = next(iter(results.values()))
    for way, figure in results.items():
        cost, cpu = figure["cpu_ms_per_token"], figure["cpu"]
        ratio = cost and first["cpu_ms_per_token"] and f"{cost / first['cpu_ms_per_token']:.2f}"
        print(
            f"{way:42}{f'{cpu:.1f}' if cpu else '':>8}{figure['tokens']:9,}"
            f"{f'{cost:.2f}' if cost else '':>10}{ratio or '':>7}"
            f"{figure['episodes_per_second']:12.2f}"
        )


if __name__ == "__main__":
    main()
