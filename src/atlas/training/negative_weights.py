"""What a user should know before steps with a negative weight are trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from atlas.terminal.visible_text import visible_line
from atlas.training.config import TrainConfig
from atlas.training.examples import ExampleSet

# From this share of the weights on, training away from steps outweighs little else.
LARGE_SHARE = 0.2


def warn_of_negative_weights(examples: ExampleSet, config: TrainConfig) -> Iterator[str]:
    """Notes about negative weights; none without them."""
    if not examples.num_negative_steps:
        return
    share = examples.negative_share
    largest = ""
    if config.objective.name != "none":
        largest = f" times the largest factor of objective={visible_line(config.objective.name)}"
    yield (
        f"warning: {examples.num_negative_steps:,} of {examples.num_supervised_steps:,} supervised "
        f"steps have a negative weight ({share:.1%} of the sum of |w|), so training makes them "
        "less likely. This says nothing about what the model should do instead, and it can damage "
        "what it does elsewhere. A token counts no more once its probability is below "
        f"negative_floor={config.negative_floor:g}, so the loss is at least "
        f"{share * math.log(config.negative_floor):.2f} nats{largest}. Watch silenced "
        "in metrics.jsonl, and compare with step_weights=none on held-out tasks"
    )
    if not config.held_out:
        yield "warning: set held_out=0.1 to see whether negative weights damage other steps"
    if share > LARGE_SHARE:
        yield (
            f"warning: negative weights have {share:.0%} of the sum of |w|, more than "
            f"{LARGE_SHARE:.0%}. Lower them, or select fewer of these steps"
        )
