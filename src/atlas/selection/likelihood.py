"""Shared by selectors that score steps by token likelihoods: `trajectory -> scores`.

The model is on this machine, or at an endpoint that scores prompts. In both cases a local tokenizer
makes the tokens.
"""

from __future__ import annotations

import datetime
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import Field, model_validator

from atlas.config import BY_CONTENT, Config
from atlas.errors import DataError, DependencyError, ModelError
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.local.load import load_renderer, locate_model, model_input, rendering_inputs
from atlas.models.local.precision import Precision
from atlas.records import Problem, Trajectory, Usage
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.rendering.tool_schemas import TOOLS_HELP, read_tools, with_tools
from atlas.selection.costs import CHARS_PER_TOKEN
from atlas.selection.selectors.base import (
    PRECISIONS,
    Concurrency,
    Scores,
    SelectorBase,
    SelectorContext,
    problem_with,
)
from atlas.selection.text_features import message_text
from atlas.store.run_folders import Input
from atlas.terminal.progress import say

if TYPE_CHECKING:
    from atlas.models.endpoints.completions_api import CompletionsScorer
    from atlas.models.local.log_probabilities import LocalScorer
    from atlas.models.local.step_tokens import StepTokens
    from atlas.rendering.renderer import Renderer

    ModelScorer = LocalScorer | CompletionsScorer


class LikelihoodConfig(Config):
    """The model that scores the trajectories, on this machine or at an endpoint."""

    model: str = Field(
        min_length=1,
        description="a hub id, a model folder, or a run folder of train; with "
        "endpoint.base_url, the model's name at that server",
    )
    endpoint: Endpoint = Field(
        default=Endpoint(),
        description="a server that can score prompts; without endpoint.base_url, the model "
        "runs on this machine",
    )
    tokenizer: str | None = Field(
        default=None,
        description="for a model at endpoint.base_url: the hub id or folder of its "
        "tokenizer; if none, the model's name is used",
    )
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description=CHAT_TEMPLATE_HELP
    )
    tools: Annotated[str | None, BY_CONTENT] = Field(default=None, description=TOOLS_HELP)
    date: datetime.date | None = Field(
        default=None,
        description="the date that a chat template writes as today's (YYYY-MM-DD); none: the day "
        "on which the run was started",
    )
    precision: Precision = Field(
        default="auto", description=f"precision of a model on this machine: {PRECISIONS}"
    )

    def needed_extras(self) -> tuple[str, ...]:
        # A server is given token ids, so the tokenizer is needed here, too.
        return ("train",) if self.endpoint.base_url is None else ("endpoint", "train")

    @model_validator(mode="after")
    def _tokenizer_is_for_a_server(self) -> LikelihoodConfig:
        if self.tokenizer is not None and self.endpoint.base_url is None:
            raise ValueError(
                "tokenizer=… is for a model at endpoint.base_url=…; a model on this machine "
                "brings its own. Leave it out"
            )
        return self


LikelihoodT = TypeVar("LikelihoodT", bound=LikelihoodConfig)


class LikelihoodSelector(SelectorBase[LikelihoodT], ABC):
    """Scores steps by what `model` computes for their tokens. The model is loaded at first use.

    Attributes:
        num_models: how many models read each text.
    """

    num_models: ClassVar[int] = 1

    def __init__(self, config: LikelihoodT, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._scorers: list[ModelScorer] = []
        self._clients: list[CompletionsScorer] = []
        self._tools = read_tools(config.tools)
        self._day = config.date

    @abstractmethod
    def rate(self, *read: list[StepTokens]) -> Scores:
        """A score for each step, from its tokens as measured by each model (one list per model).

        With several `texts`, there is one list per model and text. It is None for a step without
        tokens.
        """

    def texts(self, trajectory: Trajectory) -> list[Trajectory]:
        """What each model reads for one trajectory: the trajectory itself, or variants of it.

        Raises:
            DataError: a variant cannot be made of this trajectory.
        """
        return [trajectory]

    def reading(self, trajectory: Trajectory) -> Usage:
        """Approximately what the models read: one forward pass for each text and each model.

        Where a chat template rewrites history, each step takes a pass.
        """
        try:
            texts = self.texts(with_tools(trajectory, self._tools))
        except DataError:
            # This trajectory will be a problem, at no cost.
            return Usage()
        sizes = [_num_chars(text) // CHARS_PER_TOKEN for text in texts if text.steps]
        return Usage(
            requests=self.num_models * len(sizes), input_tokens=self.num_models * sum(sizes)
        )

    def num_likeliest(self) -> int:
        """How many of the most likely tokens an endpoint has to report per position."""
        return 1

    def inputs(self, out: Path) -> dict[str, Input]:
        config = self.config
        given = rendering_inputs(out, config.chat_template, config.tools)
        if config.endpoint.base_url is None:
            return {"model": model_input(config.model, out), **given}
        return {"tokenizer": model_input(config.tokenizer or config.model, out), **given}

    def pin_day(self, day: datetime.date | None) -> None:
        self._day = self.config.date or day

    def concurrency(self) -> Concurrency:
        return Concurrency(self.config.endpoint.max_in_flight)

    async def score(self, trajectory: Trajectory) -> Scores | Problem:
        """A score for each step, or the reason why a model cannot score the trajectory.

        Raises:
            ModelError: a model cannot be loaded or asked, or two models have different
                vocabularies.
            EndpointError: the endpoint gave no answer.
        """
        if not self._scorers:
            self._scorers = self.load()
        try:
            texts = self.texts(with_tools(trajectory, self._tools))
            self._check_that_texts_differ(texts)
            return self.rate(
                *[
                    await _read(scorer, text, is_counted=number == 0)
                    for scorer in self._scorers
                    for number, text in enumerate(texts)
                ]
            )
        except DataError as error:
            return problem_with(trajectory.id, str(error))

    def _check_that_texts_differ(self, texts: Sequence[Trajectory]) -> None:
        """Raise DataError if the chat template leaves out what makes the texts differ."""
        if len(texts) < 2 or not texts[0].steps:
            return
        renderer = self._scorers[0].renderer
        try:
            written = {renderer.render(text.messages, tools=text.tools) for text in texts}
        except ModelError as error:
            raise DataError(str(error)) from error
        if len(written) < len(texts):
            raise DataError(
                f"the chat template of {renderer.name} does not write what is added before the "
                "first response. Give another one by chat_template=…"
            )

    async def close(self) -> None:
        for scorer in self._scorers[:1]:
            for note in scorer.unwritten.notes(scorer.renderer):
                say(note)
        for client in self._clients:
            await client.close()
        self._scorers, self._clients = [], []

    def load(self) -> list[ModelScorer]:
        """Load the models, in the order of the arguments of `rate`."""
        config = self.config
        if config.endpoint.base_url is None:
            return [self.load_here(config.model)]
        return [self.connect(config.model, config.endpoint, self._load_tokenizer())]

    def load_here(self, model: str) -> LocalScorer:
        from atlas.models.local.log_probabilities import load_scorer

        return load_scorer(model, self.config.precision, self.config.chat_template, self._day)

    def connect(self, model: str, endpoint: Endpoint, renderer: Renderer) -> CompletionsScorer:
        try:
            from atlas.models.endpoints.completions_api import CompletionsScorer
        except ModuleNotFoundError:
            raise DependencyError("aiohttp", "endpoint") from None
        client = CompletionsScorer(model, endpoint, renderer, num_likeliest=self.num_likeliest())
        self._clients.append(client)
        return client

    def _load_tokenizer(self) -> Renderer:
        config = self.config
        try:
            place = locate_model(config.tokenizer or config.model)
            return load_renderer(place, config.chat_template, self._day)
        except ModelError as error:
            if config.tokenizer is not None:
                raise
            raise ModelError(
                f"{error} An endpoint is given token ids, so the model's tokenizer is needed "
                "here: give tokenizer=… (hub id or folder)."
            ) from None


async def _read(scorer: ModelScorer, trajectory: Trajectory, is_counted: bool) -> list[StepTokens]:
    read = scorer.read(trajectory, is_counted)
    return await read if inspect.isawaitable(read) else read


def _num_chars(trajectory: Trajectory) -> int:
    schemas = sum(len(json.dumps(tool)) for tool in trajectory.tools)
    return schemas + sum(len(message_text(message)) for message in trajectory.messages)
