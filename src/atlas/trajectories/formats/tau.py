"""Results of tau-bench (arXiv 2406.12045) and tau2-bench (arXiv 2506.07982).

A customer-service agent talks to a user and calls tools. tau-bench: rows of `{"task_id", "reward",
"info", "traj": [messages], "trial"}`. tau2-bench: one document `{"info", "tasks", "simulations":
[…]}`, or one simulation a file. In both, the benchmark defines success as a reward of 1. The user
in tau2 has tools too. Their calls and results are text in the observation, because they are not
calls of the agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from atlas.records import Outcome, OutcomeStatus, Problem, Task, Trajectory
from atlas.trajectories.formats.agent_logs import build_reading, objects_of
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import (
    USERS_CALL,
    details_of_row,
    is_id,
    read_reward,
)
from atlas.trajectories.formats.conversations import num_leading_system, read_tools, with_system
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import (
    REASONING_KEYS,
    read_message,
    read_tool_call,
    read_turns,
)
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.trajectory_lines import TrajectoryLine

# Reasons with which tau2-bench itself ends a simulation; the reward is then 0. Too many failed
# calls in a row are a failure of the agent, not a crash.
TERMINATIONS: dict[str, OutcomeStatus] = {
    "max_steps": "truncated",
    "timeout": "truncated",
    "context_window_exceeded": "truncated",
    "too_many_errors": "truncated",
    "agent_error": "error",
    "user_error": "error",
    "infrastructure_error": "error",
    "unexpected_error": "error",
}
SUCCESS_RULE = "the benchmark counts a reward of 1 as success"
_DOMAIN = re.compile(r"# (\w+) agent policy", re.IGNORECASE)


# What the benchmark knows and no agent saw: the goal state, checks, costs, and effects of a voice.
# `raw_data` repeats a message of the agent; the reasoning in it is read.
METADATA = (
    "info.environment_info.domain_name",
    "info.task",
    "trial",
    "info.reward_info",
    "info.user_cost",
    "info.environment_info.domain_name",
    "*.termination_reason",
    "info.traceback",
    "info.agent_info",
    "info.user_info",
    "info.git_commit",
    "info.num_trials",
    "info.seed",
    "info.max_steps",
    "info.max_errors",
    "info.audio_native_config",
    "info.retrieval_config",
    "info.retrieval_config_kwargs",
    "info.speech_complexity",
    "info.text_streaming_config",
    "tasks",
    "simulation_index",
    "reward_info",
    "review",
    "user_only_review",
    "speech_environment",
    "effect_timeline",
    "auth_classification",
    "hallucination_check",
    "hallucination_retries_used",
    "provider_session_id",
    "agent_cost",
    "user_cost",
    "*.requestor",
    "*.turn_idx",
    "*.raw_data.choices.message.provider_specific_fields",
    "*.raw_data.message.provider_specific_fields",
    "*.cost",
    "*.error",
    "*.is_audio",
    "*.audio_path",
    "*.audio_format",
    "*.audio_content",
    "*.chunk_id",
    "*.is_final_chunk",
    "*.contains_speech",
    "*.utterance_ids",
    "*.source",
    "*.source_effects",
    "*.speech_effects",
    "*.channel_effects",
    "*.turn_taking_action",
    "*.generation_time_seconds",
)


class TauFormat(RowFormat):
    """Reads result files of tau-bench and tau2-bench."""

    metadata = METADATA

    def matches(self, row: Any) -> bool:
        match row:
            case {"simulations": list(), "tasks": list()}:
                return True
            case {"traj": list(), "task_id": _, "reward": _}:
                return True
            # Results whose simulations are in other files, and a simulation of a voice.
            case {"tasks": list(), "info": {"environment_info": _}}:
                return True
            case {"task_id": _, "termination_reason": _, "ticks": list()}:
                return True
        return is_simulation(row)

    def convert(
        self, row: SourceRow, ignored: tuple[str, ...] = ()
    ) -> Reading | Iterable[TrajectoryLine | Problem]:
        fields = object_or_empty(row.value)
        if "traj" in fields:
            return _tau_trajectory(row)
        if "simulations" in fields:
            return _simulations(row, ignored)
        if "tasks" in fields and "info" in fields:
            raise BadRowError("no 'simulations'. Are they in separate files beside this one?")
        if not {"messages", "ticks"} & fields.keys():
            reason = "neither 'traj' of tau-bench nor 'simulations' of tau2-bench"
            raise BadRowError(f"{reason}. Is this a list of tasks?")
        return _tau2_trajectory(row, {}, {})

    def convert_all(
        self, rows: Iterable[SourceRow | Problem], ignored: tuple[str, ...]
    ) -> Iterator[Item]:
        own = (row if isinstance(row, Problem) else _of_the_agent(row) for row in rows)
        return convert_rows(own, lambda row: self.convert(row, ignored), METADATA, ignored)


def _of_the_agent(row: SourceRow) -> SourceRow:
    """A simulation without the raw answers of the simulated user; any other row as it is."""
    if not is_simulation(row.value) or not isinstance(row.value["messages"], list):
        return row
    messages = [
        {key: value for key, value in message.items() if key != "raw_data"}
        if isinstance(message, dict) and message.get("role") == "user"
        else message
        for message in row.value["messages"]
    ]
    return replace(row, value={**row.value, "messages": messages}, known_hash=row.content_hash)


def _tau_trajectory(row: SourceRow) -> Reading:
    fields, info = row.value, object_or_empty(row.value.get("info"))
    broke = f"the run broke: {info['error']!s:.200}" if info.get("error") else None
    if not isinstance(fields["traj"], list) or not fields["traj"]:
        raise BadRowError(f"'traj' holds no messages{f', {broke}' if broke else ''}")
    turns = read_turns(fields["traj"])
    opening = turns[0].message
    domain = _DOMAIN.search(opening.content) if opening.role == "system" else None
    outcome = _outcome(fields.get("reward"), None)
    if broke:
        outcome = Outcome(status="error", score=outcome.score, reason=broke)
    task = _task(
        "tau_bench",
        domain[1].lower() if domain else "",
        fields.get("task_id"),
        goal=object_or_empty(info.get("task")).get("instruction"),
    )
    return build_reading(
        turns,
        num_leading_system(turns),
        task=task,
        digest=row.content_hash,
        outcome=outcome,
        source=row.source("tau", details_of_row(fields, ("task_id", "reward"))),
    )


def _simulations(row: SourceRow, ignored: tuple[str, ...]) -> Iterator[TrajectoryLine | Problem]:
    simulations = row.value["simulations"]
    if not isinstance(simulations, list) or not simulations:
        reason = "'simulations' is empty, expected a list of them"
        raise BadRowError(f"{reason}. Are they in separate files beside this one?")
    info = object_or_empty(row.value.get("info"))
    tasks = {str(task.get("id")): task for task in objects_of(row.value, "tasks")}
    rows = (
        _of_the_agent(replace(row.part(simulation), where=f"{row.where}, simulation {index}"))
        for index, simulation in enumerate(simulations)
    )
    shared = {key: value for key, value in row.value.items() if key != "simulations"}
    for item in convert_rows(
        rows,
        lambda part: _tau2_trajectory(part, info, tasks),
        METADATA,
        ignored,
        accounted=lambda part: [part, row.part(shared)],
    ):
        assert not isinstance(item, Trajectory)
        yield item


def _tau2_trajectory(
    row: SourceRow, info: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]
) -> Reading:
    fields = object_or_empty(row.value)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        reason = "the simulation has no 'messages'"
        raise BadRowError(f"{reason}. Voice simulations have only 'ticks', which are not read")
    turns = [
        turn
        for index, message in enumerate(messages)
        for part in _as_chat(message, index)
        for turn in read_message(part, index)
    ]
    environment = object_or_empty(info.get("environment_info"))
    turns = [*with_system(turns, fields.get("policy") or environment.get("policy"))]
    details = details_of_row(fields, ("task_id", "policy"))
    for key, name in (("agent_info", "model"), ("user_info", "user_model")):
        if isinstance(model := object_or_empty(info.get(key)).get("llm"), str):
            details[name] = model
    given = environment.get("tool_defs")
    tools = read_tools([*given.values()] if isinstance(given, dict) else given)
    if tools is None:
        raise BadRowError(f"tool_defs is {given!r:.60}, expected tool schemas")
    scenario = object_or_empty(tasks.get(str(fields.get("task_id")), {}).get("user_scenario"))
    task = _task(
        "tau2_bench",
        environment.get("domain_name"),
        fields.get("task_id"),
        goal=object_or_empty(scenario.get("instructions")).get("reason_for_call"),
        seed=fields.get("seed"),
    )
    reward = object_or_empty(fields.get("reward_info")).get("reward")
    return build_reading(
        turns,
        # The prompt consists of the messages before the user's: the policy and the canned greeting.
        num_leading_system(turns) + _is_greeting(messages[0]),
        task=task,
        digest=row.content_hash,
        outcome=_outcome(reward, fields.get("termination_reason")),
        source=row.source("tau", details),
        tools=tools,
    )


def _task(environment: str, domain: Any, id_: Any, goal: Any, seed: Any = None) -> Task:
    if not is_id(id_):
        raise BadRowError(f"task_id is {id_!r:.60}, expected a text or a whole number")
    group = text_or_none(domain) or ""
    return Task(
        id=f"{group}-{id_}" if group else str(id_),
        environment=environment,
        group=group,
        seed=seed if isinstance(seed, int) else None,
        goal=goal if isinstance(goal, str) else None,
    )


def _outcome(reward: Any, ending: Any) -> Outcome:
    score = read_reward(reward)
    if isinstance(ending, str) and ending in TERMINATIONS:
        return Outcome(status=TERMINATIONS[ending], score=score, reason=f"ended by {ending}")
    if score is None:
        return Outcome(status="unknown", reason="no reward is recorded")
    status: OutcomeStatus = "success" if abs(score - 1) < 1e-6 else "failure"
    return Outcome(status=status, score=score, reason=SUCCESS_RULE)


def _as_chat(message: Any, index: int) -> list[Any]:
    """A message of tau2-bench in OpenAI's form.

    Bundled results become separate messages; calls of the user's tools become text of the user.
    """
    if not isinstance(message, dict):
        return [message]
    if isinstance(bundle := message.get("tool_messages"), list):
        return [part for inner in bundle for part in _as_chat(inner, index)]
    role, content, calls = (message.get(key) for key in ("role", "content", "tool_calls"))
    if message.get("is_audio") is True:
        content = message.get("audio_script_gold") or "[audio]"
    if role == "tool" and message.get("requestor") == "user":
        return [{"role": "user", "content": f"[tool result] {content or ''}"}]
    if role == "tool":
        return [{"role": "tool", "content": content, "tool_call_id": message.get("id")}]
    if role == "user" and isinstance(calls, list):
        made = (read_tool_call(call, index) for call in calls)
        lines = [f"{USERS_CALL} {call.name} {call.arguments}" for call in made]
        text = "\n".join([str(content), *lines] if content else lines)
        return [{"role": "user", "content": text}]
    chat = {"role": role, "content": content, "tool_calls": calls}
    if role == "assistant":
        chat |= _reasoning(message.get("raw_data"))
    return [chat]


def _reasoning(raw: Any) -> dict[str, Any]:
    """The reasoning in the model's own answer, a completion or one of its choices."""
    choices = object_or_empty(raw).get("choices")
    if isinstance(choices, list) and choices:
        raw = choices[0]
    told = object_or_empty(object_or_empty(raw).get("message"))
    for key in REASONING_KEYS:
        if text := text_or_none(told.get(key)):
            return {"reasoning": text}
    return {}


def _is_greeting(message: Any) -> bool:
    """Whether the first message of the agent is tau2-bench's canned greeting."""
    fields = object_or_empty(message)
    is_models = any(fields.get(key) for key in ("tool_calls", "raw_data", "usage", "cost"))
    return fields.get("role") == "assistant" and not is_models


def is_simulation(row: Any) -> bool:
    """Whether a row is one simulation of tau2-bench."""
    return (
        isinstance(row, dict)
        and {"task_id", "messages", "termination_reason", "reward_info"} <= row.keys()
    )


# A result of verifiers has one of these, or what its first versions wrote.
