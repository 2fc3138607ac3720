"""What a provider's batches have to offer, and what is said about them: the line between the waiting and the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from atlas.models.endpoints.batches.acts import Acts

UNUSABLE, UNANSWERED = (
    404,
    410,
)  # the statuses under which we answer: nobody can be asked here; no answer to this question

Answer = tuple[
    int, Any
]  # status and body, as the provider would have sent them to the one question


@dataclass(frozen=True, slots=True)
class Route:
    """Where a question was going. Those of one route may travel together, and only those."""

    base: str  # the address that the paths of batches hang on
    group: str  # what the questions of a batch have in common; with the body it is what was asked
    query: str = ""  # that goes with every act


@dataclass(frozen=True, slots=True)
class Ended:
    """A batch that holds all the answers it will ever hold, by key.

    What came `is_torn` (a proxy's page, half a file) is paid for and may come whole another time.
    """

    answers: dict[str, Answer]
    how: str  # "expired", say: why a question has no answer in it
    is_torn: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch of which nothing was answered, for a reason that another try would not change."""

    reason: str


class BatchProtocol(Protocol):
    """One provider's batches. All of it raises ActError (EndpointError, after tries) where the provider does not do it."""

    @property
    def headers(self) -> tuple[str, ...]:
        """Of a question's request: what has to go with every act (the key, the version)."""
        ...

    @property
    def largest_batch(self) -> int:
        """Bytes of lines."""
        ...

    def route(self, request: httpx2.Request) -> Route:
        """Raises ValueError for what is no question."""
        ...

    def line(self, key: str, route: Route, body: Any) -> bytes:
        """A question as a part of a batch, in JSON without a line break."""
        ...

    async def prepare(self, acts: Acts, route: Route, lines: Sequence[bytes]) -> str:
        """What can be done before anything is paid: a handle by which the batch is made, and found if the word of it is lost."""
        ...

    async def make(self, acts: Acts, route: Route, lines: Sequence[bytes], handle: str) -> str:
        """The id of a batch of these questions. Tried once: after a failure, `find` tells whether it was made all the same."""
        ...

    async def find(self, acts: Acts, route: Route, num_questions: int, handle: str) -> list[str]:
        """The ids of batches of which one may be the one that `make` made and could not tell of; as a rule none or one."""
        ...

    async def look(self, acts: Acts, route: Route, id_: str) -> Ended | Refused | None:
        """None while it is under way."""
        ...


def no_answer(message: str) -> dict[str, Any]:
    """The body of an answer of our own, in the shape in which every provider's SDK looks for a message."""
    return {"error": {"message": message, "type": "batch", "param": None, "code": None}}


def read_answers(
    texts: Iterable[bytes], read: Callable[[Any], tuple[str, Answer]]
) -> tuple[dict[str, Answer], int]:
    """The answers in files with a JSON value a line, by key, and the number of lines that cannot be read."""
    found: dict[str, Answer] = {}
    num_unreadable = 0
    for line in (line for text in texts for line in text.split(b"\n") if line.strip()):
        try:
            key, (status, body) = read(json.loads(line))
            if not 100 <= status < 600:
                raise ValueError(f"{status} is no status")
        except (ValueError, KeyError, TypeError, AttributeError):
            num_unreadable += 1
        else:
            found[key] = (status, body)
    return found, num_unreadable
