"""Logs of Inspect, `.eval` and `.json`, read by Inspect itself.

Each epoch of each sample is a trajectory. The scores decide the outcome where they are verdicts
(correct or incorrect); a limit makes it truncated, an error an error. Assistant messages that came
with the sample's input (examples) are prompt.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from atlas.config import Config
from atlas.errors import DependencyError
from atlas.records import Outcome, Problem, Source, Task, Trajectory
from atlas.trajectories.formats.conventions import details_of_row, is_number
from atlas.trajectories.formats.conversations import num_leading_system, split_conversation
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.source_file import SourceFile

# Correct, incorrect, no answer.
VERDICTS = {"C": True, "I": False, "N": False}
_HEAD_OF_JSON = re.compile(rb'\s*\{\s*"version":\s*\d+,\s*"status":\s*"\w+",\s*"eval":\s*\{')
PARTS_OF_ARCHIVE = ("header.json", "_journal/start.json")


class InspectFormat:
    """Reads the evaluation logs of Inspect."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return (
            isinstance(row, dict)
            and {"version", "status", "eval"} <= row.keys()
            and isinstance(row["eval"], dict)
        )

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

    def read(self, source: SourceFile) -> Iterator[Trajectory | Problem]:
        """Every sample of the log in order.

        Raises:
            DependencyError: Inspect is not installed.
        """
        header: Any = None
        for index, (where, item) in enumerate(_header_and_samples(source)):
            if isinstance(item, Problem):
                yield item
            elif index == 0:
                header = item
            else:
                try:
                    yield _trajectory(header, item, source.name, index - 1)
                except BadRowError as error:
                    place = error.place(where)
                    yield Problem(where=place, reason=str(error), item=str(item.id))
                except (ValidationError, UnicodeEncodeError, RecursionError) as error:
                    yield Problem(
                        where=where, reason=f"not a trajectory: {str(error).splitlines()[0]}"
                    )


def _header_and_samples(source: SourceFile) -> Iterator[tuple[str, Any]]:
    """First the log without its samples, then each sample with its place, or its problem."""
    try:
        from inspect_ai.log import (
            read_eval_log,
            read_eval_log_sample,
            read_eval_log_sample_summaries,
        )
    except ImportError:
        raise DependencyError("inspect-ai", "inspect") from None
    file, is_archive = str(source.path.resolve()), zipfile.is_zipfile(source.file)
    try:
        header = read_eval_log(
            file,
            header_only=is_archive,
            resolve_attachments=True,
            format="eval" if is_archive else "json",
        )
        samples = (
            read_eval_log_sample_summaries(file, format="eval")
            if is_archive
            else header.samples or []
        )
    except Exception as error:
        # Whatever the reader meets in a damaged log.
        yield (
            source.name,
            Problem(
                where=source.name, reason=f"not a log that Inspect can read: {_first_line(error)}"
            ),
        )
        return
    yield source.name, header
    for sample in samples:
        where = f"{source.name} sample {sample.id!r:.60} epoch {sample.epoch}"
        if not is_archive:
            yield where, sample
            continue
        try:
            whole = read_eval_log_sample(
                file, id=sample.id, epoch=sample.epoch, resolve_attachments=True, format="eval"
            )
        except Exception as error:
            # As above, for one sample.
            yield (
                where,
                Problem(
                    where=where,
                    reason=f"not a sample that Inspect can read: {_first_line(error)}",
                    item=str(sample.id),
                ),
            )
            continue
        yield where, whole
    if not samples:
        yield (
            source.name,
            Problem(
                where=source.name,
                reason=f"the log holds no samples, its status is '{header.status}'",
            ),
        )


def _trajectory(header: Any, sample: Any, file_name: str, index: int) -> Trajectory:
    messages = [message.model_dump(mode="json") for message in sample.messages]
    turns: list[Turn] = []
    start = 0
    for place, message in enumerate(messages):
        turns += read_message(_fields(message), place)
        if message["role"] == "assistant" and message.get("source") == "input":
            start = len(turns)
    start = start or num_leading_system(turns)
    conversation = split_conversation(turns, start)
    task = Task(id=str(sample.id), environment=str(header.eval.task))
    scores = {name: score.value for name, score in (sample.scores or {}).items()}
    text = json.dumps(
        [task.environment, task.id, sample.epoch, messages, scores], sort_keys=True, default=str
    )
    metadata = details_of_row(sample.metadata or {}, ())
    details = {
        "model": header.eval.model,
        "run_id": header.eval.run_id,
        "epoch": sample.epoch,
        **({"metadata": metadata} if metadata else {}),
        **({"scores": json.loads(json.dumps(scores, default=str))} if scores else {}),
    }
    return Trajectory(
        id=f"{task.id}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        task=task,
        prompt=conversation.prompt,
        tools=_tools(sample),
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        outcome=_outcome(header, sample, scores),
        source=Source(name="inspect", path=file_name, row=index, details=details),
    )


def _fields(message: Mapping[str, Any]) -> dict[str, Any]:
    """Inspect's message in the spelling of a chat."""
    content = message.get("content")
    if isinstance(content, list):
        content = [part for part in map(_readable, content) if part is not None]
    if not content and isinstance(message.get("error"), dict):
        content = message["error"].get("message")
    calls = [
        {"id": call.get("id"), "name": call.get("function"), "arguments": call.get("arguments")}
        for call in message.get("tool_calls") or []
    ]
    kept = {
        "role": message["role"],
        "content": content,
        "tool_call_id": message.get("tool_call_id"),
        "name": message.get("function"),
    }
    return kept | ({"tool_calls": calls} if calls else {})


def _readable(part: Any) -> Any:
    """A part as it is; of encrypted reasoning its summary or nothing."""
    if isinstance(part, dict) and part.get("type") == "reasoning" and part.get("redacted"):
        return {"type": "reasoning", "reasoning": part["summary"]} if part.get("summary") else None
    return part


def _tools(sample: Any) -> tuple[dict[str, Any], ...]:
    """The tools that the first call of the model was given."""
    for event in sample.events:
        if event.event == "model" and event.tools:
            return tuple({"type": "function", "function": _schema(tool)} for tool in event.tools)
    return ()


def _schema(tool: Any) -> dict[str, Any]:
    written = tool.model_dump(mode="json", exclude_none=True)
    return {key: written[key] for key in ("name", "description", "parameters") if key in written}


def _outcome(header: Any, sample: Any, scores: Mapping[str, Any]) -> Outcome:
    values = [value for value in scores.values() if is_number(value)]
    score = float(values[0]) if len(values) == 1 else None
    if sample.error is not None:
        return Outcome(status="error", score=score, reason=_first_line(sample.error.message))
    if sample.limit is not None:
        return Outcome(status="truncated", score=score, reason=f"{sample.limit.type} limit")
    verdicts = {
        name: verdict
        for name, value in scores.items()
        if (verdict := _verdict(name, value, header)) is not None
    }
    if score is None and len(verdicts) == 1:
        score = float(next(iter(verdicts.values())))
    if len(set(verdicts.values())) == 1:
        return Outcome(status="success" if all(verdicts.values()) else "failure", score=score)
    given = ", ".join(f"{name} {value!r:.40}" for name, value in scores.items()) or "none"
    return Outcome(status="unknown", score=score, reason=f"the scores are not a verdict: {given}")


def _verdict(name: str, value: Any, header: Any) -> bool | None:
    """What a score says about success: a letter, a truth value, or 0 or 1 under accuracy."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return VERDICTS.get(value)
    measured = str(
        next((scorer.metrics for scorer in header.eval.scorers or [] if scorer.name == name), "")
    )
    return bool(value) if value in (0, 1) and "accuracy" in measured else None


def _first_line(error: Any) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
