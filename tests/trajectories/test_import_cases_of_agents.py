"""The small logs of ../shared/data/import_cases that Claude Code and its relatives wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.records import Trajectory
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases"
# By file: the format, and by trajectory its prompt, what was seen and said.
EXPECTED: dict[str, tuple[str, list[tuple[list[str], list[tuple[list[str], str]]]]]] = {
    "wrong/03_qwen_code.jsonl": (
        "qwen_code",
        [([], [(["read it"], ""), (["hello"], "It says hello.")])],
    ),
    "wrong/07_claude_code_queued_command.jsonl": (
        "claude_code",
        [
            (
                [],
                [
                    (["write the tests"], ""),
                    (["ok", "stop, use pytest instead"], "Understood, I switch to pytest."),
                ],
            )
        ],
    ),
    "wrong/08_claude_code_clear_with_parent.jsonl": (
        "claude_code",
        [
            ([], [(["first job"], "first answer")]),
            (
                [],
                [
                    (
                        [
                            "<command-name>/clear</command-name>\n<command-args></command-args>",
                            "second job",
                        ],
                        "second answer",
                    )
                ],
            ),
        ],
    ),
    "wrong/08_claude_code_compaction_linked.jsonl": (
        "claude_code",
        [
            ([], [(["start"], "ready, lost?")]),
            (["Summary: ..."], [(["go on"], "final")]),
        ],
    ),
    "wrong/08_claude_code_preserved_tail.jsonl": (
        "claude_code",
        [
            ([], [(["old task one"], "old answer one"), (["recent task"], "recent answer")]),
            (
                [
                    "This session is being continued. Summary: task one was done.",
                    "recent task",
                    "recent answer",
                ],
                [(["next task"], "next answer")],
            ),
        ],
    ),
    "wrong/15_claude_code_orphan_result.jsonl": (
        "claude_code",
        [([], [(["three reads"], ""), (["one", "two"], "done")])],
    ),
    "refused/claude_code_stream_json.jsonl": (
        "claude_code",
        [([], [([], ""), (["a"], "one file")])],
    ),
    "refused/roo_reasoning.json": ("cline", [([], [(["fix"], "done")])]),
}


@pytest.mark.skipif(not CASES.exists(), reason=f"the logs of {CASES} are not here")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_small_log_has_what_the_agent_saw_and_said(name: str) -> None:
    path = CASES / name
    format_name, expected = EXPECTED[name]
    assert detect_format(path) == format_name
    items = read_file(format_name, path)
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert len(trajectories) == len(items)
    assert [
        (
            [message.content for message in trajectory.prompt],
            [
                ([message.content for message in step.observation], step.response.content)
                for step in trajectory.steps
            ],
        )
        for trajectory in trajectories
    ] == expected
