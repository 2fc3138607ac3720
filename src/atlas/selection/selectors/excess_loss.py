"""Selects steps that only a reference model has learned, as in Rho-1 (arXiv 2404.07965).

The score is loss(model) - loss(reference), averaged over the tokens of a step. Steps that are hard
for both models (noise) or easy for both have a low score. Rho-1 itself chooses single tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY
from atlas.errors import ModelError
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.local.load import model_input
from atlas.selection.likelihood import LikelihoodConfig, LikelihoodSelector
from atlas.selection.selectors.base import Scores, SelectorContext
from atlas.store.run_folders import Input

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens
    from atlas.selection.likelihood import ModelScorer


class ExcessLossConfig(LikelihoodConfig):
    """Settings of `excess-loss`: the model, and the reference whose loss is subtracted."""

    reference_model: Annotated[str, BY_CONTENT] = Field(
        min_length=1, description="the model whose loss is subtracted"
    )
    reference_endpoint: Annotated[Endpoint | None, SPEED_ONLY] = Field(
        default=None,
        description="a server that scores prompts with the reference model; if none, the "
        "same place as for `model`",
    )


class ExcessLossSelector(LikelihoodSelector[ExcessLossConfig]):
    """The steps whose mean loss exceeds that of a reference model most."""

    Config = ExcessLossConfig
    num_models = 2

    def __init__(self, config: ExcessLossConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._reference_endpoint = config.reference_endpoint or config.endpoint

    @property
    def sentence(self) -> str:
        own, reference = self.config.model, self.config.reference_model
        return f"the steps whose loss under {own} exceeds that under {reference} most"

    def inputs(self, out: Path) -> dict[str, Input]:
        name = self.config.reference_model
        is_here = self._reference_endpoint.base_url is None
        reference = model_input(name, out) if is_here else Input(path=name)
        return super().inputs(out) | {"reference_model": reference}

    def load(self) -> list[ModelScorer]:
        [own] = super().load()
        name, endpoint = self.config.reference_model, self._reference_endpoint
        if endpoint.base_url is not None:
            return [own, self.connect(name, endpoint, own.renderer)]
        reference = self.load_here(name)
        if reference.renderer.tokenizer.get_vocab() != own.renderer.tokenizer.get_vocab():
            raise ModelError(
                f"{reference.name} and {own.name} have different vocabularies, so their losses "
                "are not of the same tokens. Give two models of one family."
            )
        reference.renderer = own.renderer
        return [own, reference]

    def rate(self, *read: list[StepTokens]) -> Scores:
        own, reference = ([tokens.mean_loss for tokens in steps] for steps in read)
        return [
            None if loss is None or known is None else loss - known
            for loss, known in zip(own, reference, strict=True)
        ]
