"""What a list shows: `parameters of a URL -> Query`, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

from atlas.errors import ConfigError
from atlas.records import CRITICAL_KINDS, NO_KIND, OutcomeStatus

# What a list can be sorted by; a minus before it reverses the order.
SORTS = ("order", "id", "task", "outcome", "score", "steps", "selected")
OUTCOMES: tuple[str, ...] = get_args(OutcomeStatus)
KINDS = (*CRITICAL_KINDS, NO_KIND)
ROWS_PER_PAGE = 50
MAX_ROWS_PER_PAGE = 500
MAX_PAGE = 10_000_000
MAX_TEXT = 2_000
# What depends on the choices of selectors; a problem may be that of a selection.
FILTERS_BY_CHOICE = ("selector", "kind", "disagreement", "problem")
SORT_BY_CHOICE = "selected"
# Any pair of arms, for the filter `flipped`.
ANY = "any"
YES, NO = ("1", "true"), ("0", "false")


@dataclass(frozen=True, slots=True)
class Query:
    """Search, filters, sorting and the page of a list; an empty text is a filter that is off.

    `text` is searched in ids, goals, first texts and responses. `run` and `selector` are keys of
    sources. `task` is the beginning of a task's id. `flipped` is `any`, or two keys of sources with
    `:` between them.

    >>> Query.from_params({"outcome": "failure", "flipped": "true"}).params
    {'outcome': 'failure', 'flipped': 'any'}
    """

    text: str = ""
    run: str = ""
    task: str = ""
    environment: str = ""
    group: str = ""
    outcome: str = ""
    selector: str = ""
    kind: str = ""
    disagreement: bool = False
    problem: bool = False
    flipped: str = ""
    sort: str = "order"
    page: int = 1
    size: int = ROWS_PER_PAGE

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> Query:
        """The query in the parameters of a URL, which may have others for the page.

        Raises:
            ConfigError: a value cannot be used.
        """
        values = {
            name: read(name, params[key])
            for name, (key, read) in _PARAMETERS.items()
            if params.get(key)
        }
        return cls(**values)

    @classmethod
    def from_url(cls, text: str) -> Query:
        """The query in what `as_url` gives."""
        return cls.from_params(dict(parse_qsl(text)))

    @property
    def params(self) -> dict[str, str]:
        """The parameters of a URL, without those that have their default."""
        default = Query()
        return {
            key: "1" if value is True else str(value)
            for name, (key, _) in _PARAMETERS.items()
            if (value := getattr(self, name)) != getattr(default, name)
        }

    def as_url(self, **changes: Any) -> str:
        """The parameters as they stand in a URL, after `changes`; empty for the default."""
        return urlencode(replace(self, **changes).params)

    @property
    def is_filtered(self) -> bool:
        """Whether the list may leave trajectories out."""
        plain = replace(self, sort="order", page=1, size=ROWS_PER_PAGE)
        return plain != Query()


def _text(name: str, value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ConfigError(
            f"{name}: {len(value):,} characters, expected at most {MAX_TEXT:,}. Search for less."
        )
    return value.strip()


def _flag(name: str, value: str) -> bool:
    if value not in (*YES, *NO):
        raise ConfigError(f"{name}='{value}', expected 1 or 0. Correct it.")
    return value in YES


def _number(most: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        digits = value.lstrip("0")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) <= most):
            raise ConfigError(
                f"{name}='{value}', expected a number from 1 to {most:,}. Correct it."
            )
        return int(digits)

    return read


def _one_of(known: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in known:
            raise ConfigError(f"{name}='{value}', expected one of: {', '.join(known)}. Correct it.")
        return value

    return read


def _arms(name: str, value: str) -> str:
    if value in (*YES, *NO):
        return ANY if value in YES else ""
    left, colon, right = value.partition(":")
    if value != ANY and not (left and colon and right and ":" not in right):
        raise ConfigError(
            f"{name}='{value}', expected '{ANY}', or the keys of two runs as LEFT:RIGHT."
        )
    return value


_SORTS = (*SORTS, *(f"-{name}" for name in SORTS))
# Field of a query -> its parameter in a URL, and what reads it. `source` and `id` name the
# trajectory of a page, so a filter has another name.
_PARAMETERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "text": ("q", _text),
    "run": ("run", _text),
    "task": ("task", _text),
    "environment": ("environment", _text),
    "group": ("group", _text),
    "outcome": ("outcome", _one_of(OUTCOMES)),
    "selector": ("selector", _text),
    "kind": ("kind", _one_of(KINDS)),
    "disagreement": ("disagreement", _flag),
    "problem": ("problem", _flag),
    "flipped": ("flipped", _arms),
    "sort": ("sort", _one_of(_SORTS)),
    "page": ("page", _number(MAX_PAGE)),
    "size": ("size", _number(MAX_ROWS_PER_PAGE)),
}
# The parameters that choose and sort trajectories, without those of a page.
FILTERS = tuple(key for key, _ in _PARAMETERS.values() if key not in ("page", "size"))
assert _PARAMETERS.keys() == {field.name for field in fields(Query)}
