"""Samples of the LM Evaluation Harness: `samples_TASK_TIME.jsonl`, one file for each task.

They are written with `--log_samples`. A document has a row for each filter; the score is then
called by metric and filter, as the harness does: "exact_match,strict-match".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
    text_of,
)

# The time has the length of 2025-11-30T10-20-30.123456, or none of the fraction.
_NAME = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?)")
NO_FILTER = "none"
SETTINGS = ("num_fewshot", "limit", "gen_kwargs", "fewshot_seed")
# Of the file of results itself.
PROMPT_SETTINGS = ("system_instruction", "chat_template_sha", "fewshot_as_multiturn")


class LMEvalResults(ResultFormatBase):
    """Reads the samples of the LM Evaluation Harness."""

    def matches(self, file: ResultFile) -> bool:
        return {"doc_id", "doc", "filtered_resps"} <= file.first.keys()

    def read(self, file: ResultFile) -> ResultLog:
        named = _NAME.fullmatch(file.path.stem)
        task, time = (named["task"], named["time"]) if named else (file.path.stem, None)
        results = file.beside(f"results_{time}.json")
        config = mapping(results.get("config"))
        shots = mapping(results.get("n-shot")).get(task)
        settings = {
            **{name: config.get(name) for name in SETTINGS},
            **{name: results.get(name) for name in PROMPT_SETTINGS},
            "num_fewshot": shots,
            "task_version": mapping(results.get("versions")).get(task),
        }
        version = text_of(results.get("lm_eval_version"))
        return ResultLog(
            samples=_samples(file, task),
            id=None if time is None else f"{file.path.resolve().parent}/{time}",
            model=text_of(results.get("model_name"))
            or text_of(config.get("model"))
            or _model_of(file.path, named is not None),
            settings={key: value for key, value in settings.items() if value is not None},
            versions={} if version is None else {"lm_eval": version},
        )


def _model_of(path: Path, is_named: bool) -> str | None:
    """The harness writes into a folder that is named after the model."""
    return path.resolve().parent.name if is_named else None


def _samples(file: ResultFile, task: str) -> Iterator[Sample]:
    """The documents; the rows of one, which stand together by filter, become one sample."""
    found: dict[str, Sample] = {}
    filters: set[str] = set()
    for where, row in file.rows():
        sample, used = _read(row, where, task)
        filters.add(used)
        earlier = found.get(sample.task)
        if earlier is not None:
            if repeated := earlier.scores.keys() & sample.scores.keys():
                raise DataError(
                    f"{where}: document {sample.task!r:.60} was scored before by "
                    f"{min(repeated)!r:.60}, expected each once. Remove the repeated rows."
                )
            sample = replace(earlier, scores={**earlier.scores, **sample.scores})
        found[sample.task] = sample
    if len(filters) == 1:
        yield from (replace(one, scores=_unfiltered(one.scores)) for one in found.values())
        return
    yield from found.values()


def _read(row: Any, where: str, task: str) -> tuple[Sample, str]:
    if not isinstance(row, dict):
        raise DataError(f"{where}: {row!r:.60}, expected an object with 'doc_id'.")
    metrics, used = row.get("metrics"), row.get("filter", NO_FILTER)
    if not isinstance(metrics, list) or not all(isinstance(name, str) for name in metrics):
        raise DataError(f"{where}: 'metrics' is {metrics!r:.60}, expected the names of its scores.")
    scores = {
        f"{name},{used}": value
        for metric in metrics
        if metric in row
        for name, value in read_scores(row[metric], metric).items()
    }
    sample = Sample(
        benchmark=task,
        task=read_id(row.get("doc_id"), where, "doc_id"),
        scores=scores,
        content=content_of(row.get("doc_hash"), row.get("target_hash")),
    )
    return sample, str(used)


def _unfiltered(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name.rpartition(",")[0]: value for name, value in scores.items()}
