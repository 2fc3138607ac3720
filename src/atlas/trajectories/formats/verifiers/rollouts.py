"""Rollouts of verifiers and prime-rl.

`results.jsonl` of `vf-eval` up to version 0.1 has a rollout a row: `prompt` and `completion`
(messages or a text), calls often as JSON texts, `reward`, metrics, and sometimes `trajectory`, the
model calls with their contexts. Each context that does not continue an earlier one is a trajectory.
Assistant messages in `prompt` are examples and belong to the prompt. `traces.jsonl` of version 1
has a graph of messages (see traces.py).

verifiers has no flag for success. A rollout counts in its pass@k from a reward of 0.5 (a trace from
1, in best-of-n); `success_at` sets another threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from atlas.config import Config
from atlas.records import Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import (
    UNKNOWN_ENVIRONMENT,
    details_of_row,
    is_id,
    outcome_of_reward,
    read_reward,
)
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, decode_nested, read_message
from atlas.trajectories.formats.rollouts import History, continued, histories_of, keys_of
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.formats.verifiers.traces import is_traces, read_traces, with_decoded_calls

# The defaults of PassAtKMetric, and of best-of-n in version 1.
PASS_THRESHOLD = 0.5
TRACE_THRESHOLD = 1.0
TOOLS_KEYS = ("tool_defs", "oai_tools")
# They become a part of the trajectory, or are copies of what does.
USED = ("prompt", "completion", "reward", "trajectory", "info", "task", *TOOLS_KEYS)
_OF_VERIFIERS = ("example_id", "generation_ms", "is_completed", "stop_condition")
_OF_FIRST_VERIFIERS = frozenset(("id", "task", "completion"))


class VerifiersConfig(Config):
    """How a reward becomes an outcome."""

    success_at: float | None = Field(
        default=None,
        description="reward from which a rollout is a success; without it the threshold of "
        "verifiers' own pass@k: 0.5, in traces of version 1 a reward of 1",
    )


class VerifiersFormat(RowFormat):
    """Reads results and traces of verifiers and prime-rl, JSON Lines or parquet."""

    Config = VerifiersConfig
    config: VerifiersConfig
    metadata = (
        "*.timing",
        "metrics",
        "*.ok",
        "*.is_completed",
        "token_usage",
        "generation_ms",
        "scoring_ms",
        "total_ms",
        "sampling_args",
        "version_info",
        "error",
        "answer",
        "is_truncated",
        "stop_condition",
        "long_error_chain",
        "trajectory.tokens",
        "trajectory.reward",
        "trajectory.advantage",
        "trajectory.is_truncated",
        "trajectory.trajectory_id",
        "trajectory.extras",
        "trajectory.response",
        "*.nodes.parent",
        "*.nodes.sampled",
        "*.nodes.timestamp",
        "*.nodes.token_ids",
        "*.nodes.mask",
        "*.nodes.is_content",
        "*.nodes.logprobs",
        "*.nodes.advantages",
        "*.nodes.reference_logprobs",
        "*.nodes.loss_weights",
        "*.provider_state.encrypted_content",
        "*.provider_state.signature",
        "*.provider_state.data",
        "*.agent.config",
        "*.agent.runtime",
        "*.calls",
        "*.verifiers",
        "*.extra_usage",
        "*.request_rewrites",
        "*.response_rewrites",
        "*.errors",
        "*.task",
        "*.run",
        "*.group",
        "*.env",
    )

    def matches(self, row: Any) -> bool:
        return is_verifiers(row) or is_traces(row)

    def convert(self, row: SourceRow) -> Iterable[Reading]:
        threshold = self.config.success_at
        if is_traces(row.value):
            at = TRACE_THRESHOLD if threshold is None else threshold
            return read_traces(row, at)
        return _rollout(row, PASS_THRESHOLD if threshold is None else threshold)


def _rollout(row: SourceRow, threshold: float) -> Iterable[Reading]:
    fields = object_or_empty(row.value)
    if "prompt" not in fields:
        raise BadRowError(
            "no 'prompt', expected a rollout with 'prompt', 'completion' and 'reward', "
            "or a trace with 'nodes'"
        )
    outcome = _outcome(fields, threshold)
    histories = _histories(fields)
    if not histories:
        reason = f", {outcome.reason}" if outcome.status == "error" else ""
        raise BadRowError(f"no 'completion' was saved with this rollout{reason}")
    info = object_or_empty(decode_nested(fields.get("info")))
    tools = _tools(fields, info)
    details = details_of_row(fields, ("prompt", "completion", "reward", "task", "example_id"))
    if isinstance(metrics := fields.get("metrics"), dict):
        details |= details_of_row(metrics, details)
    if known := details_of_row(info, TOOLS_KEYS):
        details["info"] = known
    details["success_at"] = threshold
    calls = _model_calls(fields)
    cut = {number for number, call in enumerate(calls) if call.get("is_truncated") is True}
    for index, history in enumerate(histories):
        turns, start = history.parts()
        place = {"conversation": index} if len(histories) > 1 else {}
        yield build_reading(
            turns,
            start,
            task=_task(fields, info, row.content_hash),
            digest=f"{row.content_hash}-{index}" if index else row.content_hash,
            outcome=outcome,
            source=row.source("verifiers", details | place),
            tools=tools,
            remarks=history.remarks(start, cut),
        )


def _histories(fields: Mapping[str, Any]) -> list[History]:
    """The conversations of the model calls, the last completed by the row's own messages."""
    histories = histories_of(
        (_turns(call, "prompt"), _turns(call, "completion")) for call in _model_calls(fields)
    )
    prompt, completion = (_turns(fields, key) for key in ("prompt", "completion"))
    if not completion:
        return histories
    if found := continued(histories, keys_of([*prompt, *completion])):
        found.add([*prompt, *completion][len(found.turns) :], are_made=True, call=-1)
        return histories
    whole = History()
    whole.add(prompt, are_made=False, call=-1)
    whole.add(completion, are_made=True, call=-1)
    return [*histories, whole]


def _model_calls(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list_of_objects(decode_nested(fields.get("trajectory")), "trajectory")


def _turns(owner: Mapping[str, Any], key: str) -> list[Turn]:
    """The messages under a key; a text is one message, as for a model that only completes."""
    value = decode_nested(owner.get(key)) if owner.get(key) != "" else None
    speaker = "assistant" if key == "completion" else "user"
    if value is None:
        return []
    if isinstance(owner[key], str) and not _are_messages(value):
        value = [{"role": speaker, "content": owner[key]}]
    if not isinstance(value, list):
        raise BadRowError(f"{key} is {value!r:.60}, expected a list of messages or a text")
    turns: list[Turn] = []
    for index, message in enumerate(value):
        given = with_decoded_calls(message, index)
        if object_or_empty(given).get("role") == "text":
            given = {**given, "role": speaker}
        turns += read_message(given, index)
    return turns


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and "role" in each for each in value
    )


def _outcome(fields: Mapping[str, Any], threshold: float) -> Outcome:
    reward, error = read_reward(fields.get("reward")), fields.get("error")
    if error:
        told = object_or_empty(error)
        name = text_or_none(told.get("error")) or text_or_none(told.get("type")) or ""
        text = text_or_none(told.get("message")) or (error if isinstance(error, str) else "")
        return Outcome(
            status="error",
            score=reward,
            reason=f"the rollout broke: {': '.join(filter(None, (name, text)))}"[:300],
        )
    return outcome_of_reward(
        reward,
        threshold,
        is_truncated=fields.get("is_truncated") is True,
        ending=text_or_none(fields.get("stop_condition")),
    )


def _tools(fields: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    for owner, name in ((fields, ""), (info, "info.")):
        for key in TOOLS_KEYS:
            if not owner.get(key):
                continue
            tools = read_tools(owner[key])
            if tools is None:
                raise BadRowError(
                    f"{name}{key} is {owner[key]!r:.60}, expected a list of tool schemas"
                )
            return tuple(without_padding(tool) for tool in tools)
    return ()


def without_padding(schema: Any) -> Any:
    """A tool schema without the nulls that a table adds to give all rows the same columns."""
    if isinstance(schema, dict):
        return {
            key: without_padding(value)
            for key, value in schema.items()
            if value is not None or key in ("default", "const")
        }
    return [*map(without_padding, schema)] if isinstance(schema, list) else schema


def _task(fields: Mapping[str, Any], info: Mapping[str, Any], digest: str) -> Task:
    named = fields.get("task")
    environment = text_or_none(info.get("env_id"))
    if environment is None and isinstance(named, str) and named not in ("", "default"):
        environment = named if len(named) <= 80 and "\n" not in named else None
    number = next((fields[key] for key in ("example_id", "id") if is_id(fields.get(key))), None)
    id_ = f"verifiers-{digest}" if number is None else str(number)
    return Task(
        id=f"{environment}-{id_}" if environment and number is not None else id_,
        environment=environment or UNKNOWN_ENVIRONMENT,
    )


def is_verifiers(row: Any) -> bool:
    """Whether a row is a result of verifiers."""
    if not isinstance(row, dict) or not {"prompt", "reward"} <= row.keys():
        return False
    known = any(key in row for key in _OF_VERIFIERS) or row.keys() >= _OF_FIRST_VERIFIERS
    return known and "messages" not in row and isinstance(row["prompt"], str | list)
