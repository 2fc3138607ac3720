"""What sampling at the expert's steps costs, with and without shared histories; and what agrees.

    python benchmarks/pivot.py --model MODEL --trajectories RUN [--limit 6] [--samples 8]
        [--max-new-tokens 64] [--batch-size 64] [--environment JSON] [--only shared]

Samples each step of the first trajectories of a run as the selector `pivot` does, with the local
player in fp32. `shared` computes the common start of histories once; `apart` computes each history
for each sample. Each way runs in a new process with one thread, in turn; processor time of the
sampling only. Then the samples of one way are compared with the expert's actions by each agreement
that costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.models.players import PLAYER
from atlas.records import Trajectory
from atlas.selection.agreement.base import AGREEMENT, ChecksTrajectory
from atlas.selection.sampling.profile_steps import StepProfiler
from atlas.selection.sampling.sampler import Sampler
from atlas.selection.sampling.samples import StepAgreement, StepSample
from atlas.selection.selectors.base import SelectorContext
from atlas.store.readers import read_trajectories

WAYS = ("shared", "apart")


class MemoryBook:
    """Keeps samples in memory, so that they are compared by several agreements."""

    def __init__(self) -> None:
        self.samples: dict[str, StepSample] = {}

    def sample(self, key: str) -> StepSample | None:
        return self.samples.get(key)

    def keep_sample(self, sample: StepSample) -> None:
        self.samples[sample.key] = sample

    def agreement(self, key: str) -> None:
        return None

    def keep_agreement(self, agreement: StepAgreement) -> None:
        pass


def sample_all(given: argparse.Namespace) -> tuple[dict[str, Any], list[StepSample]]:
    """Sample all steps; the figures, and the samples."""
    settings = {
        "temperature": 1.0,
        "max_new_tokens": given.max_new_tokens,
        "max_context": 4096,
        "batch_size": given.batch_size,
        "precision": "fp32",
    }
    player = PLAYER.make(Choice("local", settings), given.model, 0)
    decoder = player._decoder
    num_fed = 0
    feed = decoder.feed

    def counted(fed: Sequence[tuple[Any, Sequence[int]]]) -> Any:
        nonlocal num_fed
        num_fed += sum(len(ids) for _, ids in fed)
        return feed(fed)

    decoder.feed = counted
    if given.way == "apart":
        type(decoder).shares = False
    trajectories = list(islice(read_trajectories(Path(given.trajectories)), given.limit))
    book = MemoryBook()
    # The first pass over a model allocates its memory.
    player.submit("warm-up", trajectories[0].messages[:1])
    player.next_answers()
    player.close("warm-up")
    num_fed = 0
    started = time.process_time()
    asyncio.run(profile(trajectories, "exact", Sampler(player), given, book))
    seconds = time.process_time() - started
    num_steps = sum(len(one.steps) for one in trajectories)
    said = sum(one.usage.output_tokens for one in book.samples.values())
    sent = sum(one.usage.input_tokens for one in book.samples.values())
    figures = {
        "way": given.way,
        "steps": num_steps,
        "seconds_per_step": round(seconds / num_steps, 3),
        "history_tokens": sent,
        "history_tokens_computed": num_fed - said,
        "generated_tokens": said,
    }
    return figures, list(book.samples.values())


async def profile(
    trajectories: Sequence[Trajectory],
    agreement: str,
    sampler: Any,
    given: argparse.Namespace,
    book: Any,
) -> list[StepAgreement]:
    choice: dict[str, Any] = {"name": agreement}
    if agreement == "environment" and given.environment:
        choice["environment"] = json.loads(given.environment)
    context = SelectorContext("pivot", 0, Path(given.trajectories))
    made = AGREEMENT.make(Choice(choice.pop("name"), choice), context)
    profiler = StepProfiler(sampler, made, given.samples, book, lambda usage: None)
    if isinstance(made, ChecksTrajectory):
        problems = {one.id: made.problem(one) for one in trajectories}
        for id_, reason in problems.items():
            if reason is not None:
                print(f"  {id_}: {reason}")
        trajectories = [one for one in trajectories if problems[one.id] is None]
    found = await asyncio.gather(*map(profiler.profile, trajectories))
    if hasattr(made, "close"):
        await made.close()
    return [step for steps in found for step in steps]


def tell_agreement(given: argparse.Namespace, samples: Sequence[StepSample]) -> None:
    """The agreement of the same samples by each kind."""
    book = MemoryBook()
    book.samples = {sample.key: sample for sample in samples}
    trajectories = list(islice(read_trajectories(Path(given.trajectories)), given.limit))
    cut = sum(sample.finish == "length" for sample in samples)
    print(f"{len(samples)} samples, {cut} of them cut off")
    for name in ("exact", "call", "environment"):
        steps = asyncio.run(profile(trajectories, name, None, given, book))
        means = [step.mean for step in steps if step.mean is not None]
        if not means:
            continue
        mixed = sum(0 < mean < 1 for mean in means)
        never, always = sum(mean == 0 for mean in means), sum(mean == 1 for mean in means)
        print(
            f"{name:12} mean {sum(means) / len(means):.3f}; of {len(means)} steps "
            f"{never} never, {mixed} in part, {always} always"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--trajectories", required=True, help="a run folder of import or collect")
    parser.add_argument("--limit", type=int, default=6, help="number of trajectories")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--environment", help="JSON of the environment, to compare by its step")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--only", choices=WAYS, help="measure one way only")
    parser.add_argument("--way", choices=WAYS, help="used by the program itself")
    given = parser.parse_args()
    if given.way:
        figures, samples = sample_all(given)
        rows = [sample.model_dump(mode="json") for sample in samples]
        print(json.dumps({"figures": figures, "samples": rows}))
        return
    best: dict[str, Any] = {}
    for _ in range(given.repetitions):
        for way in (given.only,) if given.only else WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{way} ended with status {done.returncode}: {done.stderr}")
            found = json.loads(done.stdout.splitlines()[-1])
            seconds = found["figures"]["seconds_per_step"]
            if way not in best or seconds < best[way]["figures"]["seconds_per_step"]:
                best[way] = found
    for way, found in best.items():
        print(f"{way:12} {json.dumps(found['figures'])}")
    if not given.only:
        apart, shared = (best[way]["figures"]["seconds_per_step"] for way in ("apart", "shared"))
        print(f"{'ratio':12} {apart / shared:.2f}")
    [found, *_] = best.values()
    tell_agreement(given, [StepSample.model_validate(row) for row in found["samples"]])


if __name__ == "__main__":
    main()
