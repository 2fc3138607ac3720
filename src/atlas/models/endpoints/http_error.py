"""Classifies failed requests: retry, stop the run, or give up only this question."""

from __future__ import annotations

import json
from collections.abc import Mapping

from atlas.errors import EndpointError, ModelError
from atlas.models.endpoints.retries import BusyError

# HTTP statuses that are caused by this request; another request may succeed.
REFUSED_REQUEST = (400, 413, 422)
# No request can succeed.
REFUSED_ACCESS = (401, 402, 403, 404)
# A retry may succeed, as after every 5xx.
BUSY = (408, 409, 425, 429)
# The server is overloaded.
TOO_MUCH = (429, 503, 529)
# The code of a 429 for which waiting does not help.
SPENT = "insufficient_quota"
# The reason for an answer that a filter stopped without a reason.
FILTERED = "stopped by the endpoint's content filter"
TOO_LATE = (
    "{} did not answer in time. Raise endpoint.timeout_seconds, or lower endpoint.max_in_flight."
)
# Maximum seconds of a Retry-After that is followed. After a longer one, the usual pause is used.
LONGEST_WAIT = 120.0


class HttpError(Exception):
    """A response with an error. `status` is None without a readable response.

    `is_spent` means that no request can succeed, whatever the status (no credit, for example).
    `wait_seconds` is the pause that the server requests, if any.
    """

    def __init__(
        self,
        words: str,
        status: int | None = None,
        *,
        is_spent: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(words if status is None else f"{status} {words}")
        self.words = words
        self.status = status
        self.is_rejected = status in REFUSED_REQUEST and not is_spent
        self.is_final = is_spent or status in REFUSED_ACCESS
        is_busy = status is None or status in BUSY or status >= 500
        self.may_pass = is_busy and not is_spent
        self.wait_seconds = wait_seconds

    def as_error(self, message: str, is_batched: bool) -> Exception:
        """The error to raise for a question that was not rejected."""
        if self.is_final:
            return ModelError(message)
        if self.may_pass:
            # With batches, the number of questions in flight says nothing about the load.
            is_too_much = self.status in TOO_MUCH and not is_batched
            return BusyError(message, self.wait_seconds, is_too_much)
        return EndpointError(message)


def error_of(status: int | None, headers: Mapping[str, str], body: bytes) -> HttpError:
    """The error in a response: its message, or its whole body."""
    words = body.decode("utf-8", "replace")
    code = None
    try:
        error = json.loads(body)["error"]
        words = str(error["message"] if isinstance(error, dict) else error)
        code = error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    pause = retry_after_seconds(headers)
    return HttpError(words, status, is_spent=code == SPENT, wait_seconds=pause)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The pause that a server requests; None if it is absent, a date, or over LONGEST_WAIT."""
    try:
        seconds = float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return seconds if 0 <= seconds <= LONGEST_WAIT else None
