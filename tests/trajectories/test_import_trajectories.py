from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DataError, RunError
from atlas.kinds import Choice
from atlas.records import Annotation, Problem
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest, start_run
from atlas.trajectories.formats.base import FORMATS
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.source_files import detect_format

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
real_data = pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="the folder shared/data with real trajectories is not beside the repository",
)


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}],
        **fields,
    }


def agenttraj(text: str, item_id: str = "babyai_1") -> dict[str, Any]:
    turns = [
        {"from": "human", "loss": None, "value": "Go."},
        {"from": "gpt", "loss": True, "value": text},
    ]
    return {"conversations": turns, "item_id": item_id}


def write(path: Path, *lines: Any) -> str:
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
    )
    return str(path)


def problems_in(out: Path) -> list[Problem]:
    return list(read_records(out / "problems.jsonl", Problem))


def test_rows_become_trajectories_in_the_order_of_files_and_rows(tmp_path: Path) -> None:
    paths = (
        write(tmp_path / "b.jsonl", chat("one"), chat("two")),
        write(tmp_path / "a.json", [agenttraj("three")]),
    )
    manifest = import_trajectories(ImportConfig(paths=paths), tmp_path / "out")
    assert [
        trajectory.steps[0].response.content for trajectory in read_trajectories(tmp_path / "out")
    ] == ["one", "two", "three"]
    assert manifest.summary["trajectories"] == manifest.summary["steps"] == 3
    assert manifest.summary["environments"] == {"babyai": 1, "unknown": 2}
    assert manifest.inputs["file 0"].path == "../b.jsonl"
    assert all(given.digest for given in manifest.inputs.values())


def test_a_bad_row_is_recorded_and_loses_no_good_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("one"), "{broken", {"messages": []}, chat("two"))
    manifest = import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")
    assert manifest.summary["trajectories"] == 2
    assert [problem.where for problem in problems_in(tmp_path / "out")] == [
        "x.jsonl row 1 (line 2)",
        "x.jsonl row 2 (line 3)",
    ]


def test_strict_stops_at_the_first_bad_row_and_leaves_no_run_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("one"), {"messages": []}, "{broken")
    with pytest.raises(DataError, match=r"x\.jsonl row 1 \(line 2\): no messages.*Fix the row"):
        import_trajectories(ImportConfig(paths=(path,), strict=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write(tmp_path / "x.jsonl", chat("one"))
    assert (
        import_trajectories(ImportConfig(paths=(path,), strict=True), tmp_path / "out").summary[
            "trajectories"
        ]
        == 1
    )


def test_the_same_row_again_is_dropped_and_counted(tmp_path: Path) -> None:
    paths = (
        write(tmp_path / "a.jsonl", agenttraj("x"), agenttraj("y"), agenttraj("x")),
        write(tmp_path / "b.json", [agenttraj("y")]),
    )
    manifest = import_trajectories(ImportConfig(paths=paths), tmp_path / "out")
    assert (
        manifest.summary["trajectories"],
        manifest.summary["duplicates"],
        manifest.summary["problems"],
    ) == (2, 2, 2)
    assert problems_in(tmp_path / "out")[1].reason == "the same as a.jsonl row 1, word for word"


def test_one_item_id_may_have_several_trajectories_with_ids_that_do_not_depend_on_the_order(
    tmp_path: Path,
) -> None:
    rows = [agenttraj("x"), agenttraj("y"), agenttraj("z", "babyai_2")]
    ids = []
    for name, order in (("a", rows), ("b", rows[::-1])):
        import_trajectories(
            ImportConfig(paths=(write(tmp_path / f"{name}.jsonl", *order),)), tmp_path / name
        )
        ids.append(
            {trajectory.id: trajectory.task.id for trajectory in read_trajectories(tmp_path / name)}
        )
    assert ids[0] == ids[1]
    assert sorted(ids[0].values()) == ["babyai_1", "babyai_1", "babyai_2"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{broken", "hello", '[{"text": "hi"}]', "[1, 2]", "\ud83d"]
)
def test_a_file_without_trajectories_is_an_error_and_leaves_no_run_behind(
    tmp_path: Path, content: str
) -> None:
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
    assert (
        import_trajectories(ImportConfig(paths=paths), tmp_path / "out").summary["trajectories"]
        == 1
    )
    reasons = {problem.where: problem.reason for problem in problems_in(tmp_path / "out")}
    assert "is empty" in reasons["empty.json"]
    assert (
        "an object with the keys text; no format reads that. Name one with --format, "
        in reasons["other.json"]
    )


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_path_that_is_no_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="Check the path"):
        import_trajectories(ImportConfig(paths=(str(tmp_path / name),)), tmp_path / "out")


def test_a_format_is_told_from_the_content(tmp_path: Path) -> None:
    assert detect_format(Path(write(tmp_path / "a", [agenttraj("x")]))) == "agenttraj"
    assert (
        detect_format(Path(write(tmp_path / "b", "{broken", {"conversations": None}, chat("x"))))
        == "openai"
    )


def test_a_row_that_two_formats_claim_asks_for_a_choice(tmp_path: Path) -> None:
    both = {
        "conversations": [{"from": "human", "value": "Go.", "role": "user", "content": "Go."}],
        "item_id": "x_1",
    }
    path = write(tmp_path / "x.jsonl", both)
    with pytest.raises(
        ConfigError, match=r"x\.jsonl row 0 looks like several formats: \w+, \w+\. Say which"
    ):
        import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")


def test_a_named_format_is_not_second_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", agenttraj("x"))
    with pytest.raises(DataError, match="not a trajectory written by atlas"):
        import_trajectories(ImportConfig(paths=(path,), format=Choice("atlas")), tmp_path / "out")
    with pytest.raises(ConfigError, match="Did you mean 'openai'"):
        import_trajectories(ImportConfig(paths=(path,), format="opnai"), tmp_path / "out")


def test_oddities_are_noted_and_kept(tmp_path: Path) -> None:
    react = "Thought:\nhm\n\nAction:\ngo"
    turns = [react, react, react, "I give up.", "", react + "\nstop", react + "\n\nAction:\nstop"]
    messages = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in (("user", "You see."), ("assistant", turn))
    ]
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


def test_a_finished_import_is_not_repeated_and_changed_files_need_another_folder(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "x.jsonl", chat("one"))
    first = import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")
    assert import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out") == first
    write(tmp_path / "x.jsonl", chat("two"))
    with pytest.raises(RunError, match="input file 0"):
        import_trajectories(ImportConfig(paths=(path,)), tmp_path / "out")


def test_an_import_that_was_killed_starts_over_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *(chat(f"text {index}") for index in range(12_000)))
    config = ImportConfig(paths=(path,))
    whole = import_trajectories(config, tmp_path / "whole")
    script = (
        "import sys; from pathlib import Path\n"
        "from atlas.trajectories.import_trajectories import *\n"
        "import_trajectories(ImportConfig(paths=(sys.argv[1],)), Path(sys.argv[2]))"
    )
    torn = tmp_path / "torn"
    process = subprocess.Popen([sys.executable, "-c", script, path, str(torn)])
    while process.poll() is None and not any(
        file.stat().st_size for file in torn.glob("trajectories.jsonl*")
    ):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (torn / "trajectories.jsonl").exists()
    assert import_trajectories(config, torn).outputs == whole.outputs
    assert sorted(file.name for file in torn.iterdir()) == sorted(
        file.name for file in (tmp_path / "whole").iterdir()
    )


def test_folders_patterns_and_packed_files_are_read_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "logs"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    write(folder / "b.jsonl", chat("2"))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(chat("1")).encode()))
    write(folder / "sub" / "a.jsonl", chat("3"))
    write(folder / "notes.txt", "not a trajectory")
    write(folder / ".hidden" / "x.jsonl", chat("no"))
    write(folder / ".x.jsonl", chat("no"))
    manifest = import_trajectories(ImportConfig(paths=(str(folder),)), tmp_path / "out")
    read = list(read_trajectories(tmp_path / "out"))
    assert [trajectory.steps[0].response.content for trajectory in read] == ["1", "2", "3"]
    assert [trajectory.source.path for trajectory in read] == [
        "a.jsonl.gz",
        "b.jsonl",
        "sub/a.jsonl",
    ]
    assert [problem.where for problem in problems_in(tmp_path / "out")] == ["notes.txt"]
    assert manifest.summary["formats"] == {"none": 1, "openai": 3}
    assert manifest.summary["format_of_file"]["sub/a.jsonl"] == "openai"
    assert manifest.inputs.keys() == {"path 0"}
    pattern = import_trajectories(
        ImportConfig(paths=(str(folder / "**/*.jsonl"),)), tmp_path / "again"
    )
    assert pattern.summary["trajectories"] == 2
    write(folder / "b.jsonl", chat("changed"))
    with pytest.raises(RunError, match="input path 0"):
        import_trajectories(ImportConfig(paths=(str(folder),)), tmp_path / "out")


def test_the_run_folder_within_the_folder_that_is_read_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", chat("1"))
    for _ in range(2):
        assert (
            import_trajectories(ImportConfig(paths=(str(tmp_path),)), tmp_path / "out").summary[
                "files"
            ]
            == 1
        )


def test_a_problem_in_a_folder_names_the_file_as_seen_from_there(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write(tmp_path / "in" / "sub" / "x.jsonl", chat("1"), "{broken")
    import_trajectories(ImportConfig(paths=(str(tmp_path / "in"),)), tmp_path / "out")
    assert problems_in(tmp_path / "out")[0].where == "sub/x.jsonl row 1 (line 2)"


def test_standard_input_is_a_file_named_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = "\n".join(json.dumps(chat(text)) for text in "ab").encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    manifest = import_trajectories(ImportConfig(paths=("-",)), tmp_path / "out")
    assert manifest.summary["trajectories"] == 2
    assert manifest.inputs["path 0"].path == "-"
    assert next(read_trajectories(tmp_path / "out")).source.path == "stdin"


def test_a_run_of_ours_is_read_whole_again(tmp_path: Path) -> None:
    rows = [make_trajectory(3, "a"), make_trajectory(2, "b")]
    marked = rows[0].model_copy(
        update={
            "steps": tuple(
                step.model_copy(update={"annotation": Annotation(score=1.0)})
                for step in rows[0].steps
            )
        }
    )
    runs = tmp_path / "runs"
    for name, records, command in (
        ("one", [marked, rows[1]], "collect"),
        ("two", [rows[0], rows[1]], "evaluate"),
    ):
        write_trajectories(runs / name, records, command)
    manifest = import_trajectories(ImportConfig(paths=(str(runs / "one"),)), tmp_path / "out")
    assert list(read_trajectories(tmp_path / "out")) == [marked, rows[1]]
    assert manifest.inputs["run 0"].digest == read_manifest(runs / "one").digest
    assert manifest.summary["formats"] == {"atlas": 1}
    both = import_trajectories(ImportConfig(paths=(str(runs),)), tmp_path / "both")
    assert [trajectory.id for trajectory in read_trajectories(tmp_path / "both")] == [
        "a",
        "b",
        "a-2",
    ]
    assert both.summary["duplicates"] == 1


def test_an_unfinished_run_is_an_error(tmp_path: Path) -> None:
    start_run(tmp_path / "run", "collect", ImportConfig(paths=("x",))).close()
    with pytest.raises(RunError, match="is not finished"):
        import_trajectories(ImportConfig(paths=(str(tmp_path / "run"),)), tmp_path / "out")


def test_duplicates_may_be_kept_under_ids_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("a"), chat("a"), chat("b"), chat("a"))
    manifest = import_trajectories(
        ImportConfig(paths=(path, path), keep_duplicates=True), tmp_path / "out"
    )
    read = list(read_trajectories(tmp_path / "out"))
    assert len({each.id for each in read}) == manifest.summary["trajectories"] == 8
    assert read[1].id == f"{read[0].id}-2"
    first = {"id": read[0].id, "source": read[0].source}
    assert read[1].model_copy(update=first) == read[0]


@pytest.mark.parametrize(
    ("settings", "kept", "filtered"),
    [
        ({"only": ("success",)}, "bd", {"only success": 2}),
        ({"only": ("success", "unknown")}, "bcd", {"only success, unknown": 1}),
        ({"min_steps": 2}, "d", {"min_steps 2": 3}),
        ({"max_steps": 1}, "abc", {"max_steps 1": 1}),
        ({"where": ("task~^babyai",)}, "ab", {"where task~^babyai": 2}),
        ({"where": ("environment=maze",)}, "cd", {"where environment=maze": 2}),
        (
            {"where": ("status!=failure", "task~_[14]$")},
            "d",
            {"where status!=failure": 1, "where task~_[14]$": 2},
        ),
    ],
)
def test_filters_keep_what_they_say_and_are_counted(
    tmp_path: Path, settings: dict[str, Any], kept: str, filtered: dict[str, int]
) -> None:
    longer = {
        "messages": [*chat("d")["messages"], *chat("e")["messages"]],
        "item_id": "maze_4",
        "success": True,
    }
    rows = [
        chat("a", item_id="babyai_1", success=False),
        chat("b", item_id="babyai_2", success=True),
        chat("c", item_id="maze_3"),
        longer,
    ]
    path = write(tmp_path / "x.jsonl", *rows)
    manifest = import_trajectories(ImportConfig(paths=(path,), **settings), tmp_path / "out")
    assert (
        "".join(
            trajectory.steps[0].response.content
            for trajectory in read_trajectories(tmp_path / "out")
        )
        == kept
    )
    assert manifest.summary["filtered"] == filtered
    assert problems_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"only": ("sucess",)}, "Did you mean 'success'"),
        ({"where": ("tsk=a",)}, "unknown field 'tsk'. Did you mean 'task'"),
        ({"where": ("babyai",)}, "invalid where condition"),
        ({"where": ("task~(",)}, "not a regular expression"),
    ],
)
def test_a_filter_that_is_none_is_an_error_before_anything_is_read(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        import_trajectories(ImportConfig(paths=("missing",), **settings), tmp_path / "out")


def test_filters_that_leave_nothing_are_an_error_that_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("a"))
    with pytest.raises(DataError, match=r"only success \(1\) dropped all"):
        import_trajectories(ImportConfig(paths=(path,), only=("success",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_summary_counts_steps_characters_and_successes(tmp_path: Path) -> None:
    rows = [
        {
            "messages": chat("abc")["messages"] * (number + 1),
            "item_id": f"babyai_{number}",
            "success": number < 3,
        }
        for number in range(20)
    ]
    summary = import_trajectories(
        ImportConfig(paths=(write(tmp_path / "x.jsonl", *rows),)), tmp_path / "out"
    ).summary
    assert (summary["trajectories"], summary["steps"], summary["success_rate"]) == (20, 210, 0.15)
    spread = summary["steps_per_trajectory"]
    assert (spread["min"], spread["median"], spread["p95"], spread["max"]) == (1, 10, 19, 20)
    assert spread["histogram"] == [[start, start + 1, 2] for start in range(1, 20, 2)]
    assert summary["characters"] == {"assistant": 630, "user": 630}
    assert summary["groups"] == {
        "babyai": {"trajectories": 20, "mean_steps": 10.5, "judged": 20, "success_rate": 0.15}
    }


def test_tokens_are_counted_with_a_named_tokenizer(tmp_path: Path, tiny_model_folder: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("a door and a ball"))
    summary = import_trajectories(
        ImportConfig(paths=(path,), tokenizer=str(tiny_model_folder)), tmp_path / "out"
    ).summary
    assert summary["tokens"]["assistant"] > summary["tokens"]["user"] > 0


def test_importing_needs_neither_torch_nor_the_packages_of_other_formats(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chat("a"))
    heavy = ("torch", "transformers", "inspect_ai", "pyarrow", "zstandard")
    script = (
        "import sys; from atlas.cli import app\n"
        "try: app()\n"
        "except SystemExit as stop: assert not stop.code, stop\n"
        f"sys.exit(str([name for name in {heavy} if name in sys.modules] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "import", path, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() == "", done.stderr
    assert (tmp_path / "out" / "trajectories.jsonl").exists()


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
    assert (
        manifest.summary["trajectories"],
        manifest.summary["steps"],
        manifest.summary["problems"],
    ) == (trajectories, steps, 0)
    read = list(read_trajectories(tmp_path / "out"))
    raw = json.loads((SHARED / file).read_bytes())
    assert [[message.content for message in trajectory.messages] for trajectory in read] == [
        [turn["value"] for turn in row["conversations"]] for row in raw
    ]
    assert len({trajectory.id for trajectory in read}) == trajectories
    assert len({trajectory.task.id for trajectory in read}) == task_ids
    assert {trajectory.task.environment for trajectory in read} == {environment}
    without_action = [
        step.response.content
        for trajectory in read
        for step in trajectory.steps
        if step.action is None
    ]
    assert all("Action:" not in text for text in without_action)


@real_data
def test_rollouts_with_failures_keep_their_outcomes_and_note_their_dirt(tmp_path: Path) -> None:
    path = SHARED / "agentgym_rollouts/textcraft_gemini_with_failures.jsonl"
    manifest = import_trajectories(ImportConfig(paths=(str(path),)), tmp_path / "out")
    assert manifest.summary["outcomes"] == {"failure": 24, "success": 350}
    assert (
        manifest.summary["trajectories"],
        manifest.summary["steps"],
        manifest.summary["problems"],
    ) == (374, 3473, 0)
    assert manifest.summary["notes"] == {"empty response": 9}
    read = list(read_trajectories(tmp_path / "out"))
    assert Counter(len(trajectory.prompt) for trajectory in read) == {2: 374}
    assert all(trajectory.final_observation for trajectory in read)
    raw = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [
        [message.content for message in (*trajectory.messages, *trajectory.final_observation)]
        for trajectory in read
    ] == [[message["content"] for message in row["conversations"]] for row in raw]


@real_data
def test_a_list_of_evaluation_tasks_is_refused_by_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="an object with the keys"):
        import_trajectories(
            ImportConfig(paths=(str(SHARED / "agenteval/babyai_test.json"),)), tmp_path / "out"
        )


def test_every_format_is_named_where_none_fits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=", ".join(sorted(FORMATS))):
        detect_format(Path(write(tmp_path / "x.json", {"text": "hi"})))
