"""What every client of a model over a network shares: its key, which answers are worth asking again, and what may be quoted.

A key comes from an environment variable (a `.env` file is not read) and is struck out of whatever an endpoint says before
that can reach a record or an error message.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from atlas.config import SECRET, SPEED_ONLY, Config
from atlas.errors import ConfigError
from atlas.terminal.visible_text import one_line, visible

DEFAULT_VARIABLE = "OPENAI_API_KEY"  # where a server at base_url is concerned
KEYLESS = "no-key"  # local servers ask for none, SDKs do
SHORTEST_SECRET = (
    8  # characters; a shorter key ("x", "EMPTY") is a stand-in, and may be a part of any answer
)
LONGEST_QUOTE = 300  # characters of an endpoint's own words in a message; an HTML page is longer
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before asking again, where the server does not say
LONGEST_WAIT = (
    120.0  # seconds; a server that wants more is asked after the usual pause, and given up sooner
)
REFUSED_REQUEST = (
    400,
    413,
    422,
)  # this request is at fault (too long, filtered), another may not be
BATCHES = (
    ("openai", ""),
    ("openai", "azure"),
    ("anthropic", ""),
    ("google", ""),
)  # providers, and services of theirs
REFUSED_ACCESS = (401, 402, 403, 404)  # no request of ours can succeed
BUSY = (408, 409, 425, 429)  # worth asking again, as is every 5xx
TOO_MUCH = (429, 503, 529)  # asked for more than it gives


class Endpoint(Config):
    """Where a model is asked over a network, and how patiently. It travels as one value."""

    base_url: Annotated[str | None, SPEED_ONLY] = Field(
        None,
        description="an OpenAI-compatible server, such as http://127.0.0.1:8000/v1; "
        "None: the provider's own",
    )
    api_key_variable: Annotated[str | None, SPEED_ONLY] = Field(
        None,
        description="the environment variable that holds the key; "
        "None: the provider's own, OPENAI_API_KEY for a base_url",
    )
    timeout_seconds: Annotated[float, SPEED_ONLY] = Field(
        120.0,
        gt=0,
        description="how long one try may take; of a provider's, rounded up to whole seconds",
    )
    max_retries: Annotated[int, SPEED_ONLY] = Field(
        5, ge=0, description="tries after the first, where the server is busy or breaks"
    )
    max_in_flight: Annotated[int, SPEED_ONLY] = Field(
        8,
        ge=1,
        description="requests at a time, at most; fewer while the server says that it is too much",
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
                "is a URL with a login or a query: it may hold a secret, and configs are saved. "
                "Give the key by api_key_variable",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL that begins with http:// or https://")
        return base_url

    @field_validator("api_key_variable")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        # Keys have small letters or hyphens.
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
    """How questions are gathered for a provider's batch endpoint, for a model of which `takes_batches` is true."""

    size: int = 1_000
    poll_seconds: float = 30.0
    folder: Path | None = None  # where the sent ones are noted; None: the user's cache


def cache_folder() -> Path:
    """Where things are kept beyond a run: forgetting them costs money at most, never a result."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas"


def read_key(base_url: str | None, variable: str | None) -> str | None:
    """The key in the named variable; None leaves it to the provider, who knows its own.

    Raises:
        ConfigError: the variable is named, for a provider, and not set; or what it holds is no key.
    """
    if base_url is None and variable is None:
        return None
    key = os.environ.get(variable or DEFAULT_VARIABLE, "").strip()
    if not key and base_url is None:
        raise ConfigError(
            f"the environment variable {variable} is not set, expected a key. Set it, or name another by api_key_variable=…."
        )
    if not (
        key.isascii() and key.isprintable()
    ):  # as a paste with a line break or a typographer's dash in it
        raise ConfigError(
            f"the environment variable {variable or DEFAULT_VARIABLE} holds characters that cannot be sent as a key, expected letters, "
            "digits and signs of ASCII on one line. Copy the key again."
        )
    return key or KEYLESS


def retry_after_seconds(error: object) -> float | None:
    """How long the server wants to be left alone, where an SDK's error (or an answer) says and it is bearable."""
    headers = getattr(getattr(error, "response", error), "headers", None) or {}
    try:
        seconds = float(headers["retry-after"])
    except (KeyError, ValueError):  # absent, or a date
        return None
    return seconds if 0 <= seconds <= LONGEST_WAIT else None


def takes_batches(model: str, base_url: str | None) -> bool:
    """Whether we know how to ask through a batch endpoint; that a server at `base_url` has one in OpenAI's protocol is taken on trust."""
    provider, _, rest = model.partition("/")
    service = (
        rest.partition("/")[0] if "/" in rest else ""
    )  # of another company, through which the provider is reached
    return base_url is not None or (provider, service) in BATCHES


class Censor:
    """Strikes keys out of what an endpoint says."""

    def __init__(self, keys: Iterable[object] = ()) -> None:
        self._keys: set[str] = set()
        self.add(keys)

    def add(self, keys: Iterable[object]) -> None:
        self._keys |= {str(key) for key in keys if key} - {KEYLESS}

    def strike(self, text: str) -> str:
        """An answer without keys. Stand-ins stay: to strike "x" or "0" out of JSON would spoil every answer."""
        for key in self._keys:
            if len(key) >= SHORTEST_SECRET:
                text = text.replace(key, "[key]")
        return text

    def quote(self, said: object) -> str:
        """An endpoint's own words on one line, without keys or logins of proxies, and not too many: fit for a terminal and a file."""
        text = visible(
            self.strike(str(said))
        )  # lone surrogates, too, which JSON can spell and UTF-8 cannot
        for login in _proxy_logins():
            text = text.replace(login, "[login]@")
        for key in self._keys:
            if len(key) < SHORTEST_SECRET:
                text = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "[key]", text)
        return one_line(text, LONGEST_QUOTE)


def _proxy_logins() -> Iterator[str]:
    """What stands before the host in the proxies of the environment; aiohttp's errors name a proxy by its whole address."""
    for proxy in urllib.request.getproxies().values():
        login, at, _ = proxy.rpartition("@")
        if at:
            yield login.rpartition("//")[2] + at
            yield unquote(login).rpartition("//")[2] + at
