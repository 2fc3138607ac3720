"""Exports of Langfuse: observations (a line, a list or a table each), or traces that hold them.

Generations are model calls (`model_calls`), observations of the type TOOL are runs of tools. Agents
and chains only repeat what generations hold, and are read where a trace has none. An outcome is
known only where a boolean score says so by its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from atlas.config import Config
from atlas.records import Outcome, Problem
from atlas.trajectories.formats.agent_logs import objects_of, problem_of
from atlas.trajectories.formats.conventions import is_number
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.accounting import setting_paths
from atlas.trajectories.formats.langfuse.observations import METADATA, add_observation
from atlas.trajectories.formats.merged_calls import read_record
from atlas.trajectories.formats.model_calls import (
    RecordedCalls,
)
from atlas.trajectories.formats.rows import BadRowError, Item, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

TYPES = (
    "GENERATION",
    "SPAN",
    "EVENT",
    "TOOL",
    "AGENT",
    "CHAIN",
    "RETRIEVER",
    "EVALUATOR",
    "EMBEDDING",
    "GUARDRAIL",
)
# Only traces of Langfuse have one of these next to input and output.
TRACE_KEYS = ("sessionId", "session_id", "projectId", "project_id", "bookmarked", "htmlPath")
# A boolean score with one of these names is the outcome.
SUCCESS = ("success", "task_success", "is_success", "passed", "resolved", "solved")


class LangfuseFormat:
    """Reads observations and traces of Langfuse."""

    metadata = (
        *sorted(METADATA),
        *(f"trace.{name}" for name in sorted(METADATA)),
        *setting_paths(),
        "output.response_metadata",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return _is_observation(row) or _is_trace(row) or bool(_page(row))

    def read(self, source: SourceFile) -> Iterator[Item]:
        record = RecordedCalls()
        num_problems = 0
        for row in source.rows():
            if isinstance(row, Problem):
                num_problems += 1
                yield row
                continue
            if not self.matches(row.value):
                num_problems += 1
                reason = "neither an observation nor a trace, expected 'traceId', 'type', 'input'"
                yield Problem(where=row.where, reason=reason)
                continue
            for problem in _gather(row, record):
                num_problems += 1
                yield problem
        if not record.calls and not num_problems:
            reason = "no observation holds messages, expected one of the type GENERATION"
            yield Problem(where=source.name, reason=reason)
        yield from read_record(record, source.name, "langfuse", self.metadata, source.ignored)


def _is_observation(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and str(row.get("type")).upper() in TYPES
        and isinstance(row.get("traceId", row.get("trace_id")), str)
        and bool({"input", "output", "startTime", "start_time"} & row.keys())
        and not {"attributes", "run_type"} & row.keys()
    )


def _is_trace(row: Any) -> bool:
    if not isinstance(row, dict) or "messages" in row:
        return False
    if isinstance(row.get("observations"), list):
        return isinstance(row.get("trace", row.get("id")), dict | str) and (
            isinstance(row.get("trace"), dict) or "timestamp" in row or "scores" in row
        )
    return {"id", "timestamp", "input", "output"} <= row.keys() and any(
        key in row for key in TRACE_KEYS
    )


def _page(row: Any) -> list[dict[str, Any]]:
    """The elements of an answer of the API."""
    if not isinstance(row, dict) or not isinstance(row.get("meta"), dict):
        return []
    found = objects_of(row, "data")
    return found if found and all(_is_observation(one) or _is_trace(one) for one in found) else []


def _gather(row: SourceRow, record: RecordedCalls) -> Iterator[Problem]:
    for value in _page(row.value) or [row.value]:
        if _is_observation(value):
            yield from _observations([value], {}, row, record)
            continue
        trace = object_or_empty(value.get("trace")) or value
        known = len(record.calls)
        observations = objects_of(value, "observations") or objects_of(trace, "observations")
        yield from _observations(observations, trace, row, record)
        if len(record.calls) == known and trace.get("output") is not None:
            whole = {**trace, "traceId": trace.get("id"), "type": "SPAN"}
            yield from _observations([whole], trace, row, record)


def _observations(
    observations: Sequence[Mapping[str, Any]],
    trace: Mapping[str, Any],
    row: SourceRow,
    record: RecordedCalls,
) -> Iterator[Problem]:
    outcome, scores = _outcome_of(trace)
    for given in observations:
        if not _is_observation(given) and given is not trace and "traceId" not in given:
            yield Problem(where=row.where, reason=f"{given!r:.60} is not an observation")
            continue
        where = f"{row.where}, observation {given.get('id', '?')}"
        place = SourceRow(row.file, row.index, None, where, row.line)
        try:
            add_observation(given, trace, place, record, outcome, scores)
        except (BadRowError, RecursionError, ValidationError) as error:
            if str(given.get("type")).upper() == "GENERATION":
                yield problem_of(error, where)
            else:
                name = str(given.get("traceId", given.get("trace_id")))
                record.others.setdefault(name, Counter())[str(given.get("type"))] += 1


def _outcome_of(trace: Mapping[str, Any]) -> tuple[Outcome | None, dict[str, Any]]:
    """The outcome that a boolean score says, and all scores as details."""
    details: dict[str, Any] = {}
    outcome: Outcome | None = None
    for score in objects_of(trace, "scores"):
        name, value = score.get("name"), score.get("value")
        if not isinstance(name, str):
            continue
        shown = score.get("stringValue") or value
        if isinstance(shown, str | bool) or is_number(shown):
            details[f"score.{name}"] = shown
        is_boolean = str(score.get("dataType", score.get("data_type"))).upper() == "BOOLEAN"
        if is_boolean and name.lower() in SUCCESS and value in (0, 1):
            reason = f"the boolean score '{name}' is {'true' if value else 'false'}"
            status = "success" if value else "failure"
            outcome = Outcome(status=status, score=float(value), reason=reason)
    return outcome, details
