"""Adds to the examples of a trajectory what its chat template does not write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from atlas.records import Trajectory
from atlas.rendering.conversation_turns import ConversationTurns
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from atlas.rendering.turn_examples import TurnExamples
from atlas.rendering.unwritten import UnwrittenParts


def add_unwritten(
    parts: UnwrittenParts,
    trajectory: Trajectory,
    turns: ConversationTurns,
    made: TurnExamples,
    examples: Sequence[TokenizedExample],
) -> list[TokenizedExample]:
    """The examples with the parts that are not written: by step, and (-1) of the other messages.

    Only steps that own tokens are looked at, each once. The other messages are looked at once, up
    to the last of these steps.

    Args:
        made: the texts of the examples.
    """
    shown = [frozenset(np.unique(example.step_of_token).tolist()) for example in examples]
    steps = sorted(frozenset[int]().union(*shown) - {NO_STEP})
    tools, owned = trajectory.tools, list(trajectory.owned_messages())
    place = {step: index for index, (_, step) in enumerate(owned)}
    lost = {
        step: parts.of_response(
            owned[place[step]][0], made.responses[step], tools, partial(turns.before, step)
        )
        for step in steps
    }
    before = owned[: place[steps[-1] if steps else 0]]
    lost[NO_STEP] = parts.of_context(before, made.text, tools)
    return [
        replace(example, unwritten={step: lost[step] for step in sorted(held) if lost[step]})
        for example, held in zip(examples, (there | {NO_STEP} for there in shown), strict=True)
    ]
