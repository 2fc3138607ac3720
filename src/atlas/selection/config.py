"""What a selection run can be told."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from atlas.config import BY_CONTENT, SECRET, SPEED_ONLY, Config
from atlas.environments.base import ENVIRONMENT
from atlas.kinds import Choice
from atlas.models.endpoints.endpoint import takes_batches
from atlas.models.local.load import Precision
from atlas.selection.budget import Rounding

Voting = Literal["majority", "weighted"]
Scope = Literal["trajectory", "dataset"]
Band = Literal["high", "low", "mid"]

LIKELIHOOD_SELECTORS = frozenset(
    {"perplexity", "entropy", "excess-loss"}
)  # they read with a model here, or one that scores prompts
LOCAL_SELECTORS = LIKELIHOOD_SELECTORS | {
    "rollout-value"
}  # without a base_url, their model runs on this machine
ORACLES = frozenset({"oracle", "rejection"})  # they ask a model for answers
READERS: dict[str, frozenset[str]] = {  # what would be passed over in silence by any other selector
    "model": LOCAL_SELECTORS | ORACLES | {"learned"},
    "base_url": LIKELIHOOD_SELECTORS | ORACLES,
    "max_cost_usd": ORACLES,
    "batch": ORACLES,
    "cache": ORACLES,
    "tokenizer": LIKELIHOOD_SELECTORS,
    "reference_model": frozenset({"excess-loss"}),
    "reference_base_url": frozenset({"excess-loss"}),
    "band": frozenset({"perplexity"}),
    "rollouts": frozenset({"rollout-value"}),
    "labels": frozenset({"annotated"}),
    "embedding_model": frozenset({"diversity"}),
    "voting": frozenset({"vote"}),
    "allow_chance": frozenset({"learned"}),
}


class RolloutConfig(Config):
    """How selector rollout-value lets the model finish episodes (IPR, arXiv 2406.11176; ATLaS, Table 4)."""

    number: int = Field(5, ge=1, description="rollouts from the state after each step")
    temperature: float = Field(1.0, ge=0, description="of the model that plays")
    max_new_tokens: int = Field(128, ge=1, description="the longest answer of one turn")
    max_context: int = Field(
        4096,
        ge=16,
        description="tokens of history and answer; a rollout that needs more has failed",
    )
    environment: Annotated[Choice, ENVIRONMENT] | None = Field(
        None,
        description="where to play, with the settings that the data was made with, such as "
        "max_steps; none: the row of ENVIRONMENTS that each trajectory's task names",
    )
    batch_size: Annotated[int, SPEED_ONLY] = Field(64, ge=1, description="rollouts at a time")

    @model_validator(mode="after")
    def _rollouts_differ(self) -> RolloutConfig:
        if self.number > 1 and self.temperature == 0:
            raise ValueError(
                f"at temperature 0 all {self.number} rollouts are one; raise the temperature, or set number=1"
            )
        return self


class SelectConfig(Config):
    """Which selector, under which budget; below that, the model that a selector asks."""

    selector: str = Field("annotated", description="a row of SELECTORS or package.module:Selector")
    ratio: float = Field(
        0.3, gt=0, le=1, description="the share of a trajectory's steps that may be selected"
    )
    rounding: Rounding = Field("floor", description="how ratio * steps becomes whole")
    min_steps: int = Field(
        1,
        ge=0,
        description="the least budget of a trajectory, as far as it has steps; not under scope dataset",
    )
    scope: Scope = Field(
        "trajectory",
        description="whose steps the ratio is of: each trajectory's, or dataset: all (selectors with scores)",
    )
    seed: int = Field(0, description="drives the selectors that draw")
    of: Annotated[tuple[str, ...], BY_CONTENT] = Field(
        (), description="other selection runs: the one whose complement is taken, those that vote"
    )
    labels: Annotated[str | None, BY_CONTENT] = Field(
        None,
        description="for annotated: a file of people's labels (.jsonl, .csv); None: the source's own marks",
    )
    annotator: str | None = Field(
        None,
        description="for annotated with labels: whose count; None: the majority of those who labelled",
    )
    allow_chance: bool = Field(
        False,
        description="for learned: use it though it was no better than chance on held-out trajectories",
    )
    voting: Voting = Field(
        "majority",
        description="for vote: steps that most chose, or every step weighed by its ranks",
    )

    model: str = Field(
        "openai/gpt-4o",
        min_length=1,
        description="the model that is asked (provider/model, or a server's name) or run",
    )
    base_url: Annotated[str | None, SPEED_ONLY] = Field(
        None,
        description="an OpenAI-compatible server, such as http://127.0.0.1:8000/v1, asked for that name; None: the provider's own",
    )
    api_key_variable: Annotated[str | None, SPEED_ONLY] = Field(
        None,
        description="the environment variable that holds the key; None: the provider's own, OPENAI_API_KEY for a base_url",
    )
    temperature: float | None = Field(
        0.0, ge=0, description="None leaves it to the model (some accept no other value)"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="the longest answer; None leaves it to the model"
    )
    structured: bool = Field(
        True, description="ask for the answer by JSON schema; servers that refuse are asked without"
    )
    reference_model: Annotated[str | None, BY_CONTENT] = Field(
        None, description="for excess-loss: the model whose loss is subtracted"
    )
    reference_base_url: Annotated[str | None, SPEED_ONLY] = Field(
        None, description="for excess-loss: a server that scores with it; None: where model is"
    )
    tokenizer: str | None = Field(
        None,
        description="for perplexity, entropy, excess-loss at a base_url: hub id or folder of its tokenizer; None: the model's name",
    )
    num_likeliest: int = Field(
        20,
        ge=1,
        description="for entropy at a base_url: tokens named for a position (all others count as one; servers cap it)",
    )
    embedding_model: Annotated[str | None, BY_CONTENT] = Field(
        None,
        description="for diversity: a hub id, a model folder or a run folder of train, whose mean hidden states are compared; None: TF-IDF",
    )
    band: Band = Field(
        "high",
        description="for perplexity: the highest, the lowest, or mid: closest to the trajectory's median",
    )
    precision: Precision = Field(
        "auto",
        description="of a model on this machine: fp32, bf16, or auto: bf16 on a GPU that has it",
    )
    rollouts: RolloutConfig = Field(
        RolloutConfig(), description="for rollout-value: how the model finishes episodes, see below"
    )
    max_prompt_chars: int = Field(
        200_000,
        ge=4_000,
        description="observations are shortened in the middle to fit, responses never",
    )
    max_in_flight: Annotated[int, SPEED_ONLY] = Field(
        8,
        ge=1,
        description="requests at a time, at most; fewer while the server says that it is too much",
    )
    batch: Annotated[bool, SPEED_ONLY] = Field(
        False,
        description="for oracle and rejection: ask through the provider's batch endpoint, cheaper and within a day",
    )
    batch_size: int = Field(
        1_000, ge=1, le=50_000, description="questions in one batch, which are in flight together"
    )
    batch_poll_seconds: Annotated[float, SPEED_ONLY] = Field(
        30.0, gt=0, description="how often to look whether a batch is done"
    )
    cache: Annotated[bool, SPEED_ONLY] = Field(
        False,
        description="for oracle and rejection: keep answers beyond the run folder, and never pay for the same question twice",
    )
    timeout_seconds: Annotated[float, SPEED_ONLY] = Field(
        120.0,
        gt=0,
        description="how long one try may take; of a provider's, rounded up to whole seconds",
    )
    max_retries: Annotated[int, SPEED_ONLY] = Field(
        5, ge=0, description="tries after the first, where the server is busy or breaks"
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
    accept_unanswered: Annotated[bool, SPEED_ONLY] = Field(
        False, description="finish though some trajectories got no answer; each becomes a problem"
    )
    retry_problems_of: Annotated[str | None, BY_CONTENT] = Field(
        None,
        description="an earlier run of this selector: keep its selections, ask for its problems alone",
    )

    @field_validator("base_url", "reference_base_url")
    @classmethod
    def _holds_no_secret(cls, base_url: str | None) -> str | None:
        if base_url is None:
            return None
        parts = urlsplit(base_url)
        if "@" in base_url or parts.query:
            raise PydanticCustomError(
                SECRET,
                "is a URL with a login or a query: it may hold a secret, and configs are saved. Give the key by api_key_variable",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL that begins with http:// or https://")
        return base_url

    @field_validator("api_key_variable")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(
            r"[A-Z_][A-Z0-9_]*", name
        ):  # keys have small letters or hyphens
            raise PydanticCustomError(
                SECRET,
                "is no name of an environment variable in capitals, such as OPENAI_API_KEY. If it is the key itself: put it into a "
                "variable and give that one's name, for configs are saved",
            )
        return name

    @field_validator("of", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, of: Any) -> Any:
        return () if of is None else (of,) if isinstance(of, str) else of

    @model_validator(mode="after")
    def _others_are_as_many_as_are_read(self) -> SelectConfig:
        if len(set(self.of)) < len(self.of):
            raise ValueError("of=… names a selection run twice, expected each once")
        if self.selector == "complement" and len(self.of) != 1:
            raise ValueError(
                f"selector 'complement' needs of=… (the one selection run whose complement is taken), {len(self.of)} are given"
            )
        if self.selector == "vote" and len(self.of) < 2:
            raise ValueError(
                f"selector 'vote' needs of=[…, …] (two or more selection runs), {len(self.of)} are given"
            )
        if self.of and self.selector not in ("complement", "vote") and ":" not in self.selector:
            raise ValueError(
                f"of=… is read by the selectors 'complement' and 'vote', not by '{self.selector}'; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _settings_have_a_reader(self) -> SelectConfig:
        for name, readers in READERS.items():
            is_given = (
                name in self.model_fields_set
                and getattr(self, name) != type(self).model_fields[name].default
            )
            if is_given and self.selector not in readers and ":" not in self.selector:
                who = f"selector{'s' if len(readers) > 1 else ''} {' / '.join(sorted(readers))}"
                raise ValueError(f"{name}=… is read by {who}, not by {self.selector}; leave it out")
        return self

    @model_validator(mode="after")
    def _annotators_have_labels(self) -> SelectConfig:
        if self.annotator is not None and self.labels is None:
            raise ValueError(
                f"annotator='{self.annotator}' picks from a file of labels, and none is given; add labels=FILE"
            )
        return self

    @model_validator(mode="after")
    def _local_models_are_named(self) -> SelectConfig:
        if self.selector in LOCAL_SELECTORS and "model" not in self.model_fields_set:
            raise ValueError(
                f"selector '{self.selector}' needs model=… (a hub id, a model folder, or a run folder of train)"
            )
        if self.selector == "learned" and "model" not in self.model_fields_set:
            raise ValueError("selector 'learned' needs model=… (a run folder of select-train)")
        if self.selector == "excess-loss" and self.reference_model is None:
            raise ValueError(
                "selector 'excess-loss' needs reference_model=… (the model whose loss is subtracted)"
            )
        return self

    @model_validator(mode="after")
    def _endpoints_are_asked_what_they_can_answer(self) -> SelectConfig:
        if self.selector in ORACLES and self.base_url is None and "/" not in self.model:
            raise ValueError(
                f"model '{self.model}' names no provider; expected provider/model, such as openai/{self.model}, or base_url=… of a server"
            )
        if self.tokenizer is not None and self.base_url is None:
            raise ValueError(
                "tokenizer=… is for a model at base_url=…; a model on this machine brings its own. Leave it out"
            )
        if self.batch and not takes_batches(self.model, self.base_url):
            raise ValueError(
                f"batch=true: no batch endpoint is known for model '{self.model}'. Expected openai/…, openai/azure/…, anthropic/…, "
                "google/…, or base_url=… of a server that speaks OpenAI's files and batches; leave --batch out to ask one by one"
            )
        if self.cache and self.retry_problems_of is not None:
            raise ValueError(
                "cache=true would give the answers again that became problems; leave it out where retry_problems_of=… is given"
            )
        return self
