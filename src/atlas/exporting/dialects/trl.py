"""TRL: `input_ids` and `labels`, tokenised here once, so that no template or flag of the trainer can change what is supervised."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.errors import ConfigError
from atlas.exporting.dialects.base import (
    CannotCarryError,
    DialectSettings,
    Row,
    Suffix,
    SupervisedTokens,
)
from atlas.records import Selection, Trajectory
from atlas.rendering.loss_mask import labels, loss_mask
from atlas.rendering.renderer import Renderer


class TrlDialect:
    """Exact tokens of one tokenizer; needs --tokenizer, which must be that of the model to be trained."""

    notes = """\
Executed with trl 1.16.0 (SFTTrainer's preparation and collator): the labels reach the loss unchanged. TRL has no
switch per message: on `messages` it trains every assistant turn (`assistant_only_loss`, and only where the template
has generation markers) or every token. Rows with `input_ids` and `labels` are taken as they are. Before 1.0 a
`labels` column was not promised to be kept. Set max_length=None: its default of 1,024 cuts the tail, and with it late
critical steps. Packing keeps labels, but mixes rows."""
    stanza = """\
data = datasets.load_dataset("json", data_files="{file}", split="train")
SFTTrainer(model, SFTConfig(max_length=None, packing=False), train_dataset=data)"""
    suffixes: tuple[Suffix, ...] = (".jsonl",)
    one_row_per_step = False
    stops_at_last_step = False

    def __init__(self, settings: DialectSettings, renderer: Renderer | None) -> None:
        if renderer is None:
            raise ConfigError(
                "the dialect trl writes tokens, so it needs a tokenizer. Give --tokenizer with the name of the model to be trained."
            )
        self._renderer = renderer
        self._max_tokens = settings.max_tokens

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        examples = self._renderer.tokenize_trajectory(
            trajectory, self._max_tokens, selection.indices
        )
        written = 0
        for example in examples:
            mask = loss_mask(example, selection.indices)
            if mask.any():
                written += 1
                yield {
                    "input_ids": example.token_ids.tolist(),
                    "labels": labels(example, mask).tolist(),
                    "id": trajectory.id,
                }
        if not written:
            raise CannotCarryError(
                f"no critical step fits into {self._max_tokens} tokens. Raise --max-tokens"
            )

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        return ()

    def read(self, row: Row) -> SupervisedTokens:
        if len(row["input_ids"]) != len(row["labels"]):
            raise ValueError(f"{len(row['input_ids'])} input_ids and {len(row['labels'])} labels")
        return SupervisedTokens(tuple(map(int, row["input_ids"])), tuple(map(int, row["labels"])))
