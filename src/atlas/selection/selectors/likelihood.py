"""What the selectors that read trajectories with a model share: where the model is, when it is loaded, and that a refusal is a problem.

A model is on this machine, or behind an endpoint that scores prompts (`base_url`). Either way one tokenizer writes what is read.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from atlas.errors import DataError, DependencyError, ModelError
from atlas.models.local.load import load_renderer, locate_model
from atlas.records import Problem, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, Scores
from atlas.store.run_folders import Input

if TYPE_CHECKING:
    from atlas.models.endpoints.completions_api import CompletionsScorer
    from atlas.models.local.log_probabilities import LocalScorer
    from atlas.models.local.step_tokens import StepTokens
    from atlas.rendering.renderer import Renderer

    Scorers = list[LocalScorer | CompletionsScorer]


class LikelihoodSelector(ABC):
    """Scores steps by what `model` thinks of their tokens; under excess-loss by what `reference_model` thinks of the same tokens, too.

    The models come at the first trajectory.
    """

    reads_entropies = (
        False  # then one likeliest token of a position is all that an endpoint has to name
    )

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self.config = config
        self._reference_url = config.reference_base_url or config.base_url
        self._scorers: Scorers = []
        self._clients: list[CompletionsScorer] = []

    @abstractmethod
    def rate(self, *read: list[StepTokens]) -> Scores:
        """A score for each step, from what each model read there (one list a model); None for a step without a token."""

    def models(self) -> dict[str, str]:
        config = self.config
        local = (
            {"model": config.model}
            if config.base_url is None
            else {"tokenizer": config.tokenizer or config.model}
        )
        if config.reference_model is not None and self._reference_url is None:
            local["reference_model"] = config.reference_model
        return local

    def inputs(self) -> dict[str, Input]:
        reference = self.config.reference_model
        return (
            {}
            if reference is None or self._reference_url is None
            else {"reference_model": Input(path=reference)}
        )

    async def score(self, trajectory: Trajectory) -> Scores | Problem:
        """A score for each step, or why a model cannot read the trajectory.

        Raises:
            ModelError: a model cannot be loaded or asked, or the two have different vocabularies.
            EndpointError: the endpoint gave no answer.
        """
        if not self._scorers:
            self._scorers = self._load()
        try:
            return self.rate(*[await _read(scorer, trajectory) for scorer in self._scorers])
        except DataError as error:
            return Problem(
                where=f"trajectory {trajectory.id}", reason=str(error), item=trajectory.id
            )

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        self._scorers, self._clients = [], []

    def _load(self) -> Scorers:
        config = self.config
        own: LocalScorer | CompletionsScorer
        if config.base_url is None:
            own = self._load_here(config.model)
        else:
            own = self._connect(config.model, config.base_url, self._load_tokenizer())
        if config.reference_model is None:
            return [own]
        if self._reference_url is not None:
            return [own, self._connect(config.reference_model, self._reference_url, own.renderer)]
        reference = self._load_here(config.reference_model)
        if reference.renderer.tokenizer.get_vocab() != own.renderer.tokenizer.get_vocab():
            raise ModelError(
                f"{reference.name} and {own.name} have different vocabularies, so their losses are not of the same tokens. "
                "Give two models of one family."
            )
        reference.renderer = own.renderer
        return [own, reference]

    def _load_here(self, model: str) -> LocalScorer:
        from atlas.models.local.log_probabilities import load_scorer

        return load_scorer(model, self.config.precision)

    def _load_tokenizer(self) -> Renderer:
        name = self.config.tokenizer or self.config.model
        try:
            return load_renderer(locate_model(name))
        except ModelError as error:
            if self.config.tokenizer is not None:
                raise
            raise ModelError(
                f"{error} An endpoint is given token ids, so the model's tokenizer is needed here: give tokenizer=… (hub id or folder)."
            ) from None

    def _connect(self, model: str, url: str, renderer: Renderer) -> CompletionsScorer:
        try:
            from atlas.models.endpoints.completions_api import CompletionsScorer
        except ModuleNotFoundError:
            raise DependencyError("aiohttp", "endpoint") from None
        config = self.config
        client = CompletionsScorer(
            model,
            url,
            renderer,
            num_likeliest=config.num_likeliest if self.reads_entropies else 1,
            api_key_variable=config.api_key_variable,
            timeout_seconds=config.timeout_seconds,
            max_retries=config.max_retries,
        )
        self._clients.append(client)
        return client


async def _read(
    scorer: LocalScorer | CompletionsScorer, trajectory: Trajectory
) -> list[StepTokens]:
    read = scorer.read(trajectory)
    return await read if inspect.isawaitable(read) else read
