"""TRL 1.16.0, `SFTTrainer`: written after `trainer/sft_trainer.py` (`_prepare_dataset`).

- `messages` are supervised whole, observations and headers included, unless `assistant_only_loss`.
- `assistant_only_loss` supervises what stands between the template's generation marks. A template
  without marks is replaced if TRL has one for it; otherwise TRL stops.
- `prompt` and `completion`: what follows the common beginning of the prompt (with the generation
  prompt) and the whole. `completion_only_loss` is on for this shape.
- Rows with `input_ids` are taken as they are; labels come from `labels`, else `assistant_masks`
  and, with `completion_only_loss`, `completion_mask`.
- `text` gets the end-of-sequence token, and the tokenizer's own special tokens once more.
- `max_length` (1,024) cuts the end; a row that loses all labels is left out. No flag is read.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.supervision import Supervision, keep_start
from atlas.auditing.template import LaidOut
from atlas.auditing.token_rows import supervise_tokens
from atlas.auditing.trainers.base import Trainer, TrainerContext, as_it_is, as_supervision
from atlas.auditing.trainers.trl_templates import KNOWN_TEMPLATES
from atlas.config import Config
from atlas.errors import ConfigError


class TrlTrainerConfig(Config):
    """Settings of `trl`, as in SFTConfig."""

    max_length: int | None = Field(
        default=1024, ge=1, description="tokens of a row; the end of longer rows is cut"
    )
    assistant_only_loss: bool = Field(
        default=False, description="supervise what the template marks as the assistant's"
    )
    completion_only_loss: bool | None = Field(
        default=None, description="supervise completions only; none: in rows that have a prompt"
    )


class TrlTrainer(Trainer):
    """`messages` whole, or with assistant_only_loss the assistant's; completions of prompts."""

    Config = TrlTrainerConfig
    version = "trl 1.16.0"
    columns = ("messages", "conversations", "prompt", "text", "input_ids")
    reads_system = False

    def __init__(self, config: TrlTrainerConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self._config = config
        if config.assistant_only_loss and not self.template.has_generation_marks:
            self._refuse_replaced()

    def _refuse_replaced(self) -> None:
        """Refuse a template in whose place TRL uses one that we do not have."""
        text = str(self.template.tokenizer.get_chat_template())
        name = KNOWN_TEMPLATES.get(hashlib.sha256(text.encode()).hexdigest()[:16])
        if name is not None:
            raise ConfigError(
                f"with assistant_only_loss TRL replaces the chat template of {self.template.name} "
                f"by its own, {name}_training.jinja. Give this file of your TRL (in "
                "trl/chat_templates): chat_template=PATH."
            )

    def supervise(self, row: TrainingRow) -> Supervision:
        config = self._config
        if row.token_ids is not None:
            return self._tokens(row)
        if row.text is not None:
            return self._text(*row.text)
        # TRL renames the keys of ShareGPT, not its roles: a template writes `human` and `gpt`.
        row = row.with_given_roles()
        if row.num_prompt is not None:
            return self._completion(row, row.num_prompt)
        laid = self.template.lay_out(row.messages, row.tools)
        mask = np.ones(len(laid.ids), dtype=np.bool_)
        if config.assistant_only_loss:
            mask = self._assistant_mask(row, laid)
        return as_supervision(laid, mask, row, self.max_length)

    def _completion(self, row: TrainingRow, num_prompt: int) -> Supervision:
        prompt = self.template.render(row.messages[:num_prompt], row.tools, open_turn=True)
        laid = self.template.lay_out(row.messages, row.tools)
        mask = np.ones(len(laid.ids), dtype=np.bool_)
        if self._config.completion_only_loss in (None, True):
            mask[: _num_common(self.template.ids(prompt), laid.ids.tolist())] = False
        if self._config.assistant_only_loss:
            mask &= self._assistant_mask(row, laid)
        return as_supervision(laid, mask, row, self.max_length)

    def _assistant_mask(self, row: TrainingRow, laid: LaidOut) -> NDArray[np.bool_]:
        if not self.template.has_generation_marks:
            raise RefusedRowError(
                "assistant_only_loss needs {% generation %} marks in the chat template, and TRL "
                "has no replacement for this one: it stops"
            )
        mask = np.zeros(len(laid.ids), dtype=np.bool_)
        for start, end in self.template.generated(row.messages, row.tools):
            mask |= (laid.starts >= start) & (laid.starts < end)
        if not mask.any():
            raise RefusedRowError("the template marks no token as the assistant's: TRL stops")
        return mask

    def _tokens(self, row: TrainingRow) -> Supervision:
        if row.mask_name == "completion_mask" and self._config.completion_only_loss is not True:
            # The default is on only for rows that have a prompt and a completion.
            ids = row.token_ids or ()
            mask = [place > 0 for place in range(len(ids))]
            return supervise_tokens(self.template, ids, mask, keep_start(len(ids), self.max_length))
        return as_it_is(self.template, row, self.max_length)

    def _text(self, prompt: str, completion: str) -> Supervision:
        tokenizer = self.template.tokenizer
        end = tokenizer.eos_token or ""
        text = prompt + completion
        text += "" if text.endswith(end) else end
        ids = list(tokenizer(text)["input_ids"])
        mask = [place > 0 for place in range(len(ids))]
        if prompt and self._config.completion_only_loss in (None, True):
            num_before = _num_common(list(tokenizer(prompt)["input_ids"]), ids)
            mask = [place >= max(1, num_before) for place in range(len(ids))]
        return supervise_tokens(self.template, ids, mask, keep_start(len(ids), self.max_length))


def _num_common(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
