"""A request and the response to it -> trajectories.

The turns of the output are annotated as trained if the input holds turns of the model too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from atlas.records import Message, Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.conventions import details_of_row
from atlas.trajectories.formats.conversations import prompt_length, read_tools
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, decode_nested, is_cut_short
from atlas.trajectories.formats.responses.items import ItemReader, chat_tools, remarks_of_steps
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

# Settings of a request, which its response repeats.
SETTINGS = (
    "metadata",
    "parallel_tool_calls",
    "tool_choice",
    "truncation",
    "error",
    "text.format",
    "text.verbosity",
    "reasoning.effort",
    "reasoning.mode",
    "reasoning.context",
    "reasoning.summary",
    "reasoning.generate_summary",
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


class ResponseExchange(NamedTuple):
    """A request, the response to it, and other fields of the row."""

    request: Mapping[str, Any]
    response: Mapping[str, Any]
    fields: Mapping[str, Any]


def read_exchange(
    row: SourceRow,
    exchange: ResponseExchange,
    name: str,
    task: Task,
    outcome: Outcome,
    used: Collection[str],
) -> Iterator[Reading]:
    """The trajectories of an exchange, usually one.

    Args:
        name: of the format.
        used: fields of the row that are not details.

    Raises:
        BadRowError: an item is not one, or no turn of the model is left.
    """
    given = _input_of(exchange)
    outputs = [*_outputs_of(exchange.response)]
    for output in outputs:
        digest = (row.part(output) if len(outputs) > 1 else row).content_hash
        turns, remarks, tools = _turns(given, output, exchange)
        start = prompt_length(turns)
        remarks = remarks_of_steps(turns, remarks, start)
        if cut := cut_of(exchange.response):
            num_steps = sum(turn.message.role == "assistant" for turn in turns[start:])
            remarks.append((num_steps - 1, f"the answer was cut: {cut}"))
        details = details_of_row(exchange.fields, used)
        if model := text_or_none(exchange.response.get("model")):
            details["model"] = model
        yield build_reading(
            turns,
            start,
            task=task,
            digest=digest,
            outcome=outcome,
            source=row.source(name, details),
            tools=tools,
            remarks=remarks,
        )


def outcome_of_response(response: Mapping[str, Any], score: float | None = None) -> Outcome | None:
    """The outcome where a response says that it failed or was cut."""
    if error := response.get("error"):
        message = error if isinstance(error, str) else object_or_empty(error).get("message")
        return Outcome(status="error", score=score, reason=text_or_none(message) or "error")
    if cut := cut_of(response):
        reason = f"the last answer ended with '{cut}'"
        return Outcome(status="truncated", score=score, reason=reason)
    return None


def cut_of(response: Mapping[str, Any]) -> str | None:
    """Why an answer was cut, where it was."""
    reason = object_or_empty(response.get("incomplete_details")).get("reason")
    return str(reason) if is_cut_short(reason) else None


def body_of(response: dict[str, Any]) -> dict[str, Any]:
    """A response of the batch API stands in the `body` of one of HTTP."""
    body = decode_nested(response.get("body"))
    return body if isinstance(body, dict) else response


def _input_of(exchange: ResponseExchange) -> list[Any]:
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
    output = decode_nested(response.get("output"))
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


def _turns(
    given: Sequence[Any], output: Sequence[Any], exchange: ResponseExchange
) -> tuple[list[Turn], list[tuple[int, str]], tuple[dict[str, Any], ...]]:
    """The turns of an exchange, remarks on them, and the tools."""
    reader = ItemReader()
    request, response, _ = exchange
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
    tools = read_tools(request.get("tools") or response.get("tools")) or ()
    return turns, reader.remarks, chat_tools([*tools, *reader.tools])
