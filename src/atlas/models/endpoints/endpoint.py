"""Shared by all clients of remote models: the endpoint, its key, and safe quotes of its messages.

A key comes from an environment variable; a `.env` file is not read. The key is redacted in all text
from an endpoint.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from atlas.config import SECRET, SPEED_ONLY, Config
from atlas.errors import ConfigError
from atlas.terminal.visible_text import one_line, visible

# The key variable of a server at base_url.
DEFAULT_VARIABLE = "OPENAI_API_KEY"
# Local servers need no key, but some clients must send one.
KEYLESS = "no-key"
# Minimum characters of a real key. A shorter one ("x", "EMPTY") is a placeholder and may occur in
# any answer.
SHORTEST_SECRET = 8
# Maximum characters of a quote from an endpoint in a message.
LONGEST_QUOTE = 300
# Maximum characters of a text from an endpoint that are read for a quote.
LONGEST_SAID = 10_000
# Seconds before a retry, if the server does not specify a time.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
# Providers, and services of other companies for them, whose batches are supported.
BATCHES = (("openai", ""), ("openai", "azure"), ("anthropic", ""), ("google", ""))


class Endpoint(Config):
    """Where a remote model is asked, with time limits and retries."""

    base_url: Annotated[str | None, SPEED_ONLY] = Field(
        default=None,
        description="address of an OpenAI-compatible server, such as "
        "http://127.0.0.1:8000/v1; if none, the provider's own address",
    )
    api_key_variable: Annotated[str | None, SPEED_ONLY] = Field(
        default=None,
        description="name of the environment variable that holds the key; if none, the "
        "provider's usual variable, or OPENAI_API_KEY if base_url is set",
    )
    timeout_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=120.0,
        gt=0,
        description="time limit for one try; for a provider it is rounded up to whole seconds",
    )
    max_retries: Annotated[int, SPEED_ONLY] = Field(
        default=5, ge=0, description="number of retries if the server is overloaded or fails"
    )
    max_in_flight: Annotated[int, SPEED_ONLY] = Field(
        default=8,
        ge=1,
        description="maximum number of requests at a time; it is lowered while the server "
        "is overloaded",
    )

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, base_url: str | None) -> str | None:
        if base_url is None:
            return None
        parts = urlsplit(base_url)
        if "@" in base_url or parts.query:
            raise PydanticCustomError(
                SECRET,
                "is a URL with a login or a query, which may hold a secret, and configs are saved. "
                "Give the key by api_key_variable",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL that begins with http:// or https://")
        return base_url

    @field_validator("api_key_variable")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        # Real keys contain lower-case letters or hyphens; names of variables do not.
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise PydanticCustomError(
                SECRET,
                "is not the name of an environment variable in capitals, such as OPENAI_API_KEY. "
                "If it is the key itself: put it into a variable and give the variable's name, "
                "because configs are saved",
            )
        return name


@dataclass(frozen=True, slots=True)
class Batching:
    """How questions are collected into batches, for models that `takes_batches` accepts.

    `folder` is where sent batches are recorded; None: the user's cache folder.
    """

    size: int = 1_000
    poll_seconds: float = 30.0
    folder: Path | None = None


def is_loopback(url: str) -> bool:
    """Whether a server is on this machine. A proxy would look for it on its own."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def cache_folder() -> Path:
    """The folder for data that outlives a run. If it is lost, answers may be paid for again."""
    from platformdirs import user_cache_path

    return user_cache_path("atlas")


def read_key(endpoint: Endpoint) -> str | None:
    """The key in the endpoint's variable; None: the provider's SDK finds the key by itself.

    Raises:
        ConfigError: the variable is not set, or does not hold a key.
    """
    variable = endpoint.api_key_variable
    if endpoint.base_url is None and variable is None:
        return None
    variable = variable or DEFAULT_VARIABLE
    key = os.environ.get(variable, "").strip()
    place = f"the environment variable {variable}"
    if not key and endpoint.base_url is None:
        expected = "expected a key. Set it, or name another one by endpoint.api_key_variable=…."
        raise ConfigError(f"{place} is not set, {expected}")
    # A pasted key may contain a line break or a typographic dash.
    if not (key.isascii() and key.isprintable()):
        expected = "expected ASCII letters, digits and signs on one line. Copy the key again."
        raise ConfigError(f"{place} holds characters that cannot be sent as a key, {expected}")
    return key or KEYLESS


def takes_batches(model: str, base_url: str | None) -> bool:
    """Whether batches are supported for a model. This is assumed for a server at `base_url`."""
    provider, _, rest = model.partition("/")
    service = rest.partition("/")[0] if "/" in rest else ""
    return base_url is not None or (provider, service) in BATCHES


class Censor:
    """Redacts keys in text from an endpoint."""

    def __init__(self, keys: Iterable[object] = ()) -> None:
        self._keys: set[str] = set()
        self.add(keys)

    def add(self, keys: Iterable[object]) -> None:
        self._keys |= {str(key) for key in keys if key} - {KEYLESS}

    def redact(self, text: str) -> str:
        """An answer without keys. Placeholders stay: without every "x" or "0", JSON would break."""
        for key in self._keys:
            if len(key) >= SHORTEST_SECRET:
                text = text.replace(key, "[key]")
        return text

    def quote(self, said: object) -> str:
        """Text from an endpoint as one short line for a message, without keys and proxy logins."""
        text = str(said)
        if len(text) > LONGEST_SAID:
            # Half a key at the cut would not be recognized.
            longest = max(map(len, self._keys), default=0)
            text = self.redact(text[:LONGEST_SAID])[: LONGEST_SAID - longest]
        text = visible(self.redact(text))
        for login in _proxy_logins():
            text = text.replace(login, "[login]@")
        for key in self._keys:
            if len(key) < SHORTEST_SECRET:
                text = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "[key]", text)
        return one_line(text, LONGEST_QUOTE)


def _proxy_logins() -> Iterator[str]:
    """The logins in proxy variables, because aiohttp's errors contain the full address."""
    for proxy in urllib.request.getproxies().values():
        login, at, _ = proxy.rpartition("@")
        if at:
            yield login.rpartition("//")[2] + at
            yield unquote(login).rpartition("//")[2] + at
