"""Jobs of Harbor: each trial has a folder with `result.json`, all in the folder of their job.

The verifier of the task gives one or several rewards. An agent that ran out of time is verified all
the same, and its reward counts; any other exception means that the trial broke. Harbor's own mean
counts such trials as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
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
    usage_of,
    whole_number,
)

RESULT_FILE = "result.json"
REWARD = "reward"
TIMEOUT = "AgentTimeoutError"


class HarborResults(ResultFormatBase):
    """Reads the trials of a job of Harbor."""

    def matches(self, file: ResultFile) -> bool:
        if file.path.name != RESULT_FILE or file.shape not in ("object", "lines"):
            return False
        return is_trial(file.first) or is_job(file.first)

    def read(self, file: ResultFile) -> ResultLog:
        result = dict(file.parts())
        if is_job(result):
            # Its trials are in the folders beside it.
            cautions = tuple(_unfinished(result, file.path.parent))
            return ResultLog(samples=(), score=REWARD, cautions=cautions)
        if not is_trial(result):
            raise DataError(f"{file.name}: expected the result of a trial of Harbor.")
        agent = mapping(result.get("agent_info"))
        asked = mapping(mapping(result.get("config")).get("agent"))
        model = text_of(mapping(agent.get("model_info")).get("name"))
        settings = {"agent": agent.get("name") or asked.get("name")}
        version = text_of(agent.get("version"))
        return ResultLog(
            samples=(_sample(result, file.name),),
            # Trials of one job are attempts of one run.
            id=str(file.path.resolve().parent.parent),
            model=model or text_of(asked.get("model_name")),
            settings={key: value for key, value in settings.items() if value is not None},
            versions={} if version is None else {str(settings["agent"]): version},
            score=REWARD,
        )


def is_trial(result: Mapping[str, Any]) -> bool:
    """Whether an object is the result of a trial."""
    return {"task_name", "trial_name"} <= result.keys()


def is_job(result: Mapping[str, Any]) -> bool:
    """Whether an object is the result of a whole job."""
    return {"n_total_trials", "stats"} <= result.keys()


def _unfinished(job: Mapping[str, Any], folder: Path) -> Iterator[str]:
    if job.get("finished_at") is None:
        yield "the job is not finished"
    asked = whole_number(job.get("n_total_trials")) or 0
    files = (trial / RESULT_FILE for trial in folder.iterdir())
    found = sum(file.is_file() and file.stat().st_size > 0 for file in files)
    if found < asked:
        yield f"only {found:,} of the {asked:,} trials of the job have a result"


def _sample(result: Mapping[str, Any], where: str) -> Sample:
    verified = mapping(result.get("verifier_result"))
    rewards = verified.get("rewards")
    # The first versions had one reward.
    given = rewards if isinstance(rewards, dict) else {REWARD: verified.get(REWARD)}
    scores = read_scores({name: value for name, value in given.items() if value is not None})
    raised = mapping(result.get("exception_info"))
    kind, said = text_of(raised.get("exception_type")), text_of(raised.get("exception_message"))
    is_timeout = kind == TIMEOUT
    broke = reason_of(f"{kind}: {said}" if said else kind) if kind and not is_timeout else None
    used = mapping(result.get("agent_result"))
    return Sample(
        benchmark=text_of(result.get("source")) or "harbor",
        task=read_id(result["task_name"], where, "task_name"),
        scores=scores,
        error=broke,
        limit="time limit of the agent" if is_timeout else None,
        content=content_of(result.get("task_checksum")),
        usage=usage_of(None, used.get("n_input_tokens"), used.get("n_output_tokens")),
    )
