"""The probabilities of supervised tokens under the model before training, computed once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from atlas.terminal.progress import show_progress
from atlas.training.config import TrainConfig
from atlas.training.engine.exact_engine import Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.evaluation_mode import evaluation_mode
from atlas.training.examples import TrainingExample
from atlas.training.ranks import Ranks
from atlas.training.schedule import Schedule, share_out


def with_base_log_probs(
    schedule: Schedule,
    engine: Engine,
    config: TrainConfig,
    ranks: Ranks,
    computing: Callable[[], AbstractContextManager[object]],
) -> Schedule:
    """The schedule with `base_log_probs` in each example. All ranks call it, before any update.

    Each rank computes a share, and all get all of them.

    Args:
        computing: the context of a forward pass in the precision of the training.
    """
    examples = list({id(one): one for step in schedule.examples for one in step}.values())
    shares = share_out([len(one.input_ids) for one in examples], ranks.size)
    own = shares[ranks.index]
    with evaluation_mode(engine.model), computing():
        mine = [examples[place] for place in own]
        found = ranks.together(lambda: _compute(mine, engine, config))
    by_id = {
        id(examples[place]): examples[place].with_target_base_log_probs(of_target)
        for places, of_rank in zip(shares, ranks.gather(found), strict=True)
        for place, of_target in zip(places, of_rank, strict=True)
    }
    return Schedule(
        tuple(
            tuple(tuple(by_id[id(example)] for example in group) for group in step)
            for step in schedule.steps
        )
    )


def _compute(
    examples: list[TrainingExample], engine: Engine, config: TrainConfig
) -> list[NDArray[np.float64]]:
    """Log π of the supervised tokens of each example."""
    batches = cut_into_micro_batches(
        [one.input_ids for one in examples],
        config.engine.row_tokens,
        1 if engine.one_by_one else config.micro_batch_size,
        "packing" not in engine.parts,
        "shared_prompts" in engine.parts,
    )
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(examples)
    with show_progress("the base model's probabilities", len(examples)) as bar:
        for batch in batches:
            of_batch = engine.log_probs([examples[place] for place in batch])
            for place, log_probs in zip(batch, of_batch, strict=True):
                found[place] = log_probs.double().cpu().numpy()
                bar.advance()
    return found
