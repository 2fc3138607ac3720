"""What a selection run can be told."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from atlas.config import Config
from atlas.selection.budget import Rounding


class SelectConfig(Config):
    """Which selector, under which budget; below that, the model that a selector asks."""

    machine_fields: ClassVar[frozenset[str]] = frozenset(
        {"of", "base_url", "api_key_variable", "max_in_flight", "timeout_seconds", "max_retries"}
    )  # `of` is an input with a digest of its own

    selector: str = Field("annotated", description="a row of SELECTORS or package.module:Selector")
    ratio: float = Field(0.3, gt=0, le=1, description="the share of a trajectory's steps that may be selected")
    rounding: Rounding = Field("floor", description="how ratio * steps becomes whole")
    min_steps: int = Field(1, ge=0, description="the least budget of a trajectory, as far as it has steps")
    seed: int = Field(0, description="drives the selectors that draw")
    of: str | None = Field(None, description="the selection run whose complement is taken")

    model: str = Field("gpt-4o", min_length=1, description="the model that the oracle is")
    base_url: str | None = Field(None, description="an OpenAI-compatible server, such as http://127.0.0.1:8000/v1; None is OpenAI's own")
    api_key_variable: str = Field("OPENAI_API_KEY", description="the environment variable that holds the key")
    temperature: float | None = Field(0.0, ge=0, description="None leaves it to the model (some accept no other value)")
    max_tokens: int | None = Field(None, ge=1, description="the longest answer; None leaves it to the model")
    structured: bool = Field(True, description="ask for the answer by JSON schema; servers that refuse are asked without")
    max_prompt_chars: int = Field(200_000, ge=4_000, description="observations are shortened in the middle to fit, responses never")
    max_in_flight: int = Field(8, ge=1, description="requests at a time")
    timeout_seconds: float = Field(120.0, gt=0, description="how long one request may take")
    max_retries: int = Field(5, ge=0, description="tries after the first, where the server is busy or breaks")

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, base_url: str | None) -> str | None:
        if base_url is None:
            return None
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL that begins with http:// or https://")
        if parts.username or parts.password or parts.query:
            raise ValueError("a URL with a login or a query may hold a secret, and configs are saved; give the key by api_key_variable")
        return base_url

    @model_validator(mode="after")
    def _complement_is_of_something(self) -> SelectConfig:
        if self.selector == "complement" and self.of is None:
            raise ValueError("selector 'complement' needs of=… (the selection run whose complement is taken)")
        if self.of is not None and self.selector != "complement" and ":" not in self.selector:
            raise ValueError(f"of=… is read by selector 'complement', not by '{self.selector}'; leave it out")
        return self
