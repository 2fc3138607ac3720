"""`atlas train` itself: trajectories and a selection, as its examples are made.

`rendering/renderer.py` makes one sequence per trajectory, or several if the chat template rewrites
history. The tokens of selected steps carry loss, from the end of the generation prompt through the
end of turn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.supervision import (
    ASSISTANT,
    CALLS,
    END,
    NO_MESSAGE,
    REASONING,
    USER,
    WORDS,
    Supervision,
    Unwritten,
    code_of,
)
from atlas.auditing.trainers.base import Trainer, TrainerContext
from atlas.config import Config
from atlas.errors import ModelError
from atlas.records import Selection, Trajectory
from atlas.rendering.chat_messages import write_chat_message
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample

_PARTS = {"text": WORDS, "reasoning": REASONING, "calls": CALLS}


class AtlasConfig(Config):
    """Settings of `atlas`, as of atlas train."""

    max_length: int | None = Field(
        default=None, ge=1, description="max_tokens of atlas train; none: no limit"
    )


class AtlasTrainer(Trainer):
    """The selected steps of our own runs, as atlas train supervises them."""

    Config = AtlasConfig
    version = "atlas train"
    reads_runs = True

    def __init__(self, config: AtlasConfig, context: TrainerContext) -> None:
        super().__init__(config, context)

    def supervise(self, row: TrainingRow) -> Supervision:
        raise RefusedRowError("--as atlas reads run folders: give RUN and --selection RUN")

    def supervise_trajectory(
        self, trajectory: Trajectory, selection: Selection
    ) -> Iterator[Supervision]:
        """Each sequence of a trajectory, before it is cut, with what the limit keeps.

        Raises:
            RefusedRowError: the template refuses the trajectory.
        """
        renderer = self.template.renderer
        if not selection.indices:
            raise RefusedRowError(selection.problem or "no step is selected")
        try:
            examples = renderer.tokenize_trajectory(trajectory, None, selection.indices)
        except ModelError as error:
            raise RefusedRowError(str(error)) from None
        owned = list(trajectory.owned_messages())
        place = {step: index for index, (_, step) in enumerate(owned) if step != NO_STEP}
        for example in examples:
            mask = loss_mask(example, selection.indices)
            if mask.any():
                yield self._supervision(example, mask, trajectory, place)

    def _supervision(
        self,
        example: TokenizedExample,
        mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
        trajectory: Trajectory,
        place: dict[int, int],
    ) -> Supervision:
        ids, steps = example.token_ids, example.step_of_token
        codes, owners = self._parts(trajectory, ids)
        if codes is None or owners is None:
            owners = np.full(len(ids), NO_MESSAGE, dtype=np.int32)
            codes = np.full(len(ids), code_of(USER, WORDS), dtype=np.uint8)
        is_response = steps != NO_STEP
        owners[is_response] = [place[int(step)] for step in steps[is_response]]
        # What the layout does not know of a response are its words.
        unknown = is_response & (codes >> 3 != ASSISTANT)
        codes[unknown] = code_of(ASSISTANT, WORDS)
        ends = is_response & np.append(steps[:-1] != steps[1:], True)
        codes[ends & np.isin(ids, list(self.template.stop_ids))] = code_of(ASSISTANT, END)
        kept = np.ones(len(ids), dtype=np.bool_)
        if self.max_length is not None and len(ids) > self.max_length:
            kept[self.max_length :] = False
            # A step that does not fit completely is not trained.
            cut = np.unique(steps[self.max_length :])
            kept &= ~(np.isin(steps, cut) & is_response)
        lost = tuple(
            Unwritten(place[step], _PARTS[part])
            for step, parts in example.unwritten.items()
            if step in place
            for part in parts
            if part in _PARTS
        )
        roles = tuple(message.role for message in trajectory.messages)
        return Supervision(ids, mask, kept, codes, owners, roles, lost)

    def _parts(
        self, trajectory: Trajectory, ids: np.ndarray[tuple[int, ...], np.dtype[np.int32]]
    ) -> tuple[
        np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None,
        np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None,
    ]:
        """What each token is, where the whole conversation begins with these tokens."""
        chat = [write_chat_message(message) for message in trajectory.messages]
        try:
            laid = self.template.lay_out(chat, trajectory.tools)
        except RefusedRowError:
            return None, None
        if laid.ids[: len(ids)].tolist() != ids.tolist():
            return None, None
        return laid.codes[: len(ids)].copy(), laid.owners[: len(ids)].copy()
