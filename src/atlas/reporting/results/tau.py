"""Results of tau-bench and tau2-bench: the benchmark counts a reward of 1 as a success.

tau-bench writes a list of `{"task_id", "reward", "info", "traj", "trial"}`. tau2-bench writes one
document `{"info", "tasks", "simulations"}`, or each simulation into a file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from atlas.errors import DataError
from atlas.reporting.results.base import ResultFormatBase
from atlas.reporting.results.result_file import ResultFile
from atlas.reporting.results.samples import (
    ResultLog,
    Sample,
    content_of,
    mapping,
    read_id,
    read_scores,
    reason_of,
    text_of,
    whole_number,
)

REWARD = "reward"
# Rewards are products of numbers, so that 1 may come out a little below.
SUCCESS_AT = 1 - 1e-6
BROKEN = ("agent_error", "user_error", "infrastructure_error", "unexpected_error")
LIMITS = ("max_steps", "timeout", "context_window_exceeded", "too_many_errors")
_DOMAIN = re.compile(r"# (\w+) agent policy", re.IGNORECASE)
SETTINGS = ("max_steps", "max_errors")


class TauResults(ResultFormatBase):
    """Reads results of tau-bench and tau2-bench."""

    def matches(self, file: ResultFile) -> bool:
        first = file.first
        if {"traj", "task_id", REWARD} <= first.keys():
            return True
        has_info = "environment_info" in mapping(first.get("info"))
        return has_info or _is_simulation(first)

    def read(self, file: ResultFile) -> ResultLog:
        first = file.first
        if "traj" in first or file.shape == "list":
            return ResultLog(samples=_tau_samples(file), score=REWARD, success_at=SUCCESS_AT)
        is_single = _is_simulation(first)
        whole = file.beside("../results.json") if is_single else first
        info = mapping(whole.get("info"))
        domain = text_of(mapping(info.get("environment_info")).get("domain_name"))
        benchmark = f"tau2 {domain}" if domain else "tau2"
        user = mapping(info.get("user_info"))
        settings = {**{name: info.get(name) for name in SETTINGS}, "user": user.get("llm")}
        commit = text_of(info.get("git_commit"))
        return ResultLog(
            samples=_single(file, benchmark) if is_single else _simulations(file, benchmark),
            # Simulations of one folder are parts of one run.
            id=str(file.path.resolve().parent) if is_single else None,
            model=text_of(mapping(info.get("agent_info")).get("llm")),
            settings={key: value for key, value in settings.items() if value is not None},
            versions={} if commit is None else {"tau2": commit},
            score=REWARD,
            success_at=SUCCESS_AT,
        )


def _is_simulation(first: Mapping[str, Any]) -> bool:
    return {"task_id", "termination_reason"} <= first.keys()


def _tau_samples(file: ResultFile) -> Iterator[Sample]:
    """The trials; all belong to the domain that a system message names."""
    samples: list[Sample] = []
    domain: str | None = None
    for where, row in file.rows():
        if not isinstance(row, dict):
            raise DataError(f"{where}: {row!r:.60}, expected an object with 'task_id'.")
        trajectory, info = row.get("traj"), mapping(row.get("info"))
        messages = [mapping(each) for each in trajectory] if isinstance(trajectory, list) else []
        system = text_of(messages[0].get("content")) if messages else None
        if domain is None and system and (found := _DOMAIN.search(system)):
            domain = found[1].lower()
        samples.append(
            Sample(
                benchmark="",
                task=read_id(row.get("task_id"), where, "task_id"),
                scores=_reward(row.get(REWARD)),
                error=reason_of(info["error"]) if info.get("error") else None,
                repetition=whole_number(row.get("trial")),
                content=content_of(mapping(info.get("task")).get("instruction")),
                num_steps=_num_answers(messages),
            )
        )
    benchmark = f"tau {domain}" if domain else "tau"
    yield from (replace(sample, benchmark=benchmark) for sample in samples)


def _simulations(file: ResultFile, benchmark: str) -> Iterator[Sample]:
    contents: dict[str, str | None] = {}
    for key, value in file.parts("tasks", "simulations"):
        if key == "tasks" and isinstance(value, dict):
            contents[str(value.get("id"))] = content_of(value.get("user_scenario"))
        elif key == "simulations":
            yield _simulation(value, benchmark, contents, file.name)


def _single(file: ResultFile, benchmark: str) -> Iterator[Sample]:
    for where, row in file.rows():
        yield _simulation(row, benchmark, {}, where)


def _simulation(row: Any, benchmark: str, contents: Mapping[str, str | None], where: str) -> Sample:
    if not isinstance(row, dict):
        raise DataError(f"{where}: a simulation is {row!r:.60}, expected an object.")
    task = read_id(row.get("task_id"), f"{where}: simulation", "task_id")
    ending, messages = text_of(row.get("termination_reason")), row.get("messages")
    known = [mapping(each) for each in messages] if isinstance(messages, list) else []
    return Sample(
        benchmark=benchmark,
        task=task,
        scores=_reward(mapping(row.get("reward_info")).get(REWARD)),
        error=f"ended by {ending}" if ending in BROKEN else None,
        limit=ending if ending in LIMITS else None,
        repetition=whole_number(row.get("trial")),
        content=contents.get(task),
        num_steps=_num_answers(known),
    )


def _reward(value: Any) -> dict[str, float | str]:
    return {} if value is None else read_scores(value, REWARD)


def _num_answers(messages: list[Mapping[str, Any]]) -> int | None:
    return sum(each.get("role") == "assistant" for each in messages) or None
