"""Conversations in items of OpenAI's Responses API.

A bare list of items, or one under `messages` or `items` (OpenAI Agents SDK), is a conversation of
which every turn of the model is a step. In a row with `input` and `output`, the turns of the output
are annotated as trained if the input holds turns of the model too. The output may stand in a whole
`response`, with the request beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from atlas.records import Outcome
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import outcome_of_row, task_of_row
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.responses.exchanges import (
    SETTINGS,
    ResponseExchange,
    body_of,
    outcome_of_response,
    read_exchange,
)
from atlas.trajectories.formats.responses.item_types import ITEM_METADATA, holds_items, is_item
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

ITEMS_KEYS = ("messages", "items")
OWNERS = ("", "response.", "response.body.", "request.", "request.body.")
USED = frozenset((*ITEMS_KEYS, "request", "response", "input", "success", "reward"))


class ResponsesFormat(RowFormat):
    """Reads conversations in items of the Responses API."""

    metadata: ClassVar[tuple[str, ...]] = (
        *ITEM_METADATA,
        *(f"{owner}{key}" for owner in OWNERS for key in SETTINGS),
    )

    def matches(self, row: Any) -> bool:
        if isinstance(row, dict) and "responses_create_params" in row:
            return False
        if holds_items(_items_of(row)):
            return True
        exchange = _exchange_of(row)
        return exchange is not None and isinstance(_output_of(exchange.response), list)

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        items, exchange = _items_of(row.value), _exchange_of(row.value)
        if items is not None and (exchange is None or holds_items(items)):
            fields = object_or_empty(row.value)
            response = {key: value for key, value in fields.items() if key not in ITEMS_KEYS}
            exchange = ResponseExchange({}, {**response, "output": items}, fields)
        if exchange is None:
            raise BadRowError(
                "no items, expected a list of them, 'input' with 'output', or a 'response'"
            )
        fields = {key: value for key, value in exchange.fields.items() if key != "id"}
        task = task_of_row(fields, otherwise=f"chat-{row.content_hash}")
        outcome = _outcome(exchange)
        return read_exchange(row, exchange, "responses", task, outcome, USED)


def _outcome(exchange: ResponseExchange) -> Outcome:
    stated = outcome_of_row(exchange.fields)
    return (
        stated
        if stated.status != "unknown"
        else (outcome_of_response(exchange.response, stated.score) or stated)
    )


def _items_of(row: Any) -> list[Any] | None:
    """The items of a row that holds one whole conversation."""
    if isinstance(row, list):
        return row or None
    if not isinstance(row, dict):
        return None
    for key in ITEMS_KEYS:
        items = decode_nested(row.get(key))
        if isinstance(items, list) and items:
            return items
    return None


def _exchange_of(row: Any) -> ResponseExchange | None:
    if not isinstance(row, dict) or "traceId" in row or "trace_id" in row:
        return None
    response, request = decode_nested(row.get("response")), decode_nested(row.get("request"))
    if isinstance(response, dict) and _is_response(body_of(response)):
        owner = body_of(request) if isinstance(request, dict) else row
        return ResponseExchange(owner, body_of(response), row)
    if row.get("object") == "response":
        return ResponseExchange(row, row, row)
    output = _output_of(row)
    first = output[0] if isinstance(output, list) and output else None
    is_output = is_item(first) or object_or_empty(first).get("type") == "message"
    return ResponseExchange(row, row, row) if "input" in row and is_output else None


def _is_response(value: Mapping[str, Any]) -> bool:
    output = _output_of(value)
    if not isinstance(output, list):
        return False
    return value.get("object") == "response" or any(map(is_item, output))


def _output_of(response: Mapping[str, Any]) -> Any:
    return decode_nested(response.get("output"))
