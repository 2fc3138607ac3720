"""Conversations in items of OpenAI's Responses API.

A bare list of items, or one under `messages` or `items` (OpenAI Agents SDK), is a conversation of
which every turn of the model is a step. In a row with `input` and `output`, the turns of the output
are annotated as trained if the input holds turns of the model too. The output may stand in a whole
`response`; the request then stands beside it, as in the rollouts of NVIDIA NeMo Gym, which have a
`reward` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from atlas.records import Message, Outcome, Task
from atlas.trajectories.formats.agent_logs import build_trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import details_of_row, is_id, is_number, task_of_row
from atlas.trajectories.formats.conversations import prompt_length, read_tools
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.item_types import holds_items, is_item
from atlas.trajectories.formats.messages import Turn, decode_nested
from atlas.trajectories.formats.response_items import (
    ITEM_METADATA,
    ItemReader,
    chat_tools,
    remarks_of_steps,
)
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

ITEMS_KEYS = ("messages", "items")
REQUEST_KEYS = ("responses_create_params", "request")
# A verdict on the rollout; the reward is a score that need not be 0 or 1.
VERDICT_KEYS = ("resolved", "success", "is_correct", "correct")
CUT_SHORT = ("max_output_tokens", "length", "max_tokens")
USED = frozenset((*ITEMS_KEYS, *REQUEST_KEYS, *VERDICT_KEYS, "response", "reward", "input"))
# Settings of a request, which its response repeats.
SETTINGS = (
    "metadata",
    "parallel_tool_calls",
    "tool_choice",
    "truncation",
    "text",
    "reasoning",
    "store",
    "include",
    "stream",
    "background",
    "conversation",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "user",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "top_logprobs",
    "billing",
    "moderation",
    "completed_at",
    "presence_penalty",
    "frequency_penalty",
    "content_filters",
    "nvext",
    "kv_transfer_params",
    "provider_specific_fields",
    "env_id",
    "group_id",
    "contains_transitions",
    "tool_usage",
)
OWNERS = ("", "response.", "response.body.", "request.", "request.body.")


class Exchange(NamedTuple):
    """A request, the response to it, and other fields of the row."""

    request: Mapping[str, Any]
    response: Mapping[str, Any]
    fields: Mapping[str, Any]


class ResponsesFormat(RowFormat):
    """Reads conversations in items of the Responses API, and rollouts of NeMo Gym."""

    metadata: ClassVar[tuple[str, ...]] = (
        *ITEM_METADATA,
        *(f"{owner}{key}" for owner in (*OWNERS, "responses_create_params.") for key in SETTINGS),
        "*.incomplete_details",
        "*.summary.text",
        "response.output_text",
        "agent_ref",
        "verifier_metadata",
        "judge_evaluations",
        "instance_config",
    )

    def matches(self, row: Any) -> bool:
        items = _items_of(row)
        if holds_items(items):
            return True
        exchange = _exchange_of(row)
        return exchange is not None and isinstance(exchange.response.get("output"), list)

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        items = _items_of(row.value)
        exchange = _exchange_of(row.value)
        if items is not None and (exchange is None or holds_items(items)):
            fields = object_or_empty(row.value)
            yield _reading(row, [], items, Exchange(fields, fields, fields), row.content_hash)
        elif exchange is None:
            raise BadRowError(
                "no items, expected a list of them, 'input' with 'output', or a 'response'"
            )
        else:
            given = _input_of(exchange)
            outputs = [*_outputs_of(exchange.response)]
            for output in outputs:
                digest = (row.part(output) if len(outputs) > 1 else row).content_hash
                yield _reading(row, given, output, exchange, digest)


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


def _exchange_of(row: Any) -> Exchange | None:
    if not isinstance(row, dict) or "traceId" in row or "trace_id" in row:
        return None
    response = decode_nested(row.get("response"))
    for key in REQUEST_KEYS:
        request = decode_nested(row.get(key))
        if isinstance(request, dict) and isinstance(response, dict):
            body = object_or_empty(request.get("body")) or request
            return Exchange(body, _body_of(response), row)
    if isinstance(response, dict) and _is_response(_body_of(response)):
        return Exchange(row, _body_of(response), row)
    if row.get("object") == "response":
        return Exchange(row, row, row)
    output = row.get("output")
    first = output[0] if isinstance(output, list) and output else None
    is_output = is_item(first) or object_or_empty(first).get("type") == "message"
    return Exchange(row, row, row) if "input" in row and is_output else None


def _body_of(response: dict[str, Any]) -> dict[str, Any]:
    """A response of the batch API stands in the `body` of one of HTTP."""
    body = decode_nested(response.get("body"))
    return body if isinstance(body, dict) else response


def _is_response(value: Mapping[str, Any]) -> bool:
    return value.get("object") == "response" and isinstance(value.get("output"), list)


def _input_of(exchange: Exchange) -> list[Any]:
    given = decode_nested(exchange.request.get("input"))
    if given is None:
        return []
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise BadRowError(f"input is {given!r:.60}, expected a text or a list of items")
    return given


def _outputs_of(response: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The output; one that holds a list for each transition holds conversations.

    Each list usually repeats the one before it; the longest is read.
    """
    output = response.get("output")
    if not isinstance(output, list):
        raise BadRowError(f"output is {output!r:.60}, expected a list of items")
    if not output or not isinstance(output[0], list):
        yield output
        return
    for index, (transition, later) in enumerate(zip(output, [*output[1:], None], strict=True)):
        if not isinstance(transition, list):
            raise BadRowError(f"transition {index} is {transition!r:.60}, expected a list of items")
        if not isinstance(later, list) or later[: len(transition)] != transition:
            yield transition


def _reading(
    row: SourceRow, given: Sequence[Any], output: Sequence[Any], exchange: Exchange, digest: str
) -> Reading:
    request, response, fields = exchange
    reader = ItemReader()
    if instructions := request.get("instructions") or response.get("instructions"):
        if isinstance(instructions, list):
            reader.read(instructions)
        elif isinstance(instructions, str):
            reader.turns.append(Turn(Message(role="system", content=instructions)))
        else:
            raise BadRowError(f"instructions are {instructions!r:.60}, expected a text")
    reader.read(given, is_trained=False)
    num_given = len(reader.turns)
    reader.read(output, is_trained=True)
    turns = reader.turns
    if all(turn.message.role != "assistant" for turn in turns[:num_given]):
        turns = [turn._replace(is_trained=None) for turn in turns]
    start = prompt_length(turns)
    remarks = remarks_of_steps(turns, reader.remarks, start)
    cut = object_or_empty(response.get("incomplete_details")).get("reason")
    if cut in CUT_SHORT:
        num_steps = sum(turn.message.role == "assistant" for turn in turns[start:])
        remarks.append((num_steps - 1, f"the answer was cut: {cut}"))
    tools = read_tools(request.get("tools") or response.get("tools")) or ()
    details = details_of_row(fields, USED)
    for key in ("model", "instructions"):
        if text := text_or_none(response.get(key)):
            details[key] = text
    trajectory = build_trajectory(
        turns,
        start,
        task=_task(fields, row.content_hash),
        digest=digest,
        outcome=_outcome(fields, response, cut),
        source=row.source("responses", details),
        tools=chat_tools([*tools, *reader.tools]),
    )
    return Reading(trajectory, remarks)


def _task(fields: Mapping[str, Any], digest: str) -> Task:
    task = task_of_row({k: v for k, v in fields.items() if k != "id"}, otherwise=f"chat-{digest}")
    agent = text_or_none(object_or_empty(fields.get("agent_ref")).get("name"))
    number = fields.get("_ng_task_index")
    if agent is None or task.id != f"chat-{digest}":
        return task
    id_ = f"{agent}_{number}" if is_id(number) else task.id
    return Task(id=id_, environment=agent)


def _outcome(fields: Mapping[str, Any], response: Mapping[str, Any], cut: Any) -> Outcome:
    """The verdict of the verifier decides; a reward need not be 0 or 1 and is only the score."""
    reward = fields.get("reward")
    if reward is not None and not is_number(reward):
        raise BadRowError(f"reward is {reward!r:.60}, expected a number")
    score = None if reward is None else float(reward)
    for key in VERDICT_KEYS:
        verdict = fields.get(key)
        if verdict is None or verdict not in (0, 1):
            continue
        if not verdict and score is not None and score > 0:
            reason = f"the row has {key} {verdict!r} and reward {reward}"
            return Outcome(status="unknown", score=score, reason=reason)
        status = "success" if verdict else "failure"
        return Outcome(status=status, score=score, reason=f"{key} of the verifier is {verdict!r}")
    if error := response.get("error"):
        message = error if isinstance(error, str) else object_or_empty(error).get("message")
        return Outcome(status="error", score=score, reason=text_or_none(message) or "error")
    if cut in CUT_SHORT:
        reason = f"the last answer ended with '{cut}'"
        return Outcome(status="truncated", score=score, reason=reason)
    reason = "the row has a reward, but does not say which reward is a success"
    if score is None:
        reason = "the row does not say whether it succeeded"
    return Outcome(status="unknown", score=score, reason=reason)
