from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DataError, RunError
from atlas.records import Problem, Trajectory
from atlas.runs import read_trajectories
from atlas.store import read_records, start_run
from atlas.trajectories.formats.base import FORMATS, detect_format
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder shared/data with real trajectories is not beside the repository")


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}], **fields}


def agenttraj(text: str, item_id: str = "babyai_1") -> dict[str, Any]:
    turns = [{"from": "human", "loss": None, "value": "Go."}, {"from": "gpt", "loss": True, "value": text}]
    return {"conversations": turns, "item_id": item_id}


def write(path: Path, *lines: Any) -> str:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return str(path)


def problems_in(out: Path) -> list[Problem]:
    return list(read_records(out / "problems.jsonl", Problem))


def test_rows_become_trajectories_in_the_order_of_files_and_rows(tmp_path: Path) -> None:
    paths = (write(tmp_path / "b.jsonl", chat("one"), chat("two")), write(tmp_path / "a.json", [agenttraj("three")]))
    manifest = import_trajectories(ImportConfig(paths=paths), tmp_path / "out")
    assert [trajectory.steps[0].response.content for trajectory in read_trajectories(tmp_path / "out")] == ["one", "two", "three"]
    assert manifest.summary["trajectories"] == manifest.summary["steps"] == 3
    assert manifest.summary["environments"] == {"babyai": 1, "unknown": 2}
    assert manifest.inputs["file 0"].path == "../b.jsonl"
    assert all(given.digest for given in manifest.inputs.values())


def test_a_bad_row_is_recorded_and_loses_no_good_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("one"), "{broken", {"messages": []}, chat("two"))
    manifest = import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")
    assert manifest.summary["trajectories"] == 2
    assert [problem.where for problem in problems_in(tmp_path / "out")] == ["x.jsonl row 1 (line 2)", "x.jsonl row 2 (line 3)"]


def test_strict_stops_at_the_first_bad_row_and_leaves_no_run_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("one"), {"messages": []}, "{broken")
    with pytest.raises(DataError, match=r"x\.jsonl row 1 \(line 2\): no messages.*Mend the row"):
        import_trajectories(ImportConfig(paths=(path,), strict=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write(tmp_path / "x.jsonl", chat("one"))
    assert import_trajectories(ImportConfig(paths=(path,), strict=True), tmp_path / "out").summary["trajectories"] == 1


def test_the_same_row_again_is_dropped_and_counted(tmp_path: Path) -> None:
    paths = (write(tmp_path / "a.jsonl", agenttraj("x"), agenttraj("y"), agenttraj("x")), write(tmp_path / "b.json", [agenttraj("y")]))
    manifest = import_trajectories(ImportConfig(paths=paths), tmp_path / "out")
    assert (manifest.summary["trajectories"], manifest.summary["duplicates"], manifest.summary["problems"]) == (2, 2, 2)
    assert problems_in(tmp_path / "out")[1].reason == "the same as a.jsonl row 1, word for word"


def test_one_item_id_may_have_several_trajectories_with_ids_that_do_not_depend_on_the_order(tmp_path: Path) -> None:
    rows = [agenttraj("x"), agenttraj("y"), agenttraj("z", "babyai_2")]
    ids = []
    for name, order in (("a", rows), ("b", rows[::-1])):
        import_trajectories(ImportConfig(paths=(write(tmp_path / f"{name}.jsonl", *order),)), tmp_path / name)
        ids.append({trajectory.id: trajectory.task.id for trajectory in read_trajectories(tmp_path / name)})
    assert ids[0] == ids[1]
    assert sorted(ids[0].values()) == ["babyai_1", "babyai_1", "babyai_2"]


@pytest.mark.parametrize("content", ["", "[]", "{broken", "hello", '[{"text": "hi"}]', "[1, 2]", "\ud83d"])
def test_a_file_without_trajectories_is_an_error_and_leaves_no_run_behind(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"no row is a trajectory\. The first: x\.json"):
        import_trajectories(ImportConfig(paths=(str(path),)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_without_trajectories_among_others_is_a_problem(tmp_path: Path) -> None:
    paths = (
        write(tmp_path / "empty.json", ""),
        write(tmp_path / "other.json", {"text": "hi"}),
        write(tmp_path / "good.jsonl", chat("one")),
    )
    assert import_trajectories(ImportConfig(paths=paths), tmp_path / "out").summary["trajectories"] == 1
    reasons = {problem.where: problem.reason for problem in problems_in(tmp_path / "out")}
    assert "is empty" in reasons["empty.json"]
    assert "an object with the keys text; no format reads that. Known: agenttraj, openai" in reasons["other.json"]


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_path_that_is_no_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="Check the path"):
        import_trajectories(ImportConfig(paths=(str(tmp_path / name),)), tmp_path / "out")


def test_a_format_is_told_from_the_content(tmp_path: Path) -> None:
    assert detect_format(Path(write(tmp_path / "a", [agenttraj("x")]))) == "agenttraj"
    assert detect_format(Path(write(tmp_path / "b", "{broken", {"conversations": None}, chat("x")))) == "openai"


def test_a_row_that_two_formats_claim_asks_for_a_choice(tmp_path: Path) -> None:
    both = {"conversations": [{"from": "human", "value": "Go.", "role": "user", "content": "Go."}], "item_id": "x_1"}
    path = write(tmp_path / "x.jsonl", both)
    with pytest.raises(ConfigError, match=r"several formats: agenttraj, openai\. Say which"):
        import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")


def test_a_named_format_is_not_second_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", agenttraj("x"))
    with pytest.raises(DataError, match=r"message 0: role is None"):
        import_trajectories(ImportConfig(paths=(path,), format="openai"), tmp_path / "out")
    with pytest.raises(ConfigError, match="Did you mean 'openai'"):
        import_trajectories(ImportConfig(paths=(path,), format="opnai"), tmp_path / "out")


def test_oddities_are_noted_and_kept(tmp_path: Path) -> None:
    react = "Thought:\nhm\n\nAction:\ngo"
    turns = [react, react, react, "I give up.", "", react + "\nstop", react + "\n\nAction:\nstop"]
    messages = [{"role": role, "content": text} for turn in turns for role, text in (("user", "You see."), ("assistant", turn))]
    path = write(tmp_path / "x.json", {"messages": messages})
    manifest = import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")
    assert manifest.summary["notes"] == {
        "empty response": 1,
        "no 'Action:' where most steps have one": 1,
        "no 'Thought:' where most steps have one": 1,
        "several 'Action:' in one response, the last is taken": 1,
        "several lines after 'Action:', the first is taken": 1,
    }
    notes = list(read_records(tmp_path / "out" / "notes.jsonl", Problem))
    assert notes[0].where == "x.json row 0, step 3"
    assert manifest.summary["steps"] == len(turns)


def test_a_finished_import_is_not_repeated_and_changed_files_need_another_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("one"))
    first = import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")
    assert import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out") == first
    write(tmp_path / "x.jsonl", chat("two"))
    with pytest.raises(RunError, match="input file 0"):
        import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")


def test_an_interrupted_import_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *(chat(f"text {index}") for index in range(20)))
    config = ImportConfig(paths=(path,))
    whole = import_trajectories(config, tmp_path / "whole")
    inputs = whole.inputs
    with start_run(tmp_path / "torn", "import", config, inputs) as run:
        log = run.log("trajectories", Trajectory, key=lambda trajectory: trajectory.id)
        for trajectory in list(read_trajectories(tmp_path / "whole"))[5:9]:
            log.append(trajectory)
        log.close()
    with open(tmp_path / "torn" / "trajectories.jsonl.partial", "ab") as file:
        file.write(b'{"version": 1, "id": "cha')
    assert import_trajectories(config, tmp_path / "torn").outputs == whole.outputs


def test_importing_does_not_import_torch() -> None:
    script = "import sys, atlas.trajectories.import_trajectories; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@real_data
@pytest.mark.parametrize(
    ("file", "trajectories", "steps", "task_ids", "environment"),
    [
        ("agenttraj/babyai_train.json", 810, 4642, 810, "babyai"),
        ("agenttraj/textcraft_train.json", 374, 2992, 374, "textcraft"),
        ("agenttraj/lmrlgym_maze_train.json", 215, 915, 11, "lmrlgym_maze"),
    ],
)
def test_the_papers_own_training_data_is_read_in_full(
    tmp_path: Path, file: str, trajectories: int, steps: int, task_ids: int, environment: str
) -> None:
    manifest = import_trajectories(ImportConfig(paths=(str(SHARED / file),)), tmp_path / "out")
    assert (manifest.summary["trajectories"], manifest.summary["steps"], manifest.summary["problems"]) == (trajectories, steps, 0)
    read = list(read_trajectories(tmp_path / "out"))
    raw = json.loads((SHARED / file).read_bytes())
    assert [[message.content for message in trajectory.messages] for trajectory in read] == [
        [turn["value"] for turn in row["conversations"]] for row in raw
    ]
    assert len({trajectory.id for trajectory in read}) == trajectories
    assert len({trajectory.task.id for trajectory in read}) == task_ids
    assert {trajectory.task.environment for trajectory in read} == {environment}
    without_action = [step.response.content for trajectory in read for step in trajectory.steps if step.action is None]
    assert all("Action:" not in text for text in without_action)


@real_data
def test_rollouts_with_failures_keep_their_outcomes_and_note_their_dirt(tmp_path: Path) -> None:
    path = SHARED / "agentgym_rollouts/textcraft_gemini_with_failures.jsonl"
    manifest = import_trajectories(ImportConfig(paths=(str(path),)), tmp_path / "out")
    assert manifest.summary["outcomes"] == {"failure": 24, "success": 350}
    assert (manifest.summary["trajectories"], manifest.summary["steps"], manifest.summary["problems"]) == (374, 3473, 0)
    assert manifest.summary["notes"] == {"empty response": 9}
    read = list(read_trajectories(tmp_path / "out"))
    assert Counter(len(trajectory.prompt) for trajectory in read) == {2: 374}
    assert all(trajectory.final_observation for trajectory in read)
    raw = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [[message.content for message in (*trajectory.messages, *trajectory.final_observation)] for trajectory in read] == [
        [message["content"] for message in row["conversations"]] for row in raw
    ]


@real_data
@pytest.mark.parametrize(
    "file", ["agenteval/babyai_test.json", "swe_agent/function_calling_simple.traj", "tau_bench/gpt-4o-airline.20.json"]
)
def test_real_files_of_other_kinds_are_refused_by_what_they_are(tmp_path: Path, file: str) -> None:
    with pytest.raises(DataError, match="an object with the keys"):
        import_trajectories(ImportConfig(paths=(str(SHARED / file),)), tmp_path / "out")


def test_every_format_is_named_where_none_fits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=", ".join(sorted(FORMATS))):
        detect_format(Path(write(tmp_path / "x.json", {"text": "hi"})))
