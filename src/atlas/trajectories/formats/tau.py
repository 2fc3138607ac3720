"""Results of tau-bench (arXiv 2406.12045) and tau2-bench (arXiv 2506.07982).

A customer-service agent talks to a user and calls tools.
tau-bench: rows of `{"task_id", "reward", "info", "traj": [messages], "trial"}`.
tau2-bench: one document `{"info", "tasks", "simulations": […]}`, or one simulation a file.
In both, the benchmark defines success as a reward of 1. The user of tau2 has tools too: what it
calls and gets stands in the observation as text, since those are not calls of the agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.records import Outcome, OutcomeStatus, Problem, Source, Task, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import details_of_row, is_id, is_number, is_simulation
from atlas.trajectories.formats.conversations import (
    num_leading_system,
    read_tools,
    split_conversation,
    with_system,
)
from atlas.trajectories.formats.messages import Turn, read_message, read_tool_call, read_turns
from atlas.trajectories.formats.rows import BadRowError, SourceRow

# How tau2-bench ends a simulation that neither user nor agent ends; it then rewards nothing.
# A limit on failed calls in a row is the agent's doing, not a crash.
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
_DOMAIN = re.compile(r"# (\w+) agent policy", re.IGNORECASE)


class TauFormat(RowFormat):
    """Reads result files of tau-bench and tau2-bench."""

    def matches(self, row: Any) -> bool:
        if not isinstance(row, dict):
            return False
        if is_simulation(row) or (
            isinstance(row.get("simulations"), list) and isinstance(row.get("tasks"), list)
        ):
            return True
        return isinstance(row.get("traj"), list) and {"task_id", "reward"} <= row.keys()

    def convert(self, row: SourceRow) -> Iterator[Trajectory | Problem]:
        return _trajectories(row)


def _trajectories(row: SourceRow) -> Iterator[Trajectory | Problem]:
    if (
        not isinstance(row.value, dict)
        or not {"traj", "messages", "ticks", "simulations"} & row.value.keys()
    ):
        raise BadRowError(
            "neither 'traj' of tau-bench nor 'simulations' of tau2-bench. Is this a list of tasks?"
        )
    if "traj" in row.value:
        yield _tau_trajectory(row)
        return
    if "simulations" not in row.value:
        yield _tau2_trajectory(row, {}, None)
        return
    simulations, tasks = row.value["simulations"], row.value.get("tasks")
    if not isinstance(simulations, list) or not simulations:
        raise BadRowError(
            "'simulations' is empty, expected a list of them. "
            "Are they in separate files beside this one?"
        )
    by_id = (
        {str(task.get("id")): task for task in tasks if isinstance(task, dict)}
        if isinstance(tasks, list)
        else {}
    )
    for index, simulation in enumerate(simulations):
        name = str(simulation.get("task_id")) if isinstance(simulation, dict) else None
        try:
            info = _object(row.value, "info")
            yield _tau2_trajectory(row.part(simulation), info, by_id.get(name or ""))
        except BadRowError as error:
            # The other simulations are good.
            where = error.place(f"{row.where}, simulation {index}")
            yield Problem(where=where, reason=str(error), item=name)


def _tau_trajectory(row: SourceRow) -> Trajectory:
    fields, info = row.value, _object(row.value, "info")
    broke = info.get("error")
    if not isinstance(fields["traj"], list) or not fields["traj"]:
        raise BadRowError(
            f"'traj' holds no messages{f', the run broke: {broke!s:.200}' if broke else ''}"
        )
    turns = read_turns(fields["traj"])
    opening = turns[0].message
    domain = _DOMAIN.search(opening.content) if opening.role == "system" else None
    instruction = _object(info, "task").get("instruction")
    outcome = _outcome(fields.get("reward"), None)
    if broke:
        outcome = Outcome(
            status="error", score=outcome.score, reason=f"the run broke: {broke!s:.200}"
        )
    return _trajectory(
        row,
        turns,
        _task(
            "tau_bench",
            domain[1].lower() if domain else "",
            fields.get("task_id"),
            goal=instruction,
        ),
        outcome,
        row.source("tau", details_of_row(fields, ("task_id", "reward"))),
    )


def _tau2_trajectory(
    row: SourceRow, info: Mapping[str, Any], task: Mapping[str, Any] | None
) -> Trajectory:
    fields, environment = row.value, _object(info, "environment_info")
    messages = fields.get("messages") if isinstance(fields, dict) else None
    if not isinstance(messages, list) or not messages:
        raise BadRowError(
            "the simulation has no 'messages'. "
            "Voice simulations have only 'ticks', which are not read"
        )
    turns = [
        turn
        for index, message in enumerate(messages)
        for part in _as_chat(message, index)
        for turn in read_message(part, index)
    ]
    instructions = _object(_object(task or {}, "user_scenario"), "instructions")
    details = details_of_row(fields, ("task_id", "policy"))
    for key, name in (("agent_info", "model"), ("user_info", "user_model")):
        if isinstance(model := _object(info, key).get("llm"), str):
            details[name] = model
    tools = environment.get("tool_defs")
    return _trajectory(
        row,
        with_system(turns, fields.get("policy") or environment.get("policy")),
        _task(
            "tau2_bench",
            environment.get("domain_name"),
            fields.get("task_id"),
            instructions.get("reason_for_call"),
            fields.get("seed"),
        ),
        _outcome(_object(fields, "reward_info").get("reward"), fields.get("termination_reason")),
        row.source("tau", details),
        num_greetings=_is_greeting(messages[0]),
        tools=read_tools(list(tools.values()) if isinstance(tools, dict) else tools) or (),
    )


def _trajectory(
    row: SourceRow,
    turns: Sequence[Turn],
    task: Task,
    outcome: Outcome,
    source: Source,
    *,
    num_greetings: int = 0,
    tools: tuple[dict[str, Any], ...] = (),
) -> Trajectory:
    """The record. Its prompt is what stands before the user: the policy, tau2's canned greeting."""
    num_system = num_leading_system(turns)
    conversation = split_conversation(turns, num_system + num_greetings)
    return Trajectory(
        id=f"{task.id}-{row.content_hash}",
        task=task,
        prompt=conversation.prompt,
        tools=tools,
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        outcome=outcome,
        source=source,
    )


def _task(environment: str, domain: Any, id_: Any, goal: Any, seed: Any = None) -> Task:
    if not is_id(id_):
        raise BadRowError(f"task_id is {id_!r:.60}, expected a text or a whole number")
    group = domain if isinstance(domain, str) else ""
    return Task(
        id=f"{group}-{id_}" if group else str(id_),
        environment=environment,
        group=group,
        seed=seed if isinstance(seed, int) else None,
        goal=goal if isinstance(goal, str) else None,
    )


def _outcome(reward: Any, ending: Any) -> Outcome:
    if reward is not None and not is_number(reward):
        raise BadRowError(f"reward is {reward!r:.60}, expected a number")
    score = None if reward is None else float(reward)
    if isinstance(ending, str) and ending in TERMINATIONS:
        return Outcome(status=TERMINATIONS[ending], score=score, reason=f"ended by {ending}")
    if score is None:
        return Outcome(status="unknown", reason="no reward is recorded")
    return Outcome(status="success" if abs(score - 1) < 1e-6 else "failure", score=score)


def _as_chat(message: Any, index: int) -> list[Any]:
    """A message of tau2-bench in OpenAI's form.

    Bundled results come one by one, and what the user's tools did as text of the user.
    """
    if not isinstance(message, dict):
        return [message]
    if isinstance(message.get("tool_messages"), list):
        return [part for inner in message["tool_messages"] for part in _as_chat(inner, index)]
    content = message.get("content")
    if message.get("is_audio") is True:
        content = message.get("audio_script_gold") or "[audio]"
    if message.get("role") == "tool" and message.get("requestor") == "user":
        return [{"role": "user", "content": f"[tool result] {content or ''}"}]
    if message.get("role") == "user" and isinstance(message.get("tool_calls"), list):
        calls = (read_tool_call(call, index) for call in message["tool_calls"])
        lines = [
            *([content] if content else []),
            *(f"[tool call] {call.name} {call.arguments}" for call in calls),
        ]
        return [{"role": "user", "content": "\n".join(map(str, lines))}]
    if message.get("role") == "tool":
        return [{"role": "tool", "content": content, "tool_call_id": message.get("id")}]
    return [
        {"role": message.get("role"), "content": content, "tool_calls": message.get("tool_calls")}
    ]


def _is_greeting(message: Any) -> bool:
    """Whether tau2-bench, and not a model, opened the conversation for the agent."""
    return (
        isinstance(message, dict)
        and message.get("role") == "assistant"
        and not any(message.get(key) for key in ("tool_calls", "raw_data", "usage", "cost"))
    )


def _object(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}
