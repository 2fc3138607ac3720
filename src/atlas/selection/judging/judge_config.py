"""The settings of all selectors that ask a language model which steps to select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.models.connect import extras_to_ask
from atlas.models.endpoints.endpoint import Endpoint, takes_batches


class JudgeConfig(Config):
    """Which model is asked, how it is asked, and how much that may cost."""

    model: str = Field(
        default="openai/gpt-4o",
        min_length=1,
        description="the model to ask: provider/model, or the name of the model at a server",
    )
    endpoint: Endpoint = Field(default=Endpoint(), description="the server and how it is asked")
    temperature: float | None = Field(
        default=0.0,
        ge=0,
        description="sampling temperature; if none, the model's own default (some models "
        "accept no other value)",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="maximum tokens of one answer; if none, the model's own limit",
    )
    structured: bool = Field(
        default=True,
        description="request answers that follow a JSON schema; if the server refuses the "
        "schema, ask without it",
    )
    max_prompt_chars: int = Field(
        default=200_000,
        ge=4_000,
        description="maximum characters of a question; observations are shortened in the "
        "middle to fit, responses never",
    )
    rubric: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="a text file that says which steps to look for, in place of the rubric by "
        "atlas; the form of the answer and the request follow it",
    )
    batch: Annotated[bool, SPEED_ONLY] = Field(
        default=False,
        description="ask through the provider's batch API, which is cheaper and takes up to a day",
    )
    batch_size: int = Field(
        default=1_000,
        ge=1,
        le=50_000,
        description="maximum number of questions in a batch, and in flight at a time",
    )
    batch_poll_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=30.0, gt=0, description="seconds between checks whether a batch is done"
    )
    cache: Annotated[bool, SPEED_ONLY] = Field(
        default=False,
        description="also keep answers outside the run folder, so that no run pays for the "
        "same question again",
    )
    prices: Annotated[str | None, SPEED_ONLY] = Field(
        default=None,
        description="a YAML or JSON file of prices in USD per million tokens: model: "
        "{input: …, output: …}",
    )
    max_cost_usd: Annotated[float | None, SPEED_ONLY] = Field(
        default=None,
        gt=0,
        description="cost limit of the run in USD; a question is not sent if its estimated "
        "cost could exceed the limit",
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

    def needed_extras(self) -> tuple[str, ...]:
        return extras_to_ask(self.model, self.endpoint)


class PaidTogether(JudgeConfig):
    """What a run says about several models that are paid in it, each at its own price."""

    payees: tuple[JudgeConfig, ...] = Field(default=(), description="the models that are paid")

    @classmethod
    def of(cls, payees: Sequence[JudgeConfig], max_cost_usd: float | None) -> PaidTogether:
        """The models under one limit. The fields of a single model say nothing here."""
        return cls.model_construct(
            model=" and ".join(payee.model for payee in payees),
            payees=tuple(
                payee.model_copy(update={"max_cost_usd": max_cost_usd}) for payee in payees
            ),
            max_cost_usd=max_cost_usd,
        )
