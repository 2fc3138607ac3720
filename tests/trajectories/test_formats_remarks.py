"""What a message leaves out is remarked on by every format that reads messages of chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.reasoning import HIDDEN
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine

QUESTION = {"role": "user", "content": "Which rooms are there?"}
ANSWER = {
    "role": "assistant",
    "content": [
        {"type": "redacted_thinking", "data": "Ab3d"},
        {"type": "text", "text": "There is a kitchen."},
    ],
}
CHAT = [QUESTION, ANSWER]
ROWS: dict[str, Any] = {
    "openai": {"messages": CHAT},
    "verifiers": {"example_id": 1, "prompt": [QUESTION], "completion": [ANSWER]},
    "art": {"messages_and_choices": CHAT, "reward": 0.5, "metrics": {}},
    "rllm": {
        "episode_id": "task:0",
        "trajectories": [{"name": "agent", "steps": [{"chat_completions": CHAT, "reward": 0.0}]}],
    },
    "tau": {"task_id": 1, "reward": 1.0, "info": {}, "traj": CHAT, "trial": 0},
    "nebius": {"instance_id": "a__b-1", "trajectory": CHAT, "exit_status": "submit"},
}


@pytest.mark.parametrize("name", ROWS)
def test_hidden_reasoning_is_remarked_on(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[name]), encoding="utf-8")
    with SourceFile(path) as source:
        [line] = FORMAT.make(Choice(name)).read(source)
    assert isinstance(line, TrajectoryLine), line
    assert (0, HIDDEN) in line.remarks
