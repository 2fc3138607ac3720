from __future__ import annotations

import builtins
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import DependencyError
from atlas.kinds import NoConfig
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.inspect.logs import InspectConfig, InspectFormat
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format, read_file

CALL = {"id": "c1", "function": "look", "arguments": {"at": "door"}, "type": "function"}
SYSTEM = {"role": "system", "content": "Rules."}
USER = {"role": "user", "content": "Go.", "source": "input"}
CALLING = {
    "role": "assistant",
    "content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Look."}],
    "tool_calls": [CALL],
    "source": "generate",
}
SEEN = {"role": "tool", "content": "a door", "tool_call_id": "c1", "function": "look"}
DONE = {"role": "assistant", "content": "Done.", "source": "generate"}


def sample(**fields: Any) -> dict[str, Any]:
    messages = [SYSTEM, USER, CALLING, SEEN, DONE]
    return {
        "id": "one",
        "epoch": 1,
        "input": "Go.",
        "target": "",
        "messages": messages,
        "scores": {"match": {"value": "C"}},
        **fields,
    }


def write(path: Path, *samples: dict[str, Any], metric: str = "accuracy") -> Path:
    """A log as Inspect itself writes it, of the kind that the suffix says."""
    log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    scorers = [{"name": "match", "metrics": [{"name": metric}]}]
    spec = log.EvalSpec(
        created="2025-01-01T00:00:00+00:00",
        task="doors",
        dataset=log.EvalDataset(),
        model="mockllm/model",
        config=log.EvalConfig(),
        scorers=scorers,
    )
    made = log.EvalLog(
        status="success",
        eval=spec,
        samples=[log.EvalSample.model_validate(each) for each in samples],
    )
    log.write_eval_log(made, str(path))
    return path


def read_one(path: Path) -> Trajectory:
    [item] = read_file("inspect", path)
    assert isinstance(item, Trajectory), item
    return item


@pytest.mark.parametrize("name", ["log.eval", "log.json"])
def test_both_kinds_of_log_are_told_by_their_content_and_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, sample())
    assert detect_format(path) == "inspect"
    trajectory = read_one(path)
    assert [message.content for message in trajectory.prompt] == ["Rules."]
    assert [step.response.content for step in trajectory.steps] == ["Look.", "Done."]
    response = trajectory.steps[0].response
    assert (response.reasoning, response.tool_calls[0].name, response.tool_calls[0].arguments) == (
        "hm",
        "look",
        '{"at": "door"}',
    )
    assert [(m.role, m.tool_call_id, m.content) for m in trajectory.steps[1].observation] == [
        ("tool", "c1", "a door")
    ]
    assert (trajectory.task.id, trajectory.task.environment) == ("one", "doors")
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("success", 1.0)


def test_each_epoch_of_each_sample_is_a_trajectory(tmp_path: Path) -> None:
    items = list(
        read_file(
            "inspect",
            write(tmp_path / "log.eval", *(sample(epoch=epoch) for epoch in (1, 2)), sample(id=7)),
        )
    )
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert sorted((each.task.id, each.source.details["epoch"]) for each in trajectories) == [
        ("7", 1),
        ("one", 1),
        ("one", 2),
    ]
    assert len({each.id for each in trajectories}) == 3


def test_examples_of_the_input_are_prompt(tmp_path: Path) -> None:
    messages = [SYSTEM, USER, {**DONE, "source": "input"}, USER, DONE]
    trajectory = read_one(write(tmp_path / "log.json", sample(messages=messages)))
    assert (len(trajectory.prompt), len(trajectory.steps)) == (3, 1)


@pytest.mark.parametrize(
    ("fields", "metric", "status"),
    [
        ({"scores": {"match": {"value": "I"}}}, "accuracy", "failure"),
        ({"scores": {"match": {"value": "P"}}}, "accuracy", "unknown"),
        ({"scores": {"match": {"value": 1}}}, "accuracy", "success"),
        ({"scores": {"match": {"value": 1}}}, "mean", "unknown"),
        ({"scores": {"match": {"value": 0.5}}}, "accuracy", "unknown"),
        ({"scores": {"match": {"value": "C"}, "other": {"value": "I"}}}, "accuracy", "unknown"),
        ({"scores": None}, "accuracy", "unknown"),
        ({"limit": {"type": "message", "limit": 3.0}}, "accuracy", "truncated"),
        (
            {"error": {"message": "boom", "traceback": "", "traceback_ansi": ""}},
            "accuracy",
            "error",
        ),
    ],
)
def test_the_outcome_is_error_then_limit_then_verdict(
    tmp_path: Path, fields: dict[str, Any], metric: str, status: str
) -> None:
    assert (
        read_one(write(tmp_path / "log.json", sample(**fields), metric=metric)).outcome.status
        == status
    )


def test_a_damaged_sample_is_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    path, damaged = (
        write(tmp_path / "log.eval", sample(), sample(id="two")),
        tmp_path / "damaged.eval",
    )
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(damaged, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, b"{" if "two" in name else whole.read(name))
    items = read_file("inspect", damaged)
    assert [item.where for item in items if isinstance(item, Problem)] == [
        "damaged.eval sample 'two' epoch 1"
    ]
    assert [item.task.id for item in items if isinstance(item, Trajectory)] == ["one"]


def call_event(context: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
    output = {"model": "m", "choices": [{"message": answer, "stop_reason": "stop"}]}
    return {
        "event": "model",
        "timestamp": "2025-01-01T00:00:00+00:00",
        "working_start": 0.0,
        "model": "m",
        "input": context,
        "tools": [],
        "tool_choice": "auto",
        "config": {},
        "output": output,
    }


def remarks_of(path: Path) -> list[tuple[int, str]]:
    with SourceFile(path) as source:
        items = [*InspectFormat(InspectConfig()).read(source)]
    assert all(isinstance(item, TrajectoryLine) for item in items), items
    return [one for item in items if isinstance(item, TrajectoryLine) for one in item.remarks]


def test_server_tools_and_redacted_reasoning_are_no_words_of_the_answer(tmp_path: Path) -> None:
    search = {
        "type": "tool_use",
        "tool_type": "web_search",
        "id": "w1",
        "name": "search",
        "arguments": '{"q": "doors"}',
        "result": "none",
    }
    hidden = {"type": "reasoning", "reasoning": "gibberish", "redacted": True}
    answer = {**DONE, "content": [hidden, search, {"type": "text", "text": "Done."}]}
    path = write(tmp_path / "log.json", sample(messages=[SYSTEM, USER, CALLING, SEEN, answer]))
    response = read_one(path).steps[-1].response
    assert (response.content, response.reasoning, response.tool_calls) == ("Done.", None, ())
    assert [one for one in remarks_of(path) if one[0] == 1] == [
        (1, "not carried over: redacted reasoning"),
        (1, "not carried over: server tool 'search'"),
    ]


def test_the_summary_of_redacted_reasoning_is_its_reasoning(tmp_path: Path) -> None:
    hidden = {"type": "reasoning", "reasoning": "x9", "summary": "I think.", "redacted": True}
    answer = {**DONE, "content": [hidden, {"type": "text", "text": "Done."}]}
    path = write(tmp_path / "log.json", sample(messages=[USER, answer]))
    assert read_one(path).steps[0].response.reasoning == "I think."


def test_a_model_reads_the_error_of_a_tool_in_place_of_its_output(tmp_path: Path) -> None:
    failed = {**SEEN, "content": "", "error": {"type": "timeout", "message": "too slow"}}
    path = write(tmp_path / "log.json", sample(messages=[USER, CALLING, failed, DONE]))
    assert [m.content for m in read_one(path).steps[1].observation] == ["too slow"]


def test_arguments_that_inspect_could_not_parse_are_kept_as_they_were_written(
    tmp_path: Path,
) -> None:
    error = (
        "Error parsing the following tool call arguments:\n\n{'at': door\n\nError details: no JSON"
    )
    call = {**CALL, "arguments": {}, "parse_error": error}
    messages = [USER, {**CALLING, "tool_calls": [call]}]
    trajectory = read_one(write(tmp_path / "log.json", sample(messages=messages)))
    assert trajectory.steps[0].response.tool_calls[0].arguments == "{'at': door"
    call["parse_error"] = "of another kind"
    [problem] = read_file("inspect", write(tmp_path / "bad.json", sample(messages=messages)))
    assert isinstance(problem, Problem)
    assert problem.where == "bad.json sample 'one' epoch 1, message 1"
    assert "arguments of the call 'look'" in problem.reason


def test_calls_with_the_messages_as_their_context_change_nothing(tmp_path: Path) -> None:
    messages = [SYSTEM, USER, CALLING, SEEN, DONE]
    events = [call_event(messages[:2], CALLING), call_event(messages[:4], DONE)]
    path = write(tmp_path / "log.json", sample(messages=messages, events=events))
    plain = write(tmp_path / "plain.json", sample(messages=messages))
    assert read_one(path).steps == read_one(plain).steps
    assert remarks_of(path) == remarks_of(plain)


def test_a_call_of_a_scorer_is_counted(tmp_path: Path) -> None:
    judged = {"role": "assistant", "content": "GRADE: C"}
    messages = [SYSTEM, USER, DONE]
    events = [call_event(messages[:2], DONE), call_event([USER], judged)]
    path = write(tmp_path / "log.eval", sample(messages=messages, events=events))
    assert len(read_one(path).steps) == 1
    assert (-1, "not carried over: 1 model calls outside of the messages") in remarks_of(path)


def test_after_a_compaction_the_context_is_what_the_model_saw(tmp_path: Path) -> None:
    summary = {"role": "user", "content": "So far: a door."}
    messages = [SYSTEM, USER, CALLING, SEEN, summary, DONE]
    events = [call_event(messages[:2], CALLING), call_event([SYSTEM, summary], DONE)]
    path = write(tmp_path / "log.eval", sample(messages=messages, events=events))
    first, second = read_file("inspect", path)
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert [step.response.content for step in first.steps] == ["Look."]
    assert [m.content for m in second.messages] == ["Rules.", "So far: a door.", "Done."]
    assert first.id != second.id
    assert first.outcome == second.outcome


def test_an_answer_that_was_edited_later_is_read_as_the_model_wrote_it(tmp_path: Path) -> None:
    submit = {**CALL, "id": "c2", "function": "submit", "arguments": {"answer": "a door"}}
    written = {"id": "m9", "role": "assistant", "content": "So.", "tool_calls": [submit]}
    edited = {**DONE, "id": "m9", "content": "So.\n\na door"}
    events = [call_event([SYSTEM, USER], written)]
    path = write(tmp_path / "log.json", sample(messages=[SYSTEM, USER, edited], events=events))
    response = read_one(path).steps[0].response
    assert (response.content, response.tool_calls[0].name) == ("So.", "submit")
    assert remarks_of(path)[0] == (
        0,
        "edited after the model wrote it, the model's own answer is carried over",
    )


def test_providers_that_join_neighbors_edit_nothing(tmp_path: Path) -> None:
    more = {"role": "user", "content": "Quick."}
    joined = {"role": "user", "content": "Go.\nQuick."}
    events = [call_event([SYSTEM, joined], DONE)]
    path = write(tmp_path / "log.json", sample(messages=[SYSTEM, USER, more, DONE], events=events))
    assert len(read_one(path).steps[0].observation) == 2


def claims(path: Path) -> bool:
    with SourceFile(path) as source:
        return InspectFormat(NoConfig()).claims(source)


def test_only_archives_of_logs_are_claimed(tmp_path: Path) -> None:
    for name, member in (
        ("log", "header.json"),
        ("running", "_journal/start.json"),
        ("other", "a.txt"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "{}")
    (tmp_path / "text").write_text("PK")
    assert [name for name in ("log", "running", "other", "text") if claims(tmp_path / name)] == [
        "log",
        "running",
    ]


def test_without_inspect_a_log_is_known_and_the_missing_package_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("inspect_ai"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": {}, "samples": []}))
    assert detect_format(path) == "inspect"
    with pytest.raises(DependencyError, match=r"atlas-tuning\[inspect\]"):
        read_file("inspect", path)


def test_a_text_that_many_messages_refer_to_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.eval", sample(), sample(id="two"))
    name = "attachment://" + "a" * 32
    with (
        zipfile.ZipFile(path) as whole,
        zipfile.ZipFile(tmp_path / "x.eval", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for member in whole.namelist():
            content = whole.read(member)
            if member.startswith("samples/one"):
                fields = json.loads(content)
                fields["attachments"] = {"a" * 32: "y" * (20 << 20)}
                fields["messages"] = [USER, *[DONE | {"content": name}] * 2_000]
                content = json.dumps(fields).encode()
            archive.writestr(member, content)
    assert (tmp_path / "x.eval").stat().st_size < 100_000
    started = time.process_time()
    refused, kept = read_file("inspect", tmp_path / "x.eval")
    assert time.process_time() - started < 20
    assert isinstance(refused, Problem)
    assert "a sample of 41," in refused.reason
    assert isinstance(kept, Trajectory)
