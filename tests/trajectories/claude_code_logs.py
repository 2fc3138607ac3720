"""Lines of a log of Claude Code, and what is read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import read_file

Line = dict[str, Any]


def user(uuid: str, parent: str | None, content: Any, **fields: Any) -> Line:
    message = {"role": "user", "content": content}
    return {
        "type": "user",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "isSidechain": False,
        "message": message,
        **fields,
    }


def agent(
    uuid: str,
    parent: str | None,
    *blocks: Any,
    id: str | None = None,
    model: str = "claude",
    **fields: Any,
) -> Line:
    message = {
        "role": "assistant",
        "model": model,
        "content": list(blocks),
        **({"id": id} if id else {}),
    }
    return {
        "type": "assistant",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "isSidechain": False,
        "message": message,
        **fields,
    }


def text(value: str) -> Line:
    return {"type": "text", "text": value}


def call(id: Any, **arguments: Any) -> Line:
    return {"type": "tool_use", "id": id, "name": "Look", "input": arguments}


def result(id: str, content: Any) -> Line:
    return {"type": "tool_result", "tool_use_id": id, "content": content}


def read(tmp_path: Path, *lines: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "session.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
    )
    return read_file("claude_code", path)


def read_good(tmp_path: Path, *lines: Any) -> list[Trajectory]:
    items = read(tmp_path, *lines)
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert len(trajectories) == len(items), items
    return trajectories


def seen(trajectory: Trajectory) -> list[list[str]]:
    return [[message.content for message in step.observation] for step in trajectory.steps]


def said(trajectory: Trajectory) -> list[str]:
    return [step.response.content for step in trajectory.steps]


def remarks(tmp_path: Path) -> list[tuple[int, str]]:
    """The remarks on all trajectories of the log that was read last."""
    with SourceFile(tmp_path / "session.jsonl") as source:
        items = list(FORMAT.make(Choice("claude_code")).read(source))
    return [each for item in items if isinstance(item, TrajectoryLine) for each in item.remarks]


def boundary(uuid: str = "x", parent: str | None = None, **metadata: Any) -> Line:
    return {
        "type": "system",
        "subtype": "compact_boundary",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "content": "Conversation compacted",
        "compactMetadata": {"trigger": "auto", **metadata},
    }


def summary(uuid: str, parent: str) -> Line:
    return user(uuid, parent, "Earlier: much.", isCompactSummary=True)


def attachment(uuid: str, parent: str, kind: str, **fields: Any) -> Line:
    extra = {key: fields.pop(key) for key in ("rendered", "renderedRole") if key in fields}
    return {
        "type": "attachment",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "isSidechain": False,
        "attachment": {"type": kind, **fields},
        **extra,
    }


def queue(operation: str, content: str | None = None) -> Line:
    line = {"type": "queue-operation", "operation": operation, "sessionId": "s"}
    return line if content is None else {**line, "content": content}
