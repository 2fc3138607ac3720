"""A local model as a player. It returns each answer when it ends, while others go on."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.models.local.load import load_model, load_renderer, locate_model, model_input
from atlas.models.local.precision import Precision, dtype_name
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.store.run_folders import Input
from atlas.terminal.progress import say


class LocalPlayerConfig(Config):
    """Settings of a local model as a player."""

    temperature: float = Field(
        default=0.0, ge=0, description="sampling temperature; 0 is greedy decoding"
    )
    max_new_tokens: int = Field(default=128, ge=1, description="maximum tokens of one answer")
    max_context: int = Field(
        default=4096,
        ge=16,
        description="maximum tokens of history and answer together; an episode that needs "
        "more is truncated",
    )
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description=CHAT_TEMPLATE_HELP
    )
    date: datetime.date | None = Field(
        default=None,
        description="the date that a chat template writes as today's (YYYY-MM-DD); none: the day "
        "on which the run was started",
    )
    precision: Precision = Field(
        default="auto",
        description="fp32, bf16, or auto (bf16 on a GPU that supports it, else fp32)",
    )
    batch_size: Annotated[int, SPEED_ONLY] = Field(
        default=64, ge=1, description="number of answers that are generated at a time"
    )

    def on_day(self, day: datetime.date | None) -> Self:
        """The same settings with a date: their own, or the day on which a run was started."""
        return self if self.date is not None else self.model_copy(update={"date": day})

    def needed_extras(self) -> tuple[str, ...]:
        return ("train",)


class LocalPlayer:
    """A model on this machine, given as a hub id, a model folder or a run folder of train.

    Raises:
        ModelError: the model cannot be loaded or has no usable chat template.
    """

    Config = LocalPlayerConfig

    def __init__(
        self,
        config: LocalPlayerConfig,
        model: str,
        seed: int,
        earlier: LocalPlayer | None = None,
    ) -> None:
        place = locate_model(model)
        renderer = load_renderer(place, config.chat_template, config.date)
        self._notes = renderer.notes
        for note in self._notes:
            if earlier is None or note not in earlier._notes:
                say(note)
        self._model, self._seed = model, seed
        self._dtype = dtype_name(config.precision)
        loaded: Any = None
        if earlier is not None and earlier._dtype == self._dtype:
            loaded = earlier._loaded
        loaded = loaded or load_model(place, self._dtype)
        self._loaded: Any = loaded
        # These import torch, which takes seconds.
        from atlas.models.local.chat_batch import ChatBatch
        from atlas.models.local.decoders import make_decoder

        # The config of a vision model has this in the part for its text.
        text = loaded.config.get_text_config()
        longest = getattr(text, "max_position_embeddings", None) or config.max_context
        max_context = self._max_context = min(config.max_context, longest)
        if earlier is not None and (earlier._loaded, earlier._max_context) == (loaded, max_context):
            # What it says of the model, it says once.
            self._decoder: Any = earlier._decoder
        else:
            self._decoder = make_decoder(loaded, max_context)
        batch = ChatBatch(
            loaded,
            renderer,
            temperature=config.temperature,
            max_tokens=config.max_new_tokens,
            max_context=max_context,
            batch_size=config.batch_size,
            seed=seed,
            decoder=self._decoder,
        )
        # This class only adds settings to ChatBatch.
        self.submit, self.next_answers = batch.submit, batch.next_answers
        self.close, self.end = batch.close, batch.end

    def reopened(self, settings: LocalPlayerConfig) -> LocalPlayer:
        """A player with other settings in place of this one. The weights are loaded once."""
        self.end()
        return LocalPlayer(settings, self._model, self._seed, self)

    @staticmethod
    def describe_model(model: str, out: Path) -> Input:
        """The model as an input of the run at `out`, with the digest of its files."""
        return model_input(model, out)
