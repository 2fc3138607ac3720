"""Results of verifiers and prime-rl: `results.jsonl` with `metadata.json`, or `traces.jsonl`.

A rollout of `results.jsonl` has a reward and metrics; `metadata.json` says from which reward on a
rollout passes. An episode of `traces.jsonl` (version 1) has a trace for each agent, with named
rewards; a rollout's reward is their weighted sum. Rollouts of one example are its repetitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.errors import DataError
from atlas.reporting.results.base import ResultFormatBase
from atlas.reporting.results.result_file import ResultFile
from atlas.reporting.results.samples import (
    ResultLog,
    Sample,
    ScoreValue,
    content_of,
    mapping,
    read_id,
    read_score,
    read_scores,
    reason_of,
    text_of,
    usage_of,
)

METADATA_FILE = "metadata.json"
REWARD = "reward"
DEFAULT_BENCHMARK = "verifiers"
LIMITS = (
    "max_turns",
    "max_turns_reached",
    "max_input_tokens",
    "max_output_tokens",
    "max_total_tokens",
    "context_length",
)
SETTINGS = ("env_args", "sampling_args", "rollouts_per_example", "num_examples", "shuffle_seed")


class VerifiersResults(ResultFormatBase):
    """Reads results and traces of verifiers and prime-rl."""

    def matches(self, file: ResultFile) -> bool:
        row = file.first
        if isinstance(row.get("traces"), list) or {"nodes", "rewards"} <= row.keys():
            return True
        is_rollout = {"prompt", "completion", REWARD} <= row.keys()
        return is_rollout and not {"example_id", "id"}.isdisjoint(row)

    def read(self, file: ResultFile) -> ResultLog:
        metadata = file.beside(METADATA_FILE)
        benchmark = text_of(metadata.get("env_id")) or DEFAULT_BENCHMARK
        threshold = read_score(metadata.get("pass_threshold"))
        version = text_of(mapping(metadata.get("version_info")).get("vf_version"))
        settings = {name: metadata.get(name) for name in SETTINGS}
        return ResultLog(
            samples=_samples(file, benchmark),
            model=text_of(metadata.get("model")) or _model_of(file.first),
            settings={key: value for key, value in settings.items() if value is not None},
            versions={} if version is None else {"verifiers": version},
            score=REWARD,
            success_at=threshold if isinstance(threshold, float) else None,
        )


def _samples(file: ResultFile, benchmark: str) -> Iterator[Sample]:
    for where, row in file.rows():
        if not isinstance(row, dict):
            raise DataError(f"{where}: {row!r:.60}, expected an object with a rollout.")
        is_trace = "traces" in row or "nodes" in row
        yield _episode(row, benchmark, where) if is_trace else _rollout(row, benchmark, where)


def _rollout(row: Mapping[str, Any], benchmark: str, where: str) -> Sample:
    if REWARD not in row:
        raise DataError(f"{where}: no '{REWARD}', expected a rollout with its reward.")
    metrics, used = mapping(row.get("metrics")), mapping(row.get("token_usage"))
    error, ending = row.get("error"), row.get("stop_condition")
    is_cut = row.get("is_truncated") is True or ending in LIMITS
    name = text_of(row.get("task"))
    content = content_of(row.get("answer"), _question(row.get("prompt")))
    # The ids of the first versions, under another key, belong to other rows than theirs.
    given = content if "example_id" not in row and content else row.get("example_id", row.get("id"))
    return Sample(
        benchmark=benchmark,
        task=read_id(given, where, "example_id"),
        scores={**read_scores(dict(metrics)), **_known({REWARD: row[REWARD]})},
        error=_said(error) if error else None,
        limit=(text_of(ending) or "length limit") if is_cut else None,
        # What a mixture of environments calls each of them.
        environment="" if name in (None, "default") else name or "",
        content=content,
        usage=usage_of(None, _count(used.get("input_tokens")), _count(used.get("output_tokens"))),
    )


def _episode(row: Mapping[str, Any], benchmark: str, where: str) -> Sample:
    given = row.get("traces", [row])
    traces = [mapping(trace) for trace in given] if isinstance(given, list) else []
    task = mapping(traces[0].get("task") if traces else None) or mapping(row.get("task"))
    data = mapping(task.get("data", task))
    named = next((data[key] for key in ("name", "idx") if data.get(key) is not None), None)
    errors = [*_errors(row), *(error for trace in traces for error in _failures(trace))]
    ending = next((text_of(trace.get("stop_condition")) for trace in traces), None)
    return Sample(
        benchmark=text_of(mapping(row.get("env")).get("id")) or benchmark,
        task=read_id(task.get("key") if named is None else named, where),
        scores=_rewards(traces, where),
        error=errors[-1] if errors else None if traces else "the episode has no traces",
        limit=ending if ending in LIMITS else None,
        content=content_of(data.get("answer"), _question(data.get("prompt"))),
    )


def _rewards(traces: Sequence[Mapping[str, Any]], where: str) -> dict[str, ScoreValue]:
    """The reward of an episode; with several agents, that of each under its name."""
    found: dict[str, ScoreValue] = {}
    for trace in traces:
        agent = text_of(mapping(trace.get("agent")).get("name")) or "agent"
        name = REWARD if len(traces) == 1 else f"{agent}/{REWARD}"
        parts = [_weighted(given) for given in mapping(trace.get("rewards")).values()]
        scored = [part for part in parts if part is not None]
        if any(isinstance(part, str) for part in scored):
            raise DataError(f"{where}: a reward is {scored!r:.60}, expected numbers.")
        if scored:
            found[name] = sum(part for part in scored if isinstance(part, float))
        metrics = read_scores(_known(dict(mapping(trace.get("metrics")))))
        found |= metrics if len(traces) == 1 else {f"{agent}/{k}": v for k, v in metrics.items()}
    return found


def _weighted(given: Any) -> ScoreValue | None:
    """A reward with its weight; None where it was not scored."""
    parts = [given.get("score"), given.get("weight", 1.0)] if isinstance(given, dict) else [given]
    if parts[0] is None:
        return None
    value = 1.0
    for part in map(read_score, parts):
        if isinstance(part, str):
            return part
        value *= part
    return value


def _failures(trace: Mapping[str, Any]) -> list[str]:
    """Errors of a trace, unless a later attempt succeeded."""
    return [] if trace.get("ok") is True else _errors(trace)


def _errors(owner: Mapping[str, Any]) -> list[str]:
    given = owner.get("errors")
    return [_said(error) for error in given] if isinstance(given, list) else []


def _said(error: Any) -> str:
    if not isinstance(error, dict):
        return reason_of(error)
    kind = text_of(error.get("type")) or text_of(error.get("error"))
    return reason_of(": ".join(filter(None, (kind, text_of(error.get("message"))))) or error)


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _question(prompt: Any) -> Any:
    """What the user asked: instructions to the model may differ between the arms."""
    if not isinstance(prompt, list):
        return prompt
    asked = [each.get("content") for each in map(mapping, prompt) if each.get("role") == "user"]
    return asked[-1:]


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _model_of(row: Mapping[str, Any]) -> str | None:
    traces = row.get("traces")
    first = mapping(traces[0]) if isinstance(traces, list) and traces else row
    return text_of(mapping(mapping(first.get("agent")).get("config")).get("model"))
