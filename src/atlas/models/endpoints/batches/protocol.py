"""The interface to the batches of a provider."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atlas.models.endpoints.connections import LARGEST_ANSWER, decode_json
from atlas.models.endpoints.http_error import HttpError
from atlas.models.endpoints.reported import read_count

# The status of a question without an answer.
UNANSWERED = 410
# The status of a question whose answer cannot be used and would be paid for again.
REFUSED_ANSWER = 422

# Status and body, as the provider would have sent them to the question without a batch.
BatchAnswer = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class BatchRoute:
    """Where a question is sent. Only questions with the same route may share a batch.

    `base` is the address to which the paths of batch requests are added, and `query` the query of
    every request. `group` is what the questions in a batch have in common. Group and body together
    identify a question.
    """

    base: str
    group: str
    query: str = ""


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch with all the answers that it will ever hold, by key.

    If `is_torn`, the answers were incomplete (half a file, a proxy's error page); they are paid for
    and may be complete later. If `is_refused`, the whole batch was refused and would be refused
    again. `how` says how the batch ended.
    """

    answers: dict[str, BatchAnswer]
    how: str
    is_torn: bool = False
    is_refused: bool = False


class BatchProtocol(Protocol):
    """One provider's batches. Failed requests raise HttpError or EndpointError."""

    @property
    def headers(self) -> tuple[str, ...]:
        """Headers of a question that every request about its batch needs, such as the key."""
        ...

    @property
    def largest_batch(self) -> int:
        """Maximum bytes of the lines in a batch."""
        ...

    def route(self, url: str, headers: Mapping[str, str]) -> BatchRoute:
        """The route of a question that goes to `url` with `headers` (names in lower case).

        Raises:
            ValueError: the address does not support batches.
        """
        ...

    def line(self, key: str, route: BatchRoute, body: Any) -> bytes:
        """A question as one line of a batch, in JSON without a line break."""
        ...

    async def prepare(self, route: BatchRoute, lines: Sequence[bytes]) -> str:
        """Take the steps that cost nothing; return a handle for `make` and `find`."""
        ...

    async def make(self, route: BatchRoute, lines: Sequence[bytes], handle: str) -> str:
        """Create a batch, in one try; return its id. After a failure, `find` looks for it."""
        ...

    async def find(self, route: BatchRoute, num_questions: int, handle: str) -> list[str]:
        """The ids of batches that `make` may have created with this handle; usually none or one."""
        ...

    async def look(self, route: BatchRoute, id_: str) -> EndedBatch | None:
        """The result of a batch; None while it runs."""
        ...


def not_batched(path: str, expected: str) -> ValueError:
    """The error for an address that does not support batches."""
    return ValueError(
        f"{path} does not take batches, expected an address that ends with {expected}"
    )


def read_status(state: dict[str, Any], name: str) -> str:
    """The status of a batch; without one, waiting for its end would never end.

    Raises:
        HttpError: there is none.
    """
    status = state.get(name)
    if not isinstance(status, str):
        raise HttpError(f"{name} is {status!r:.60}, expected a word")
    return status.lower()


def no_answer(message: str, status: int = UNANSWERED) -> BatchAnswer:
    """An error answer written by atlas. The message is where all SDKs look for it."""
    return status, {"error": {"message": message, "type": "batch", "param": None, "code": None}}


def read_answers(
    texts: Iterable[bytes],
    read: Callable[[Any], tuple[str, BatchAnswer]],
    how: str,
    promised: Iterable[Any],
) -> EndedBatch:
    """The batch with the answers in files of JSON lines.

    The batch is torn if a line cannot be read, or if there are fewer answers than `promised` (the
    counts that the server states; others are ignored). This takes long for a large file:
    call it in a thread.
    """
    found: dict[str, BatchAnswer] = {}
    is_torn = False
    for line in (line for text in texts for line in io.BytesIO(text) if line.strip()):
        try:
            if len(line) > LARGEST_ANSWER:
                raise ValueError("too large")
            key, (status, body) = read(decode_json(line))
            if not 100 <= status < 600:
                raise ValueError(f"{status} is not a status")
            found[key] = (status, body)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            is_torn = True
    num_promised = sum(filter(None, map(read_count, promised)))
    return EndedBatch(found, how, is_torn or len(found) < num_promised)


def json_lines(lines: Iterable[bytes]) -> bytes:
    """A file of JSON lines."""
    return b"".join(line + b"\n" for line in lines)
