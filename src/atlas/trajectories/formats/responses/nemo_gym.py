"""Rollouts of NVIDIA NeMo Gym: a request, the response to it, and what the environment says.

`response.output` holds what the agent wrote and saw. The verdict of a verifier is the outcome; a
reward is only the score, as it need not be 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from atlas.records import Outcome, Task
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import is_id, read_reward, task_of_row
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.responses.exchanges import (
    SETTINGS,
    ResponseExchange,
    outcome_of_response,
    read_exchange,
)
from atlas.trajectories.formats.responses.item_types import ITEM_METADATA
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

REQUEST, RESPONSE = "responses_create_params", "response"
VERDICT_KEYS = ("resolved", "success", "is_correct", "correct")
USED = frozenset((REQUEST, RESPONSE, *VERDICT_KEYS, "reward"))
# What environments and their verifiers add to a rollout. The agent sees none of it.
OF_VERIFIERS = (
    *("agent_ref", "metadata", "verifier_metadata", "verifier", "verification_result", "info"),
    *("instance_config", "config", "details", "options", "task", "system", "answer", "kwargs"),
    *("expected_answer", "expected_output", "expected_action", "predicted_output", "result"),
    *("predicted_calls", "predicted_nodes", "parsed_output", "raw_output_metric", "match"),
    *("match_details", "extracted_rtl", "compiler_output", "container_services", "spans"),
    *("judge_responses_create_params", "judge_response", "judge_evaluations", "judge_per_item"),
    *("judge_diagnostics", "rubric_judgements", "rubric_evaluations", "validation_results"),
    *("reward_components", "step_results", "trajectory", "trajectory_invalid_reasons"),
    *("failure_labels", "regime_mix", "customer_scenario", "source_artifacts"),
    *("reference_file_urls", "delegated_response", "follow_instruction_list"),
    *("text", "tools", "declared_tools"),
    *("_ng_task_index", "_ng_rollout_index", "instruction_id_list"),
    *("parsed_synonym_values", "per_position_acceptance_rates"),
)


class NeMoGymFormat(RowFormat):
    """Reads the rollouts that NeMo Gym collects."""

    metadata: ClassVar[tuple[str, ...]] = (
        *ITEM_METADATA,
        *OF_VERIFIERS,
        *(f"{owner}.{key}" for owner in (REQUEST, RESPONSE) for key in SETTINGS),
        "_ng_task_index",
        "response.output_text",
        "response.expected_answer",
    )

    def matches(self, row: Any) -> bool:
        return (
            isinstance(row, dict)
            and isinstance(row.get(REQUEST), dict)
            and isinstance(row.get(RESPONSE), dict)
        )

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        fields = object_or_empty(row.value)
        request, response = (decode_nested(fields.get(key)) for key in (REQUEST, RESPONSE))
        if not isinstance(request, dict) or not isinstance(response, dict):
            raise BadRowError(f"not a rollout, expected '{REQUEST}' and '{RESPONSE}'")
        exchange = ResponseExchange(request, response, fields)
        task = _task(fields, row.content_hash)
        return read_exchange(row, exchange, "nemo_gym", task, _outcome(fields, response), USED)


def _task(fields: Mapping[str, Any], digest: str) -> Task:
    task = task_of_row({k: v for k, v in fields.items() if k != "id"}, otherwise=f"chat-{digest}")
    agent = text_or_none(object_or_empty(fields.get("agent_ref")).get("name"))
    number = fields.get("_ng_task_index")
    if agent is None or task.id != f"chat-{digest}":
        return task
    id_ = f"{agent}_{number}" if is_id(number) else task.id
    return Task(id=id_, environment=agent)


def _outcome(fields: Mapping[str, Any], response: Mapping[str, Any]) -> Outcome:
    """The verdict of the verifier decides; a reward need not be 0 or 1 and is only the score."""
    score = read_reward(fields.get("reward"))
    for key in VERDICT_KEYS:
        verdict = fields.get(key)
        if verdict is None or verdict not in (0, 1):
            continue
        if score is not None and bool(verdict) != (score > 0):
            reason = f"the row has {key} {verdict!r} and reward {score:g}"
            return Outcome(status="unknown", score=score, reason=reason)
        status = "success" if verdict else "failure"
        return Outcome(status=status, score=score, reason=f"{key} of the verifier is {verdict!r}")
    if ended := outcome_of_response(response, score):
        return ended
    reason = "the row has a reward, but does not say which reward is a success"
    if score is None:
        reason = "the row does not say whether it succeeded"
    return Outcome(status="unknown", score=score, reason=reason)
