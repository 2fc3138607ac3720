"""Compactions within one ATIF document, and the folders of Harbor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.lost_content import silent_losses
from tests.source_files import matches, read_file
from tests.trajectories.test_formats_atif import AGENT, CALLING, SYSTEM, USER, document

CASES = Path(__file__).parents[3] / "shared" / "data" / "import_cases"
TERMINUS = {"name": "terminus-2", "version": "2.0.0"}
MARK = {"context_management": {"type": "compaction", "boundary": "replace"}}
HANDOFF = {"source": "user", "message": "Here are the answers. Go on."}
LATER = {"source": "agent", "message": "I go on."}


def refers(*names: str) -> dict[str, Any]:
    references = [{"session_id": name, "trajectory_path": f"{name}.json"} for name in names]
    return {"results": [{"subagent_trajectory_ref": references}]}


def read(path: Path) -> list[Trajectory]:
    items = read_file("atif", path)
    good = [item for item in items if isinstance(item, Trajectory)]
    assert len(good) == len(items), items
    return good


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def shown(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in trajectory.messages]


@pytest.mark.parametrize(
    "notice",
    [
        {"source": "system", "message": "Performed.", "extra": MARK},
        {"source": "system", "message": "Performed.", "observation": refers("s-summarization-1")},
    ],
    ids=["extra", "references"],
)
def test_terminus_goes_on_from_the_task_and_the_handoff(
    tmp_path: Path, notice: dict[str, Any]
) -> None:
    value = document(USER, AGENT, notice, HANDOFF, LATER, agent=TERMINUS)
    before, after = read(write(tmp_path / "t.json", value))
    assert shown(before) == [("user", "Go."), ("assistant", "I go.")]
    assert before.final_observation[-1].content == "Performed."
    assert shown(after) == [
        ("user", "Go."),
        ("user", "Here are the answers. Go on."),
        ("assistant", "I go on."),
    ]
    assert before.id != after.id


def test_other_agents_keep_only_the_system_messages(tmp_path: Path) -> None:
    notice = {"source": "system", "message": "Compacted.", "extra": MARK}
    value = document(SYSTEM, USER, AGENT, notice, HANDOFF, LATER)
    _, after = read(write(tmp_path / "t.json", value))
    assert shown(after) == [
        ("system", "Rules."),
        ("user", "Here are the answers. Go on."),
        ("assistant", "I go on."),
    ]


def test_a_summary_in_the_step_is_what_the_agent_has(tmp_path: Path) -> None:
    told = {"source": "system", "message": "Context compacted: a file was made"}
    written = {
        "source": "agent",
        "message": "A file was made.",
        "extra": {"pi_event_type": "compaction"},
    }
    for step, role in ((told, "system"), (written, "user")):
        value = document(USER, AGENT, step, LATER)
        before, after = read(write(tmp_path / "t.json", value))
        assert [one.response.content for one in (*before.steps, *after.steps)] == [
            "I go.",
            "I go on.",
        ]
        assert shown(after)[0] == (role, step["message"])


def test_what_a_sub_agent_asked_is_part_of_the_context(tmp_path: Path) -> None:
    name = "s-summarization-1-questions"
    asked = {**document({**USER, "message": "Ask."}, {**AGENT, "message": "Which file?"})}
    notice = {"source": "system", "message": "Done.", "observation": refers(name), "extra": MARK}
    steps = (USER, AGENT, notice, HANDOFF, LATER)
    embedded = document(
        *steps, agent=TERMINUS, subagent_trajectories=[{**asked, "trajectory_id": name}]
    )
    beside = document(*steps, agent=TERMINUS)
    write(tmp_path / "beside" / f"{name}.json", asked)
    for value, folder in ((embedded, "embedded"), (beside, "beside")):
        _, after, *_ = read(write(tmp_path / folder / "trajectory.json", value))
        assert shown(after) == [
            ("user", "Go."),
            ("user", "Ask."),
            ("assistant", "Which file?"),
            ("user", "Here are the answers. Go on."),
            ("assistant", "I go on."),
        ]
        assert [step.response.content for step in after.steps] == ["I go on."]


def test_a_compaction_at_the_end_makes_no_empty_trajectory(tmp_path: Path) -> None:
    notice = {"source": "system", "message": "Performed.", "extra": MARK}
    [trajectory] = read(write(tmp_path / "t.json", document(USER, AGENT, notice, HANDOFF)))
    assert [message.content for message in trajectory.final_observation] == [
        "Performed.",
        "Here are the answers. Go on.",
    ]


def test_results_without_ids_answer_as_many_calls_in_their_order(tmp_path: Path) -> None:
    loose = {"observation": {"results": [{"content": "a door"}, {"content": "waited"}]}}
    [trajectory] = read(write(tmp_path / "t.json", document(USER, {**CALLING, **loose}, AGENT)))
    assert [(m.tool_call_id, m.content) for m in trajectory.steps[1].observation] == [
        ("c1", "a door"),
        ("c2", "waited"),
    ]


RESULT = {
    "task_name": "make-file",
    "trial_name": "make-file__x1",
    "source": "terminal-bench",
    "verifier_result": {"rewards": {"reward": 1.0}},
    "exception_info": None,
}


@pytest.mark.parametrize(
    ("fields", "status", "score"),
    [
        ({}, "success", 1.0),
        ({"verifier_result": {"rewards": {"reward": 0}}}, "failure", 0.0),
        ({"verifier_result": {"rewards": {"reward": 0.5}}}, "unknown", 0.5),
        (
            {
                "verifier_result": None,
                "exception_info": {"exception_type": "AgentTimeoutError", "exception_message": "m"},
            },
            "truncated",
            None,
        ),
        (
            {"verifier_result": None, "exception_info": {"exception_type": "ValueError"}},
            "error",
            None,
        ),
    ],
)
def test_the_result_of_harbors_trial_is_the_outcome(
    tmp_path: Path, fields: dict[str, Any], status: str, score: float | None
) -> None:
    write(tmp_path / "trial" / "result.json", {**RESULT, **fields})
    path = write(tmp_path / "trial" / "agent" / "trajectory.json", document(USER, AGENT))
    [trajectory] = read(path)
    assert (trajectory.outcome.status, trajectory.outcome.score) == (status, score)
    assert trajectory.outcome.reason
    assert (trajectory.task.id, trajectory.task.environment) == ("make-file", "terminal-bench")
    assert trajectory.source.details["trial"] == "make-file__x1"
    # The trajectory of a summarization is not the trial's.
    other = path.with_name("trajectory.summarization-1-summary.json")
    [summary] = read(write(other, document(USER, AGENT)))
    assert summary.outcome.status == "unknown"


def test_what_harbor_keeps_beside_trajectories_is_no_problem(tmp_path: Path) -> None:
    assert matches("atif", RESULT)
    assert read_file("atif", write(tmp_path / "result.json", RESULT)) == []
    broken = {**RESULT, "verifier_result": {"rewards": {"reward": "high"}}}
    write(tmp_path / "trial" / "result.json", broken)
    path = write(tmp_path / "trial" / "agent" / "trajectory.json", document(USER, AGENT))
    [problem] = read_file("atif", path)
    assert isinstance(problem, Problem)
    assert "result.json" in problem.reason


def test_a_run_that_agentpile_loaded_has_the_outcome_of_its_data_set(tmp_path: Path) -> None:
    loaded = {
        "source": {"dataset": "SWE-bench/SWE-smith-trajectories"},
        "task": {"id": "a__b-1", "text": "Fix it."},
        "outcome": {"success": True, "score": None},
    }
    value = document(USER, AGENT, extra={"agentpile": loaded})
    [trajectory] = read(write(tmp_path / "t.json", value))
    assert trajectory.outcome.status == "success"
    assert "data set" in (trajectory.outcome.reason or "")
    assert trajectory.task.id == "a__b-1"
    assert trajectory.task.environment == "SWE-bench/SWE-smith-trajectories"


def test_a_compaction_loses_no_content_in_silence(tmp_path: Path) -> None:
    notice = {"source": "system", "message": "Performed.", "extra": MARK}
    value = document(SYSTEM, USER, CALLING, notice, HANDOFF, LATER)
    assert silent_losses("atif", [value], tmp_path / "x") == []


@pytest.mark.skipif(not CASES.is_dir(), reason="the example files are not here")
def test_the_example_file_is_read_as_the_agent_saw_it() -> None:
    before, after = read(CASES / "wrong" / "11_atif_compaction_in_one_file.json")
    assert shown(before) == [("user", "Task: make hello.txt"), ("assistant", "I make a folder.")]
    assert before.final_observation[0].content == "folder made"
    assert [content for _, content in shown(after)] == [
        "Task: make hello.txt",
        "Here are the answers the other agent provided. The folder exists. Go on.",
        "I write the file.",
    ]
    assert [message.content for message in after.final_observation] == ["written"]


def test_a_compaction_before_the_first_step_loses_nothing(tmp_path: Path) -> None:
    notice = {"source": "system", "message": "Performed.", "extra": MARK}
    value = document(USER, notice, HANDOFF, LATER, agent=TERMINUS)
    [trajectory] = read(write(tmp_path / "t.json", value))
    assert [content for _, content in shown(trajectory)] == [
        "Go.",
        "Performed.",
        "Here are the answers. Go on.",
        "I go on.",
    ]
