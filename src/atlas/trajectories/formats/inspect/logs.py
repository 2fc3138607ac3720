"""Logs of Inspect, `.eval` and `.json`, read by Inspect itself.

Each epoch of each sample is a trajectory; after a compaction, each context of the model is one (see
inspect_calls.py). The outcome is "truncated" after a limit, "error" after an error, and otherwise
follows from scores that are correct or incorrect. Assistant messages in the sample's input
(examples) belong to the prompt. Every leaf of the messages is accounted for. The agent did not see
the dataset's own fields, the store, scores and other events.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ValidationError

from atlas.config import Config
from atlas.errors import DependencyError, first_line
from atlas.records import Outcome, Problem, Task
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import build_reading, hash_of_texts, problem_of
from atlas.trajectories.formats.containers import FREE_BYTES, MAX_EXPANSION
from atlas.trajectories.formats.conventions import details_of_row, is_number
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.decoding import MAX_VALUES, refuse_many_values
from atlas.trajectories.formats.inspect.calls import (
    EDITED_ANSWER,
    calls_of_sample,
    own_answers,
)
from atlas.trajectories.formats.inspect.messages import METADATA, carried_parts, chat_message
from atlas.trajectories.formats.json_array import MAX_ROW_BYTES
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.react_turns import Remark

# Correct, incorrect, no answer.
VERDICTS = {"C": True, "I": False, "N": False}
PARTS_OF_ARCHIVE = ("header.json", "_journal/start.json")
# Of a sample with its attachments written out.
MAX_SAMPLE_CHARS = MAX_ROW_BYTES
EDITED = "the history was edited: each context of the model is a trajectory"
_ATTACHMENT = re.compile(r"attachment://([a-f0-9]{32})")
_HEAD_OF_JSON = re.compile(rb'\s*\{\s*"version":\s*\d+,\s*"status":\s*"\w+",\s*"eval":\s*\{')


class InspectConfig(Config):
    """No settings, but a package of an extra."""

    def needed_extras(self) -> tuple[str, ...]:
        return ("inspect",)


class InspectFormat:
    """Reads the evaluation logs of Inspect."""

    Config = InspectConfig
    metadata = METADATA

    def __init__(self, config: InspectConfig) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        match row:
            case {"version": _, "status": _, "eval": dict()}:
                return True
        return False

    def claims(self, source: SourceFile) -> bool:
        """Whether the file is an archive with the parts of a log, or begins as its JSON does.

        A NaN makes such JSON unreadable as rows.
        """
        if _HEAD_OF_JSON.match(source.start):
            return True
        if source.container != "zip":
            return False
        try:
            with zipfile.ZipFile(source.file) as archive:
                return any(name in PARTS_OF_ARCHIVE for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return False
        finally:
            source.file.seek(0)

    def read(self, source: SourceFile) -> Iterator[Item]:
        """Every sample of the log in order.

        Raises:
            DependencyError: Inspect is not installed.
        """
        try:
            from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries
        except ImportError:
            raise DependencyError("inspect-ai", "inspect") from None
        file, is_archive = str(source.path.resolve()), zipfile.is_zipfile(source.file)
        kind: Any = "eval" if is_archive else "json"
        try:
            _refuse_bomb(source) if is_archive else _refuse_large(source)
            log = read_eval_log(file, header_only=is_archive, format=kind)
            if any(sample.attachments for sample in log.samples or ()):
                for sample in log.samples or ():
                    _refuse_large_sample(sample)
                log = read_eval_log(file, resolve_attachments=True, format=kind)
            summaries = read_eval_log_sample_summaries(file, format=kind) if is_archive else []
        except Exception as error:
            # Whatever the reader meets in a damaged log.
            reason = f"not a log that Inspect can read: {_reason_in(error)}"
            yield Problem(where=source.name, reason=reason)
            return
        samples = summaries or log.samples or []
        if not samples:
            reason = f"the log holds no samples, its status is '{log.status}'"
            yield Problem(where=source.name, reason=reason)
        for index, sample in enumerate(samples):
            try:
                whole = _whole_sample(file, sample) if is_archive else sample
                yield from _lines(log, whole, source, index)
            except (BadRowError, ValidationError, UnicodeEncodeError, RecursionError) as error:
                where = f"{source.name} sample {sample.id!r:.60} epoch {sample.epoch}"
                yield problem_of(error, where, str(sample.id))


def _refuse_bomb(source: SourceFile) -> None:
    """Raise ValueError if the archive expands as a decompression bomb does."""
    num_packed = num_plain = 0
    with zipfile.ZipFile(source.file) as archive:
        for member in archive.infolist():
            num_packed += member.compress_size
            end = num_plain + MAX_ROW_BYTES
            # The directory of the archive may state other sizes than the true ones.
            member.file_size, member.CRC = MAX_ROW_BYTES + 1, None  # type: ignore[assignment]
            with archive.open(member) as content:
                while chunk := content.read(FREE_BYTES):
                    num_plain += len(chunk)
                    if num_plain > end or num_plain > max(FREE_BYTES, MAX_EXPANSION * num_packed):
                        raise ValueError(
                            f"{num_packed:,} bytes up to {member.filename!r:.60} expand to "
                            f"{num_plain:,} or more, as a decompression bomb does"
                        )


def _refuse_large(source: SourceFile) -> None:
    """Raise ValueError if memory might not hold the log, which Inspect decodes at once."""
    size = source.path.stat().st_size
    if size > MAX_ROW_BYTES:
        advice = "Convert it to a .eval log, with: inspect log convert"
        raise ValueError(f"one JSON object of more than {MAX_ROW_BYTES >> 20} MiB. {advice}")
    if size > MAX_VALUES:
        source.file.seek(0)
        refuse_many_values(source.file.read())


def _whole_sample(file: str, summary: Any) -> Any:
    from inspect_ai.log import read_eval_log_sample

    which = {"id": summary.id, "epoch": summary.epoch, "format": "eval"}
    try:
        sample = read_eval_log_sample(file, **which)
        if sample.attachments:
            _refuse_large_sample(sample)
            sample = read_eval_log_sample(file, **which, resolve_attachments=True)
        return sample
    except BadRowError:
        raise
    except Exception as error:
        # Whatever the reader meets in a damaged log.
        reason = f"not a sample that Inspect can read: {_reason_in(error)}"
        raise BadRowError(reason) from None


def _lines(log: Any, sample: Any, source: SourceFile, index: int) -> Iterator[Item]:
    """The trajectories of a sample, with all leaves of its messages accounted for."""
    where = f"{source.name} sample {sample.id!r:.60} epoch {sample.epoch}"
    own, edited = own_answers(sample.messages, sample.events)
    messages = [message.model_dump(mode="json") for message in own]
    told = {"id": sample.id, "messages": [carried_parts(message) for message in messages]}
    row = SourceRow(file=source.name, index=index, value=told, where=where)
    readings = _readings(log, sample, own, edited, messages, row)
    yield from settle([row], readings, METADATA, source.ignored)


def _readings(
    log: Any,
    sample: Any,
    own: Sequence[Any],
    edited: Collection[int],
    messages: Sequence[Mapping[str, Any]],
    row: SourceRow,
) -> Iterator[Reading]:
    turns: list[Turn] = []
    remarks: list[Remark] = []
    start = num_steps = 0
    for place, message in enumerate(messages):
        chat, left_out = chat_message(message, place)
        turns += read_message(chat, place)
        if message["role"] == "assistant" and message.get("source") == "input":
            start = len(turns)
        remarks += ((num_steps, f"not carried over: {one}") for one in left_out)
        if place in edited:
            remarks.append((num_steps, EDITED_ANSWER))
        if message["role"] == "assistant" and message.get("source") != "input":
            num_steps += 1
    calls = calls_of_sample(own, sample.events, _turns)
    if calls.num_left_out:
        number = calls.num_left_out
        remarks.append((-1, f"not carried over: {number} model calls outside of the messages"))
    scores = {name: score.value for name, score in (sample.scores or {}).items()}
    identity = [str(log.eval.task), str(sample.id), sample.epoch, messages, scores]
    digest = hash_of_texts([json.dumps(identity, sort_keys=True, default=str)])
    if not calls.histories:
        start = start or num_leading_system(turns)
        yield _reading(log, sample, turns, start, scores, row, digest, remarks)
        return
    whole = [(-1, text) for _, text in remarks]
    for number, history in enumerate(calls.histories):
        parts, start = history.parts()
        named = f"{digest}-{number}" if number else digest
        beside = [] if number else [(-1, EDITED), *whole]
        yield _reading(log, sample, parts, start, scores, row, named, beside)


def _turns(messages: Sequence[Any]) -> list[Turn]:
    return [
        turn
        for place, message in enumerate(messages)
        for turn in read_message(chat_message(message.model_dump(mode="json"), place)[0], place)
    ]


def _reading(
    log: Any,
    sample: Any,
    turns: Sequence[Turn],
    start: int,
    scores: Mapping[str, Any],
    row: SourceRow,
    digest: str,
    remarks: Sequence[Remark],
) -> Reading:
    task = _task(log, sample)
    details = {"model": log.eval.model, "run_id": log.eval.run_id, "epoch": sample.epoch}
    if metadata := details_of_row(sample.metadata or {}, ()):
        details["metadata"] = metadata
    if scores:
        details["scores"] = json.loads(json.dumps(scores, default=str))
    return build_reading(
        turns,
        start,
        task=task,
        digest=digest,
        outcome=_outcome(log, sample, scores),
        source=row.source("inspect", details),
        tools=_tools(sample),
        remarks=remarks,
    )


def _task(log: Any, sample: Any) -> Task:
    """The task of a sample. One that atlas wrote into the metadata keeps its split and group."""
    told = sample.metadata or {}
    if told.keys() == Task.model_fields.keys() and told["id"] == sample.id:
        with suppress(ValidationError):
            return Task.model_validate(told)
    return Task(id=str(sample.id), environment=str(log.eval.task))


def _refuse_large_sample(sample: Any) -> None:
    """Raise BadRowError if memory might not hold a sample with its attachments written out.

    A long text is stored once as an attachment; each place that refers to it gets a copy.
    """
    lengths = {name: len(text) for name, text in sample.attachments.items()}
    size, waiting = 0, [value for name, value in vars(sample).items() if name != "attachments"]
    while waiting:
        match waiting.pop():
            case str() as text:
                size += len(text)
                size += sum(lengths.get(name, 0) for name in _ATTACHMENT.findall(text))
            case BaseModel() as model:
                waiting += vars(model).values()
            case dict() as table:
                waiting += table.values()
            case list() as parts:
                waiting += parts
    if size > MAX_SAMPLE_CHARS:
        raise BadRowError(f"a sample of {size:,} characters, more than {MAX_SAMPLE_CHARS:,}")


def _tools(sample: Any) -> tuple[dict[str, Any], ...]:
    """The tools that the first call of the model was given."""
    offers = (event.tools for event in sample.events if event.event == "model" and event.tools)
    schema = {"name", "description", "parameters"}
    return tuple(
        {
            "type": "function",
            "function": tool.model_dump(mode="json", include=schema, exclude_none=True),
        }
        for tool in next(offers, ())
    )


def _outcome(log: Any, sample: Any, scores: Mapping[str, Any]) -> Outcome:
    numbers = [float(value) for value in scores.values() if is_number(value)]
    score = numbers[0] if len(numbers) == 1 else None
    if sample.error is not None:
        return Outcome(status="error", score=score, reason=_reason_in(sample.error.message))
    if sample.limit is not None:
        return Outcome(status="truncated", score=score, reason=f"{sample.limit.type} limit")
    judged = (_verdict(log, name, value) for name, value in scores.items())
    verdicts = [verdict for verdict in judged if verdict is not None]
    if score is None and len(verdicts) == 1:
        score = float(verdicts[0])
    given = ", ".join(f"{name} {value!r:.40}" for name, value in scores.items()) or "none"
    if len(set(verdicts)) == 1:
        reason = f"{'correct' if verdicts[0] else 'incorrect'} by its scores: {given}"
        return Outcome(
            status="success" if verdicts[0] else "failure", score=score, reason=reason[:300]
        )
    return Outcome(status="unknown", score=score, reason=f"the scores are not a verdict: {given}")


def _verdict(log: Any, name: str, value: Any) -> bool | None:
    """What a score says about success: a letter, a truth value, or 0 or 1 under accuracy."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return VERDICTS.get(value)
    metrics = [scorer.metrics for scorer in log.eval.scorers or [] if scorer.name == name]
    return bool(value) if value in (0, 1) and "accuracy" in str(metrics[:1]) else None


def _reason_in(error: Any) -> str:
    return (first_line(error) or type(error).__name__)[:200]
