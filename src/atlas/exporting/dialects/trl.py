"""Rows for TRL: `input_ids` and `labels`, so that no template or flag of a trainer changes them."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from atlas.config import Config
from atlas.errors import ConfigError
from atlas.exporting.dialects.base import (
    CannotCarryError,
    Dialect,
    DialectContext,
    ExportRow,
    SupervisedTokens,
)
from atlas.exporting.dialects.changes import FINAL_OBSERVATION, ONLY_TOKENS, SELECTION_NOTES
from atlas.records import Selection, Trajectory
from atlas.rendering.count_unwritten import UnwrittenCount, count_unwritten
from atlas.rendering.loss_mask import IGNORED_LABEL, labels, loss_mask
from atlas.rendering.token_ownership import TokenizedExample


class TrlConfig(Config):
    """Settings of the dialect `trl`."""

    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longer sequences lose their end; steps that no longer fit are left out",
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("train",)


class TrlDialect(Dialect):
    """Exact tokens of one tokenizer: --tokenizer must name the model to be trained."""

    Config = TrlConfig
    changes = (FINAL_OBSERVATION, SELECTION_NOTES, ONLY_TOKENS)
    notes = """\
Run with trl 1.16.0 (SFTTrainer's preparation and collator): the labels reach the loss unchanged.
TRL has no flag per message: on `messages` it trains every assistant turn (`assistant_only_loss`,
and only if the template has generation markers) or every token. It takes rows with `input_ids` and
`labels` as they are; before 1.0 it did not promise to keep a `labels` column. Set max_length=None:
its default of 1,024 cuts the tail, and with it late critical steps; a row that is left without a
label is dropped. Without `labels` it reads masks of tokens (`assistant_masks`, `completion_mask`).
Packing keeps labels, but mixes
rows."""
    stanza = """\
data = datasets.load_dataset("json", data_files="{file}", split="train")
SFTTrainer(model, SFTConfig(max_length=None, packing=False), train_dataset=data)"""

    def __init__(self, config: TrlConfig, context: DialectContext) -> None:
        if context.renderer is None:
            raise ConfigError(
                "the dialect trl writes tokens, so it needs a tokenizer. Give --tokenizer with the "
                "name of the model to be trained."
            )
        self._renderer = context.renderer
        self.max_tokens = config.max_tokens
        # The exporter asks for the rows of a trajectory, then for what is not written.
        self._last: tuple[Trajectory, Selection, list[TokenizedExample]] | None = None

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        examples = self._tokenize(trajectory, selection)
        masks = [(example, loss_mask(example, selection.indices)) for example in examples]
        masked = [(example, mask) for example, mask in masks if mask.any()]
        if not masked:
            raise CannotCarryError(
                f"no critical step fits into {self.max_tokens} tokens. Raise max_tokens"
            )
        for example, mask in masked:
            yield {
                "input_ids": example.token_ids.tolist(),
                "labels": labels(example, mask).tolist(),
                "id": trajectory.id,
            }

    def unwritten(self, trajectory: Trajectory, selection: Selection) -> UnwrittenCount:
        examples = self._tokenize(trajectory, selection)
        return count_unwritten(examples, self._renderer, selection.indices)

    def _tokenize(self, trajectory: Trajectory, selection: Selection) -> list[TokenizedExample]:
        last = self._last
        if last is None or last[0] is not trajectory or last[1] is not selection:
            made = self._renderer.tokenize_trajectory(
                trajectory, self.max_tokens, selection.indices
            )
            self._last = last = trajectory, selection, made
        return last[2]

    def read(self, row: ExportRow) -> SupervisedTokens:
        if len(row["input_ids"]) != len(row["labels"]):
            raise ValueError(f"{len(row['input_ids'])} input_ids and {len(row['labels'])} labels")
        read = SupervisedTokens(tuple(map(int, row["input_ids"])), tuple(map(int, row["labels"])))
        for place, (token, label) in enumerate(zip(read.input_ids, read.labels, strict=True)):
            if label not in (token, IGNORED_LABEL):
                raise ValueError(
                    f"label {place} is {label}, expected the token there, {token}, or "
                    f"{IGNORED_LABEL}"
                )
        return read
