"""Laws that the session logs of all coding agents keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.import_summary import ImportSummary
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format

Line = dict[str, Any]


def read(path: Path, *lines: Any) -> tuple[list[Trajectory], list[str], list[str]]:
    """The trajectories, the remarks and unread paths, and the reasons of problems."""
    path.write_text(
        "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    )
    with SourceFile(path) as source:
        items = list(FORMAT.make(Choice(detect_format(path))).read(source))
    made = [item for item in items if isinstance(item, TrajectoryLine)]
    trajectories = [Trajectory.model_validate_json(item.line) for item in made]
    notes = [text for item in made for text in (*(text for _, text in item.remarks), *item.unread)]
    return trajectories, notes, [item.reason for item in items if isinstance(item, Problem)]


def seen(trajectory: Trajectory) -> list[list[str]]:
    return [[each.content for each in step.observation] for step in trajectory.steps]


def said(trajectory: Trajectory) -> list[str]:
    return [step.response.content for step in trajectory.steps]


def claude(uuid: str, parent: str | None, kind: str, content: Any, **fields: Any) -> Line:
    message = {"role": kind, "content": content}
    if kind == "assistant":
        message["id"] = f"m-{uuid}"
    line = {"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": "s", "message": message}
    return {**line, **fields}


def queued(operation: str, content: str | None = None) -> Line:
    line = {"type": "queue-operation", "operation": operation, "sessionId": "s"}
    return line if content is None else {**line, "content": content}


def test_numbers_in_remarks_are_added_up() -> None:
    summary = ImportSummary()
    for remark in ("3 lines are left out", "37 lines are left out", "empty response"):
        summary.add_remark(remark)
    assert summary.as_dict()["notes"] == {"empty response": 1, "lines are left out": 40}


def test_queued_messages_that_no_line_holds_are_counted(tmp_path: Path) -> None:
    _, notes, problems = read(
        tmp_path / "x.jsonl",
        claude("a", None, "user", "Go."),
        queued("enqueue", "Sent on."),
        queued("dequeue"),
        claude("b", "a", "user", "Sent on."),
        queued("enqueue", "Lost."),
        queued("dequeue"),
        queued("enqueue", "Taken back."),
        queued("popAll"),
        claude("c", "b", "assistant", "Done."),
        queued("enqueue", "Still waiting."),
    )
    assert problems == []
    assert notes == [
        "3 queued messages are left out: the log does not say that the agent read them"
    ]


def test_a_session_that_another_one_was_forked_from_is_not_an_abandoned_branch(
    tmp_path: Path,
) -> None:
    lines = [
        claude("a", None, "user", "Go."),
        claude("b", "a", "assistant", "On."),
        claude("c", "b", "user", "Other.", sessionId="fork"),
        claude("d", "c", "assistant", "Otherwise.", sessionId="fork"),
        claude("e", "b", "user", "And?"),
        claude("f", "e", "assistant", "Done."),
    ]
    (first, fork), notes, problems = read(tmp_path / "x.jsonl", *lines)
    assert (said(first), said(fork)) == (["On.", "Done."], ["Otherwise."])
    assert [each.content for each in fork.prompt] == ["Go.", "On."]
    assert (fork.task.id, notes, problems) == ("fork", [], [])
    # One that only goes on is the same conversation.
    [whole], notes, _ = read(tmp_path / "x.jsonl", *lines[:4])
    assert said(whole) == ["On.", "Otherwise."]
    assert whole.prompt == ()


def test_a_result_stands_before_what_was_said_while_its_tool_ran(tmp_path: Path) -> None:
    call = {"type": "tool_use", "id": "c", "name": "Look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "A door."}
    attached = {"type": "queued_command", "prompt": "Hurry.", "commandMode": "prompt"}
    attachment = {"type": "attachment", "uuid": "q", "parentUuid": "b", "sessionId": "s"}
    [trajectory], _, _ = read(
        tmp_path / "x.jsonl",
        claude("a", None, "user", "Go."),
        claude("b", "a", "assistant", [call]),
        {**attachment, "attachment": attached},
        claude("c", "b", "user", [result]),
        claude("d", "c", "assistant", "Done."),
    )
    assert seen(trajectory) == [["Go."], ["A door.", "Hurry."]]


def test_a_context_without_an_answer_at_the_end_is_no_problem(tmp_path: Path) -> None:
    summary = claude("d", "c", "user", "What was.", isCompactSummary=True)
    boundary = {"type": "system", "subtype": "compact_boundary", "uuid": "c", "sessionId": "s"}
    lines = [claude("a", None, "user", "Go."), claude("b", "a", "assistant", "Done.")]
    for end in (
        [{**boundary, "parentUuid": None}, summary],
        [claude("e", "b", "user", "<command-name>/clear</command-name>")],
    ):
        [trajectory], notes, problems = read(tmp_path / "x.jsonl", *lines, *end)
        assert said(trajectory) == ["Done."]
        assert notes == ["1 messages of a context in which the agent did not act are left out"]
        assert problems == []


def test_media_and_citations_in_an_answer_refuse_no_log(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "AA"}}
    cited = {
        "type": "text",
        "text": "Cats.",
        "citations": [{"cited_text": "All cats.", "url": "u"}],
    }
    [trajectory], notes, problems = read(
        tmp_path / "x.jsonl",
        claude("a", None, "user", "Go."),
        claude("b", "a", "assistant", [image, cited]),
    )
    assert (said(trajectory), problems) == (["Cats."], [])
    assert notes == ["an image in an answer is left out"]


def codex(kind: str, **payload: Any) -> Line:
    return {"timestamp": "t", "type": kind, "payload": payload}


def test_a_new_field_of_an_item_of_codex_is_a_problem(tmp_path: Path) -> None:
    meta = codex("session_meta", id="s", cwd="/w")
    question = codex("response_item", type="message", role="user", content="Go.")
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    item = codex("response_item", **call, output={"words": "Never read."})
    answer = codex("response_item", type="message", role="assistant", content="Done.")
    _, _, problems = read(tmp_path / "x.jsonl", meta, question, item, answer)
    assert len(problems) == 1
    assert "'output.words' is not read" in problems[0]
    completed = {"id": "i", "type": "agent_message", "text": "Done.", "output": "Never read."}
    lines = [{"type": "thread.started", "thread_id": "t"}]
    lines += [{"type": "item.completed", "item": completed}]
    _, _, problems = read(tmp_path / "x.jsonl", *lines)
    assert len(problems) == 1
    assert "'output' is not read" in problems[0]


def test_an_answer_that_a_stream_of_codex_cuts_is_counted(tmp_path: Path) -> None:
    [trajectory], notes, problems = read(
        tmp_path / "x.jsonl",
        {"type": "thread.started", "thread_id": "t"},
        {"type": "item.completed", "item": {"id": "i", "type": "agent_message", "text": "On."}},
        {"type": "item.started", "item": {"id": "j", "type": "agent_message", "text": "And th"}},
        {"type": "turn.failed", "error": {"message": "Lost."}},
    )
    assert (said(trajectory), trajectory.outcome.status, problems) == (["On."], "error", [])
    assert "1 answers are left out: the stream ends within them" in notes


def test_sessions_whose_lines_alternate_are_read_whole(tmp_path: Path) -> None:
    def goose(session: str, role: str, text: str) -> Line:
        content = json.dumps([{"type": "text", "text": text}])
        return {"session_id": session, "role": role, "content_json": content, "created": 1}

    def opencode(session: str, kind: str, **part: Any) -> Line:
        return {"type": kind, "sessionID": session, "part": {"type": kind, **part}}

    tool = {"tool": "look", "callID": "c", "state": {"status": "completed", "input": {"at": 1}}}
    tool["state"] |= {"output": "A door."}
    for lines in (
        [
            *(goose(session, "user", "Go.") for session in ("a", "b")),
            *(goose(session, "assistant", "On.") for session in ("a", "b")),
            *(goose(session, "user", "A door.") for session in ("a", "b")),
            {"role": "damaged"},
            *(goose(session, "assistant", "Done.") for session in ("a", "b")),
        ],
        [
            *(opencode(session, "text", text="On.") for session in ("a", "b")),
            *(
                {**opencode(session, "tool_use"), "part": {"type": "tool", **tool}}
                for session in ("a", "b")
            ),
            {"type": "later_event", "sessionID": "a"},
            *(opencode(session, "text", text="Done.") for session in ("a", "b")),
        ],
    ):
        trajectories, _, _ = read(tmp_path / "x.jsonl", *lines)
        assert [each.task.id for each in trajectories] == ["a", "b"]
        for trajectory in trajectories:
            assert said(trajectory) == ["On.", "Done."]
            assert seen(trajectory)[1] == ["A door."]


def test_a_chat_of_gemini_that_is_resumed_in_its_file_is_one(tmp_path: Path) -> None:
    header = {"sessionId": "s", "projectHash": "p"}
    lines = [
        {"id": str(at), "timestamp": "t", "type": kind, "content": text}
        for at, (kind, text) in enumerate((("user", "Go."), ("gemini", "On."), ("user", "And?")))
    ]
    last = {**lines[1], "id": "4", "content": "Done."}
    [trajectory], _, _ = read(tmp_path / "x.jsonl", header, *lines[:2], header, lines[2], last)
    assert said(trajectory) == ["On.", "Done."]
    first, second = read(
        tmp_path / "x.jsonl", header, *lines[:2], {**header, "sessionId": "t"}, *lines[:2]
    )[0]
    assert (first.task.id, second.task.id) == ("s", "t")


def test_what_stands_at_the_end_of_a_log_of_qwen_code_is_reported(tmp_path: Path) -> None:
    def record(uuid: str, parent: str | None, kind: str, text: str, **fields: Any) -> Line:
        message = {"role": "model" if kind == "assistant" else "user", "parts": [{"text": text}]}
        line = {"uuid": uuid, "parentUuid": parent, "sessionId": "s", "type": kind}
        return {**line, **({"message": message} if kind != "system" else {}), **fields}

    lines = [record("a", None, "user", "Go."), record("b", "a", "assistant", "Done.")]
    unknown = record("c", "b", "system", "", subtype="later", systemPayload={"words": "Lost."})
    [_], notes, problems = read(tmp_path / "x.jsonl", *lines, unknown)
    assert (notes, problems) == (["payload.words"], [])
    history = [{"role": "user", "parts": [{"text": "What was."}]}]
    payload = {"compressedHistory": history}
    compression = record("c", "b", "system", "", subtype="chat_compression", systemPayload=payload)
    more = record("d", "c", "user", "And?")
    [trajectory], notes, problems = read(tmp_path / "x.jsonl", *lines, compression, more)
    assert (said(trajectory), problems) == (["Done."], [])
    assert notes == ["1 messages of a context in which the agent did not act are left out"]


def test_the_file_that_describes_a_sub_agent_is_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [claude("a", None, "user", "Go."), claude("b", "a", "assistant", "Done.")]
    read(folder / "agent-1.jsonl", *({**line, "isSidechain": True} for line in lines))
    described = {"agentType": "Explore", "description": "Look.", "toolUseId": "c"}
    (folder / "agent-1.meta.json").write_text(json.dumps(described))
    imported = import_trajectories(ImportConfig(paths=(str(folder),)), tmp_path / "out")
    assert (imported.summary["trajectories"], imported.summary["problems"]) == (1, 0)
