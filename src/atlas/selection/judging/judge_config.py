"""The settings of every selector that asks a language model which steps to take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from atlas.config import SPEED_ONLY, Config
from atlas.models.endpoints.endpoint import Endpoint, takes_batches


class JudgeConfig(Config):
    """The model that is asked, how it is asked, and what that may cost."""

    model: str = Field(
        "openai/gpt-4o",
        min_length=1,
        description="the model that is asked: provider/model, or a server's name for it",
    )
    endpoint: Endpoint = Field(Endpoint(), description="where it is asked, see `endpoint`")
    temperature: float | None = Field(
        0.0, ge=0, description="None leaves it to the model (some accept no other value)"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="the longest answer; None leaves it to the model"
    )
    structured: bool = Field(
        True, description="ask for the answer by JSON schema; servers that refuse are asked without"
    )
    max_prompt_chars: int = Field(
        200_000,
        ge=4_000,
        description="observations are shortened in the middle to fit, responses never",
    )
    batch: Annotated[bool, SPEED_ONLY] = Field(
        False, description="ask through the provider's batch endpoint, cheaper and within a day"
    )
    batch_size: int = Field(
        1_000, ge=1, le=50_000, description="questions in one batch, which are in flight together"
    )
    batch_poll_seconds: Annotated[float, SPEED_ONLY] = Field(
        30.0, gt=0, description="how often to look whether a batch is done"
    )
    cache: Annotated[bool, SPEED_ONLY] = Field(
        False,
        description="keep answers beyond the run folder, never pay for the same question twice",
    )
    prices: Annotated[str | None, SPEED_ONLY] = Field(
        None,
        description="a YAML or JSON file, model: {input: …, output: …} in USD per million tokens",
    )
    max_cost_usd: Annotated[float | None, SPEED_ONLY] = Field(
        None,
        gt=0,
        description="ask nothing that, as estimated, could cost this run more than that in all",
    )

    @model_validator(mode="after")
    def _endpoint_can_answer(self) -> JudgeConfig:
        if self.endpoint.base_url is None and "/" not in self.model:
            raise ValueError(
                f"model '{self.model}' names no provider; expected provider/model, such as "
                f"openai/{self.model}, or endpoint.base_url=… of a server"
            )
        if self.batch and not takes_batches(self.model, self.endpoint.base_url):
            raise ValueError(
                f"batch=true: no batch endpoint is known for model '{self.model}'. Expected "
                "openai/…, openai/azure/…, anthropic/…, google/…, or endpoint.base_url=… of a "
                "server that speaks OpenAI's files and batches; leave batch out to ask one by one"
            )
        return self
