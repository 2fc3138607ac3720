"""Rollouts with calls, results, reasoning and tools: all of it is read, and nothing gets lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.records import Trajectory
from tests.format_examples.rich_rollouts import RICH, SYSTEM, TOOL, USER
from tests.lost_content import silent_losses
from tests.source_files import detect_format, read_file

# What a format has no place for.
WITHOUT_TOOLS = ("rllm", "tau", "smolagents")


@pytest.mark.parametrize("name", RICH)
def test_calls_results_reasoning_and_tools_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "row.jsonl"
    path.write_text(json.dumps(RICH[name]))
    assert detect_format(path) == name
    (made,) = read_file(name, path)
    assert isinstance(made, Trajectory)
    first = made.steps[0].response
    assert [(call.name, json.loads(call.arguments)) for call in first.tool_calls] == [
        ("look", {"query": "open harbors"})
    ]
    assert "I look first." in first.content
    seen = [*made.prompt, *made.steps[0].observation]
    shown = [*(made.steps[1].observation if len(made.steps) > 1 else made.final_observation)]
    assert [message.content for message in shown] == ["Two harbors."]
    assert USER["content"] in [message.content for message in seen]
    if name != "smolagents":
        assert first.reasoning == "Ships need water."
        assert SYSTEM["content"] in [message.content for message in seen]
    assert [tool["function"]["name"] for tool in made.tools] == (
        [] if name in WITHOUT_TOOLS else [TOOL["function"]["name"]]
    )


@pytest.mark.parametrize("name", RICH)
def test_nothing_of_a_rich_rollout_is_lost_in_silence(name: str, tmp_path: Path) -> None:
    assert silent_losses(name, [RICH[name]], tmp_path / "x") == []
