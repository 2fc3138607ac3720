"""Every format carries calls, results, reasoning and tools over, and loses none in silence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem
from atlas.trajectories.formats.base import FORMATS
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.format_examples import chat_spellings, rich_chats, rich_logs, rich_parts
from tests.format_examples.session_logs import LOGS
from tests.lost_content import contents_of, items_of, silent_losses, values_of
from tests.source_files import detect_format

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases"
RICH = rich_chats.EXAMPLES | rich_logs.EXAMPLES
# Records of atlas and archives of Inspect refuse fields that they do not know.
STRICT = {"atlas", "inspect"}
# What a format, or the log of an agent, has no place for.
LACKS = {
    "agenttraj": {"calls", "results", "reasoning", "tools"},
    "react": {"calls", "results", "reasoning", "tools"},
    "verl": {"calls", "results", "reasoning", "tools"},
    # Thinking in tags stays in the text.
    "sharegpt": {"reasoning"},
    "nebius of SWE-agent": {"calls", "results", "reasoning", "tools"},
    "xlam": {"results", "reasoning"},
    "tau": {"tools"},
    "rllm": {"tools"},
    "codex": {"tools"},
    "codex compacted": {"tools"},
    "codex exec": {"tools"},
    "responses as messages": {"reasoning", "tools"},
    "opencode": {"tools"},
    "goose": {"tools"},
    "openhands": {"reasoning"},
    "openhands sdk": {"tools"},
    "smolagents": {"reasoning", "tools"},
    "claude_code": {"tools"},
    "cline": {"tools"},
    "qwen_code": {"tools"},
    "swe_agent": {"tools"},
}


def test_every_format_has_a_rich_example() -> None:
    assert {name for name, _ in RICH.values()} == FORMATS.keys() - STRICT


@pytest.mark.parametrize("example", RICH)
def test_all_of_an_example_is_read_and_nothing_is_reported(example: str, tmp_path: Path) -> None:
    name, rows = RICH[example]
    items = items_of(name, rows, tmp_path / "x")
    assert detect_format(tmp_path / "x") == name
    assert [item for item in items if isinstance(item, Problem)] == []
    assert [item.unread for item in items if isinstance(item, TrajectoryLine) and item.unread] == []
    held = _kinds_of([*contents_of(items)])
    assert {"calls", "results", "reasoning", "tools"} - held == LACKS.get(example, set())


@pytest.mark.parametrize("example", RICH)
def test_no_format_loses_content_in_silence(example: str, tmp_path: Path) -> None:
    assert silent_losses(*RICH[example], tmp_path / "x") == []


@pytest.mark.parametrize("spelling", chat_spellings.EXAMPLES)
def test_no_spelling_of_a_chat_loses_content_in_silence(spelling: str, tmp_path: Path) -> None:
    assert silent_losses(*chat_spellings.EXAMPLES[spelling], tmp_path / "x") == []


@pytest.mark.parametrize("name", rich_parts.RICH)
def test_chats_of_all_kinds_of_parts_lose_nothing_in_silence(name: str, tmp_path: Path) -> None:
    assert silent_losses(name, [rich_parts.RICH[name]], tmp_path / "x") == []


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        pytest.param(name, rows, id=f"{name}-{number}")
        for name, logs in LOGS.items()
        for number, rows in enumerate(logs)
    ],
)
def test_logs_with_calls_results_and_reasoning_lose_nothing_in_silence(
    name: str, rows: list[Any], tmp_path: Path
) -> None:
    silent = silent_losses(name, rows, tmp_path / "x")
    if name == "nemo_gym":
        # The data of an environment's task may stand under this key of a row.
        silent = [fault for fault in silent if not re.fullmatch(r"moved to 1 of .*\.text", fault)]
    assert silent == []


@pytest.mark.slow
@pytest.mark.skipif(not CASES.exists(), reason="the logs of ../shared/data are not here")
@pytest.mark.parametrize(
    "path", sorted(CASES.glob("*/*.json*")), ids=lambda path: path.stem if path else ""
)
def test_small_logs_of_many_kinds_lose_nothing_in_silence(path: Path, tmp_path: Path) -> None:
    assert silent_losses(detect_format(path), values_of(path), tmp_path / "x") == []


def _kinds_of(contents: list[dict[str, Any]]) -> set[str]:
    """What trajectories hold besides words."""
    found: set[str] = set()
    for content in contents:
        messages = [*content["prompt"], *content["final_observation"]]
        for step in content["steps"]:
            messages += [*step["observation"], step["response"]]
        found |= {"tools"} if content["tools"] else set()
        for message in messages:
            found |= {"calls"} if message.get("tool_calls") else set()
            found |= {"results"} if message["role"] == "tool" else set()
            found |= {"reasoning"} if message.get("reasoning") else set()
    return found
