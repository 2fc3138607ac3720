"""Logs of Inspect, `.eval` and `.json`, read without Inspect.

A `.eval` is an archive: `header.json` says what was evaluated, `summaries.json` has a summary of
each sample with its scores. A log whose evaluation was stopped has only its journal. The letters of
Inspect count as its own metrics count them: C is 1, P is 0.5, I and N are 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from atlas.errors import DataError
from atlas.records import Usage
from atlas.reporting.results.archive import Archive
from atlas.reporting.results.base import ResultFormatBase
from atlas.reporting.results.json_parts import JsonText, read_elements
from atlas.reporting.results.result_file import ResultFile
from atlas.reporting.results.samples import (
    ResultLog,
    Sample,
    ScoreValue,
    content_of,
    mapping,
    read_id,
    read_scores,
    reason_of,
    text_of,
    usage_of,
    whole_number,
)

HEADER, START, SUMMARIES = "header.json", "_journal/start.json", "summaries.json"
JOURNAL, SAMPLES = "_journal/summaries/", "samples/"
LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
# Summaries cut texts that are longer.
MAX_COMPARED_CHARS = 200
LIMITS = ("limit", "epochs", "message_limit", "token_limit", "time_limit", "working_limit")
# Settings of the generation that change only its speed.
OF_SPEED = (
    "max_connections",
    "adaptive_connections",
    "max_retries",
    "timeout",
    "attempt_timeout",
    "batch",
    "cache",
)
INPUT_TOKENS = ("input_tokens", "input_tokens_cache_read", "input_tokens_cache_write")


class InspectResults(ResultFormatBase):
    """Reads the evaluation logs of Inspect."""

    def matches(self, file: ResultFile) -> bool:
        if file.shape == "archive":
            return not {HEADER, START}.isdisjoint(file.members)
        first = file.first if file.shape == "object" else {}
        return {"version", "status", "eval"} <= first.keys() and isinstance(first["eval"], dict)

    def read(self, file: ResultFile) -> ResultLog:
        if file.shape != "archive":
            if file.shape != "object":
                raise DataError(f"{file.name}: expected a log of Inspect, .eval or .json.")
            return _log(file, file.first, _samples_of_json(file))
        with Archive(file.path, file.name) as archive:
            name = next((name for name in (HEADER, START) if name in archive.names), None)
            if name is None:
                raise DataError(
                    f"{file.name}: no {HEADER} in the archive, as a log of Inspect has."
                )
            with archive.member(name) as content:
                header = JsonText(content, f"{file.name}: {name}").value()
        return _log(file, mapping(header), _samples_of_archive(file))


def _log(file: ResultFile, header: Mapping[str, Any], rows: Iterator[Any]) -> ResultLog:
    evaluated = mapping(header.get("eval"))
    benchmark = text_of(evaluated.get("task")) or file.path.stem
    model, status = text_of(evaluated.get("model")), header.get("status", "started")
    packages = mapping(evaluated.get("packages"))
    generation = {
        **mapping(evaluated.get("model_generate_config")),
        **mapping(mapping(header.get("plan")).get("config")),
    }
    limits = mapping(evaluated.get("config"))
    settings = {
        "task_version": evaluated.get("task_version"),
        "solver": evaluated.get("solver"),
        **mapping(evaluated.get("task_args")),
        **{name: value for name, value in generation.items() if name not in OF_SPEED},
        **{name: limits.get(name) for name in LIMITS},
    }
    cautions = []
    if status != "success":
        cautions.append(f"the evaluation did not end: its status is '{status!s:.40}'")
    if header.get("invalidated") is True:
        cautions.append("some of its samples were marked as invalid by a person; they count here")
    named = [
        str(evaluated.get(key)) for key in ("eval_id", "run_id", "task_id") if evaluated.get(key)
    ]
    return ResultLog(
        samples=(_sample(row, benchmark, model, file.name) for row in rows),
        id="/".join(named[:1] if "eval_id" in evaluated else named) or None,
        model=model,
        settings={key: value for key, value in settings.items() if value is not None},
        versions={str(name): str(version) for name, version in packages.items()},
        cautions=tuple(cautions),
    )


def _samples_of_json(file: ResultFile) -> Iterator[Any]:
    for key, value in file.parts("samples", "reductions"):
        if key == "samples" and value is not None:
            yield value


def _samples_of_archive(file: ResultFile) -> Iterator[Any]:
    """The summaries; of a stopped evaluation those of the journal, else the samples themselves."""
    with Archive(file.path, file.name) as archive:
        lists = [name for name in archive.names if name == SUMMARIES]
        lists = lists or sorted(name for name in archive.names if name.startswith(JOURNAL))
        for name in lists[-1:] if SUMMARIES in lists else lists:
            with archive.member(name) as content:
                yield from read_elements(JsonText(content, f"{file.name}: {name}"))
        if lists:
            return
        for name in archive.names:
            if name.startswith(SAMPLES) and name.endswith(".json"):
                with archive.member(name) as content:
                    yield JsonText(content, f"{file.name}: {name}").value()


def _sample(row: Any, benchmark: str, model: str | None, name: str) -> Sample:
    where = f"{name}: sample"
    if not isinstance(row, dict):
        raise DataError(f"{where} {row!r:.60}, expected an object.")
    task = read_id(row.get("id"), where, "id")
    epoch = whole_number(row.get("epoch"))
    error, limit = row.get("error"), row.get("limit")
    if isinstance(error, dict):
        error = error.get("message")
    if isinstance(limit, dict):
        limit = limit.get("type")
    return Sample(
        benchmark=benchmark,
        task=task,
        scores=_scores(row),
        error=None if error is None else reason_of(error),
        limit=None if limit is None else f"{reason_of(limit)} limit",
        repetition=1 if epoch is None else epoch,
        content=content_of(_beginning(row.get("target")), _beginning(row.get("input"))),
        num_steps=whole_number(row.get("turn_count")),
        usage=_usage(mapping(mapping(row.get("model_usage")).get(model or ""))),
    )


def _scores(row: Mapping[str, Any]) -> dict[str, ScoreValue]:
    given = row.get("scores")
    if given is None and row.get("score") is not None:
        # The first versions had one score.
        given = {"score": row["score"]}
    found = dict(
        chain.from_iterable(
            read_scores(score.get("value"), name).items()
            for name, score in mapping(given).items()
            if isinstance(score, dict)
        )
    )
    return {name: _number(value) for name, value in found.items()}


def _number(value: ScoreValue) -> ScoreValue:
    """The value of a text as Inspect's own metrics read it, else the text."""
    if not isinstance(value, str):
        return value
    text = value.strip("'")
    is_number = text.replace(".", "", 1).isdecimal()
    return float(text) if is_number else LETTERS.get(text, WORDS.get(text.lower(), value))


def _beginning(given: Any) -> Any:
    """What a summary and the whole sample have in common: the beginning of a text."""
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return [each[:MAX_COMPARED_CHARS] for each in given]
    return given[:MAX_COMPARED_CHARS] if isinstance(given, str) else None


def _usage(used: Mapping[str, Any]) -> Usage | None:
    if not used:
        return None
    read = sum(whole_number(used.get(name)) or 0 for name in INPUT_TOKENS)
    return usage_of(None, read, used.get("output_tokens"))
