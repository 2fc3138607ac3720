"""Runs of LangSmith: `row -> model calls and runs of tools`.

Runs come one a row, as trees with `child_runs`, or as batches of `post` and `patch`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from atlas.records import Problem
from atlas.trajectories.formats.agent_logs import objects_of, problem_of
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.frameworks.accounting import accounted
from atlas.trajectories.formats.frameworks.messages import FrameworkMessages
from atlas.trajectories.formats.frameworks.shapes import as_words, finish_reason_of, holds_messages
from atlas.trajectories.formats.model_calls import (
    ModelCall,
    RecordedCalls,
    ToolRun,
    nanoseconds,
    result_of_run,
    without_repeated,
)
from atlas.trajectories.formats.rows import BadRowError, SourceRow

BATCH = ("post", "patch")
SESSIONS = ("thread_id", "session_id", "conversation_id")
PARTS = ("inputs", "outputs", "child_runs")
METADATA = tuple(
    f"run.{name}"
    for name in (
        "name",
        "run_type",
        "error",
        "serialized",
        "tags",
        "session_name",
        "dotted_order",
        "events",
        "attachments",
        "extra.metadata",
        "extra.runtime",
        "extra.options",
        "extra.batch_size",
        "extra.invocation_params._type",
        "extra.invocation_params.tool_choice",
        "extra.invocation_params.stop",
        "extra.invocation_params.stream",
        "extra.invocation_params.n",
        "extra.invocation_params.max_completion_tokens",
        "extra.invocation_params.parallel_tool_calls",
        "extra.invocation_params.response_format",
        "child_run_ids",
        "parent_run_id",
        "parent_run_ids",
        "reference_example_id",
        "reference_dataset_id",
        "feedback_stats",
        "inputs_s3_urls",
        "outputs_s3_urls",
        "s3_urls",
        "app_path",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_cost",
        "completion_cost",
        "total_cost",
        "first_token_time",
        "last_queued_at",
        "manifest_id",
        "manifest_s3_id",
        "execution_order",
        "in_dataset",
        "trace_tier",
        "ttl_seconds",
        "trace_first_received_at",
        "inputs_preview",
        "outputs_preview",
        "price_model_id",
    )
)
# Inputs and outputs that hold one thing only.
SINGLE = ("output", "input", "result")


def is_runs(row: Any) -> bool:
    """Whether a row holds runs."""
    if not isinstance(row, dict):
        return False
    if any(isinstance(row.get(key), list) and row[key] for key in BATCH):
        return all(
            _is_run(one) or "dotted_order" in one for key in BATCH for one in objects_of(row, key)
        )
    return _is_run(row)


def gather_runs(row: SourceRow, record: RecordedCalls) -> Iterator[Problem]:
    """Add the runs of a row to the record; what cannot be read is a problem."""
    for run in _runs(row.value):
        where = f"{row.where}, run {run.get('id', '?')}"
        try:
            _add(run, SourceRow(row.file, row.index, None, where, row.line), record)
        except (BadRowError, RecursionError, ValidationError) as error:
            yield problem_of(error, where)


def _is_run(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("run_type"), str)
        and ("inputs" in row or "outputs" in row)
    )


def _runs(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if any(key in row for key in BATCH):
        merged: dict[Any, dict[str, Any]] = {}
        for key in BATCH:
            for part in objects_of(row, key):
                known = merged.setdefault(str(part.get("dotted_order", part.get("id"))), {})
                known.update({name: value for name, value in part.items() if value is not None})
        yield from merged.values()
        return
    waiting: list[tuple[Mapping[str, Any], Any]] = [(row, None)]
    while waiting:
        run: Mapping[str, Any]
        run, parent = waiting.pop()
        yield (
            run if parent is None or run.get("parent_run_id") else {**run, "parent_run_id": parent}
        )
        waiting += [(child, run.get("id")) for child in reversed(objects_of(run, "child_runs"))]


def _add(run: Mapping[str, Any], row: SourceRow, record: RecordedCalls) -> None:
    id_, trace = str(run.get("id") or ""), str(run.get("trace_id") or run.get("id") or "trace")
    if parent := run.get("parent_run_id"):
        record.parents[trace, id_] = str(parent)
    start = nanoseconds(run.get("start_time"))
    inputs, outputs = _only(run.get("inputs")), _only(run.get("outputs"))
    kind = run.get("run_type")
    if kind == "tool":
        record.tool_spans.add((trace, id_))
        if outputs is None:
            record.others.setdefault(trace, Counter())["tool without a result"] += 1
        else:
            name = text_or_none(run.get("name"))
            given = _arguments(run)
            record.runs.append(
                ToolRun(trace, name, None, start, result_of_run(outputs), arguments=given)
            )
        return
    is_model = kind == "llm"
    if not is_model and not (holds_messages(inputs) and holds_messages(outputs)):
        record.others.setdefault(trace, Counter())[str(kind)] += 1
        return
    reader = FrameworkMessages()
    sent = reader.sent(_prompts(inputs))
    if is_model:
        said = reader.answered(as_words(outputs)) if outputs else []
    else:
        said = [*without_repeated(sent, reader.worked(outputs))]
    error = text_or_none(run.get("error"))
    if not said and error is None:
        raise BadRowError("no answer of the model, expected it in 'outputs'")
    extra = object_or_empty(run.get("extra"))
    parameters = object_or_empty(extra.get("invocation_params"))
    metadata = object_or_empty(extra.get("metadata"))
    tools = read_tools(parameters.get("tools") or parameters.get("functions"))
    tools = tools or read_tools(reader.tools) or ()
    session = next((metadata[key] for key in SESSIONS if text_or_none(metadata.get(key))), None)
    model = text_or_none(metadata.get("ls_model_name")) or text_or_none(parameters.get("model"))
    record.calls.append(
        ModelCall(
            trace=trace,
            span=id_,
            row=row,
            accounted=partial(_accounted, run, inputs, outputs, tools),
            session=session,
            is_agent=not is_model,
            start=start,
            input=record.kept(sent),
            output=record.kept(said),
            finish_reason=_finish_reason(outputs),
            error=error.splitlines()[-1] if error else None,
            agent=None if is_model else text_or_none(run.get("name")),
            tools=tools,
            details={"model": model} if model else {},
            notes=tuple(reader.notes),
        )
    )


def _accounted(
    run: Mapping[str, Any], inputs: Any, outputs: Any, tools: Sequence[Any]
) -> dict[str, Any]:
    """What has to come out of a run."""
    return {
        **accounted("input", _prompts(inputs)),
        **accounted("output", _without_alternatives(outputs)),
        "tools": list(tools),
        "run": {key: value for key, value in run.items() if key not in PARTS},
    }


def _only(value: Any) -> Any:
    """What inputs or outputs hold, where that is one thing with a name."""
    if isinstance(value, dict) and len(value) == 1:
        [(key, inner)] = value.items()
        if key in SINGLE and not (key == "output" and isinstance(inner, list)):
            return inner
    return value if value != {} else None


def _prompts(inputs: Any) -> Any:
    """The texts of a model that completes texts, as what the user said."""
    if isinstance(inputs, dict) and isinstance(inputs.get("prompts"), list):
        return inputs["prompts"][:1]
    return inputs


def _arguments(run: Mapping[str, Any]) -> Any:
    return run.get("inputs")


def _first_generation(outputs: Any) -> Any:
    found = object_or_empty(outputs).get("generations")
    while isinstance(found, list) and found:
        found = found[0]
    return found


def _without_alternatives(outputs: Any) -> Any:
    first = _first_generation(outputs)
    if isinstance(first, dict):
        return {**outputs, "generations": [first]}
    return outputs


def _finish_reason(outputs: Any) -> str | None:
    first = _first_generation(outputs)
    if isinstance(first, dict):
        info = object_or_empty(first.get("generation_info"))
        return text_or_none(info.get("finish_reason")) or finish_reason_of(first)
    return finish_reason_of(outputs)
