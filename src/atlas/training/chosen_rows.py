"""How long rows are where `engine.micro_batch_tokens` is `auto`. It is chosen once for a run.

Longer rows share more prompts, and need more memory. So the choice is the shortest row that runs
hardly more tokens than the best of those whose expected memory is available, and that gives each
core enough to do. If less memory is available, it is the longest row that fits.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from atlas.models.local.precision import default_device
from atlas.store.manifests import MANIFEST_FILE, parse_manifest
from atlas.store.run_folders import CHOICE_SUFFIX
from atlas.training.available_memory import available_memory
from atlas.training.checkpoint import newest_state
from atlas.training.config import LONGEST_ROW, TrainConfig
from atlas.training.costs import PARTS_OF_ROWS, Steps, count_run_tokens, estimate_memory
from atlas.training.kept_choice import KeptChoice
from atlas.training.model_shape import ModelShape, measure_shape
from atlas.training.ranks import Ranks, asks_for_shards
from atlas.training.schedule import Schedule

SHORTEST_ROW = 512
# On a CPU, time per token is the same in rows of 512, 1,024 and 4,096 tokens on one core (2M and
# 135M parameters). A GPU needs long rows.
TOKENS_PER_CORE = 1024
# How much more tokens a row may run than the best one.
HARDLY_MORE = 1.02
# The estimate may be too low by this factor (benchmarks/train_memory.py).
MARGIN = 1.15
# Rows of so many optimizer steps are counted.
COUNTED_STEPS = 64
KEPT_FILE = f"rows{CHOICE_SUFFIX}"
# What a sharded model divides among its ranks.
SHARDED = ("weights", "gradients", "optimizer")


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """The maximum tokens of a forward pass and how it was chosen.

    Attributes:
        reason: for people; None: the config sets the number.
    """

    micro_batch_tokens: int
    reason: str | None = None


class MemoryOfEach(NamedTuple):
    """How many processes a training has, and the bytes that each can take.

    Attributes:
        available: the least of all processes; None: not known.
    """

    num_ranks: int
    available: float | None


class Candidate(NamedTuple):
    """A length of rows, the bytes that it needs and the tokens that it runs."""

    size: int
    memory: float
    num_tokens: int


def kept_rows(folder: Path | None, shared: Path | None = None) -> KeptChoice[ChosenRows]:
    """Where the rows of a run are kept."""
    return KeptChoice(ChosenRows, KEPT_FILE, folder, shared)


def with_rows(config: TrainConfig, micro_batch_tokens: int) -> TrainConfig:
    """The config with this number in place of `auto`."""
    engine = config.engine.model_copy(update={"micro_batch_tokens": micro_batch_tokens})
    return config.model_copy(update={"engine": engine})


def keep_rows(
    config: TrainConfig,
    location: str,
    schedule: Schedule,
    precision: str,
    memory: MemoryOfEach,
    folder: Path,
    shared: Path | None = None,
) -> ChosenRows:
    """The rows of a run, chosen now or when the run was started.

    Args:
        location: where the files of the model are.
        folder: the folder of the states to resume from.
        shared: the folder that has the choice of all runs that are compared, if there are others.
    """
    if config.engine.micro_batch_tokens != "auto":
        return ChosenRows(config.engine.micro_batch_tokens)

    if (found := rows_so_far(folder)) is not None:
        return kept_rows(folder).read_or_make(lambda: found)

    def choose() -> ChosenRows:
        shape = measure_shape(location, config)
        return choose_rows(config, shape, schedule, precision, memory)

    return kept_rows(folder, shared).read_or_make(choose)


def rows_so_far(folder: Path) -> ChosenRows | None:
    """The rows of a run with states or with a choice; None if it may choose."""
    if (kept := kept_rows(folder).read()) is not None or newest_state(folder) is None:
        return kept
    # Without a choice, the run was started with a number, which older versions always had.
    engine = parse_manifest(folder.parent / MANIFEST_FILE).config.get("engine") or {}
    number = engine.get("micro_batch_tokens")
    size = number if isinstance(number, int) else LONGEST_ROW
    return ChosenRows(size, "the run was started with this number")


def memory_of_each(ranks: Ranks) -> MemoryOfEach:
    """What each process can take. All ranks call it."""
    machines = ranks.gather(platform.node())
    num_here = machines.count(platform.node())
    found = ranks.together(lambda: available_memory(default_device(), num_here))
    known = [each for each in ranks.gather(found) if each is not None]
    return MemoryOfEach(ranks.size, min(known, default=None))


def problem_of_common_passes(shape: ModelShape, steps: Steps) -> str | None:
    """Why no sequences share a pass, as far as the config of the model shows it."""
    from atlas.training.engine.row_lengths import problem_of_lengths

    longest = max(len(one.input_ids) for step in steps for one in step)
    return problem_of_lengths(shape.fixed_length, longest) or shape.skipped_layers


def with_own_passes(config: TrainConfig) -> TrainConfig:
    """The config of what is computed if each sequence has a separate pass."""
    off = dict.fromkeys(("packing", "shared_prompts", "last_layer", "recompute"), False)
    engine = config.engine.model_copy(update=off)
    return config.model_copy(update={"engine": engine, "micro_batch_size": 1})


def choose_rows(
    config: TrainConfig, shape: ModelShape, schedule: Schedule, precision: str, memory: MemoryOfEach
) -> ChosenRows:
    """The number that the config has, or what `auto` stands for here."""
    if config.engine.micro_batch_tokens != "auto":
        return ChosenRows(config.engine.micro_batch_tokens)
    if problem_of_common_passes(shape, schedule.examples):
        config = with_own_passes(config)
    counted = _counted_steps(schedule, memory.num_ranks)

    def measure(size: int) -> Candidate:
        rows = with_rows(config, size)
        parts = [name for name in PARTS_OF_ROWS if getattr(rows.engine, name)]
        needed = _needed_memory(rows, shape, counted, precision, memory.num_ranks)
        return Candidate(size, needed, count_run_tokens(counted, rows, parts))

    sizes = [LONGEST_ROW]
    while sizes[-1] // 2 >= SHORTEST_ROW:
        sizes.append(sizes[-1] // 2)
    return choose_candidate([*map(measure, sizes)], memory.available, _enough_for_cores())


def problem_of_memory(
    config: TrainConfig, shape: ModelShape, schedule: Schedule, precision: str, memory: MemoryOfEach
) -> str | None:
    """That a training may run out of memory with the rows of its config; None if they fit.

    Rows that were set by hand, shared with other runs or chosen before a resume were not chosen for
    the memory that is available now.
    """
    if memory.available is None:
        return None
    if problem_of_common_passes(shape, schedule.examples):
        config = with_own_passes(config)
    counted = _counted_steps(schedule, memory.num_ranks)
    needed = _needed_memory(config, shape, counted, precision, memory.num_ranks)
    if needed * MARGIN <= memory.available:
        return None
    return (
        f"the training may run out of memory: it needs about {needed / 2**30:.1f} GiB, and "
        f"{memory.available / 2**30:.1f} GiB are available. A smaller engine.micro_batch_tokens, "
        "gradient_checkpointing=true or lora may need less"
    )


def _counted_steps(schedule: Schedule, num_ranks: int) -> Steps:
    """The first optimizer steps, and those with the longest sequence and with most tokens."""
    shares = [share for share in schedule.deal_out(num_ranks) if share]
    longest = max(shares, key=lambda share: max(len(one.input_ids) for one in share))
    largest = max(shares, key=lambda share: sum(len(one.input_ids) for one in share))
    return [*shares[:COUNTED_STEPS], longest, largest]


def _needed_memory(
    config: TrainConfig, shape: ModelShape, counted: Steps, precision: str, num_ranks: int
) -> float:
    """The bytes that each process is expected to need."""
    is_sharded = asks_for_shards() and default_device() != "cpu"
    num_shards = num_ranks if is_sharded else 1
    return sum(
        size / (num_shards if name in SHARDED else 1)
        for name, size in estimate_memory(shape, config, counted, precision).items()
    )


def _enough_for_cores() -> int:
    """The shortest row that leaves no core without work."""
    if default_device() != "cpu":
        return LONGEST_ROW
    import torch

    return min(LONGEST_ROW, TOKENS_PER_CORE * torch.get_num_threads())


def choose_candidate(
    candidates: Sequence[Candidate], available: float | None, enough: int
) -> ChosenRows:
    """The best of candidates in descending order of size.

    Args:
        available: bytes; None: not known, so all fit.
        enough: the shortest row that leaves no core without work.
    """
    fits = [one for one in candidates if available is None or one.memory * MARGIN <= available]
    here = "" if available is None else f" of {available / 2**30:.1f} GiB that are available"
    if not fits:
        least = min(candidates, key=lambda one: (one.memory, -one.size))
        return ChosenRows(
            least.size,
            f"they need about {least.memory / 2**30:.1f} GiB{here}, and shorter ones not less",
        )
    long_enough = [one for one in fits if one.size >= enough] or fits[:1]
    fewest = min(one.num_tokens for one in long_enough)
    chosen = [one for one in long_enough if one.num_tokens <= fewest * HARDLY_MORE][-1]
    reason = f"they need about {chosen.memory / 2**30:.1f} GiB{here}"
    if (best := min(one.num_tokens for one in candidates)) < chosen.num_tokens:
        reason += f"; the longest rows would run {1 - best / chosen.num_tokens:.0%} fewer tokens"
    if chosen.size < enough:
        reason += "; longer ones, which give each core more to do, would need too much"
    return ChosenRows(chosen.size, reason)
