"""A user's rubric takes the place of the rubric by atlas; the form of the answer stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, RunError
from atlas.records import CRITICAL_KINDS
from atlas.selection.judging.prompt import FENCE
from atlas.selection.select_steps import select_steps
from tests.models.endpoints.chat_server import Reply, completion, serve
from tests.run_folders import selections_in
from tests.selection.configs import select_config
from tests.selection.oracle_answers import good, write_numbered

TEXT = 'Find the steps that a human expert would want to review. {"plain": "JSON"} is not touched.'
JUDGES = ("oracle", "rejection")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_numbered(tmp_path / "run", 2)


def judge(name: str, url: str, rubric: Path, **settings: Any) -> Any:
    return select_config(name, model="judge", base_url=url, rubric=str(rubric), **settings)


@pytest.mark.parametrize("name", JUDGES)
def test_the_prompt_has_the_users_text_then_the_form_and_the_fence(
    name: str, run: Path, tmp_path: Path
) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_text(f"\n{TEXT}\n")
    plain = select_config(name, model="judge", base_url="http://127.0.0.1:1/v1")
    with serve(good) as server:
        manifest = select_steps(judge(name, server.url, rubric), run, tmp_path / "out")
    sent = server.requests[0]["messages"][0]["content"]
    assert sent.startswith(f"{TEXT}\n\n")
    assert sent.endswith(FENCE)
    assert sent.count("Steps are numbered from 0") == 1
    if name == "oracle":
        assert all(kind in sent for kind in CRITICAL_KINDS)
    assert manifest.inputs["rubric"].path == "rubric.txt"
    assert "by the rubric rubric.txt" in manifest.summary["chosen_by"]["sentence"]
    digests = {one.prompt_digest for one in selections_in(tmp_path / "out")}
    assert digests == {manifest.inputs["prompt"].digest}
    with serve(good) as server:
        own = plain.model_copy(update={"selector": judge(name, server.url, rubric).selector})
        assert own.selector.settings.rubric is not None
        values = {"model": "judge", "base_url": server.url}
        by_atlas = select_steps(select_config(name, **values), run, tmp_path / "plain")
    assert by_atlas.inputs["prompt"].digest not in digests


@pytest.mark.parametrize("name", JUDGES)
def test_a_changed_rubric_is_another_run_and_a_moved_one_is_not(
    name: str, run: Path, tmp_path: Path
) -> None:
    rubric, moved = tmp_path / "rubric.txt", tmp_path / "moved.txt"
    rubric.write_text(TEXT)
    moved.write_text(TEXT)
    with serve(good) as server:
        select_steps(judge(name, server.url, rubric), run, tmp_path / "out")
        before = len(server.requests)
        select_steps(judge(name, server.url, moved), run, tmp_path / "out")
        moved.write_text(TEXT + " Or not.")
        with pytest.raises(RunError, match="input prompt"):
            select_steps(judge(name, server.url, moved), run, tmp_path / "out")
        assert len(server.requests) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters"),
        (b"  \n short \n", "has 5 characters"),
        (b"Find the steps in\n{trajectory} please", r"line 2: '\{trajectory\}' looks like a place"),
        (b"Find at most {{ budget }} steps of it", "looks like a placeholder"),
        (b"Find the steps.\n=====BEGIN TRAJECTORY=====", "line 2: it has the mark"),
        (b"Find the steps.\n\nAll \x1b[31mred ones", "line 3: it has a control character"),
        (b"Find the steps \xff of the agent", "is not UTF-8"),
        (b"Find the steps. " * 8_000, "has 127,999 characters, at most 100,000 fit"),
    ],
)
def test_a_rubric_that_cannot_be_used_is_refused_with_its_place(
    content: bytes, message: str, run: Path, tmp_path: Path
) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        select_steps(judge("oracle", "http://127.0.0.1:1/v1", rubric), run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_rubric_that_cannot_be_read_is_refused(name: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        select_steps(
            judge("oracle", "http://127.0.0.1:1/v1", tmp_path / name), run, tmp_path / "out"
        )


def test_the_small_judge_uses_the_rubric_too(run: Path, tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_text(TEXT)
    with serve(good) as server:
        small = {"model": "mini", "endpoint": {"base_url": server.url}}
        select_steps(judge("oracle", server.url, rubric, small=small), run, tmp_path / "out")
    rubrics = {
        body["model"]: body["messages"][0]["content"].startswith(TEXT) for body in server.requests
    }
    assert rubrics == {"mini": True, "judge": True}


BOTH_ANSWERS = json.dumps(
    {
        "plan": "p",
        "critical_steps": [
            {"index": 0, "kind": "critical_action", "reason": "r", "confidence": 0.5}
        ],
        "verdicts": [{"index": 0, "same": True}],
    }
)


@pytest.mark.parametrize("kind", ["oracle", "small", "agreement"])
def test_every_rubric_is_compared_by_content_before_a_finished_run_is_used(
    kind: str, run: Path, tmp_path: Path
) -> None:
    rubric = tmp_path / "rubric.txt"

    def config(url: str) -> Any:
        judge = {"model": "j", "endpoint": {"base_url": url}, "rubric": str(rubric)}
        other = {"model": "m", "endpoint": {"base_url": url}}
        if kind == "oracle":
            return select_config("oracle", **judge)
        if kind == "small":
            return select_config("oracle", **other, small=judge)
        player = {"name": "endpoint", "endpoint": {"base_url": url}}
        agreement = {"name": "judge", **judge}
        return select_config(
            "pivot", model="m", player=player, agreement=agreement, num_samples=2, min_variance=None
        )

    def answer(body: dict[str, Any], number: int) -> Reply:
        is_player = kind == "agreement" and body["model"] == "m"
        return completion("Action: sing" if is_player else BOTH_ANSWERS)

    with serve(answer) as server:
        rubric.write_text("Look for the steps that open a door.")
        manifest = select_steps(config(server.url), run, tmp_path / "out")
        assert "rubric.txt" in manifest.summary["chosen_by"]["sentence"]
        num_asked = len(server.requests)
        rubric.write_text("Look for the steps that close a door.")
        with pytest.raises(RunError, match=r"rubric: content .* there"):
            select_steps(config(server.url), run, tmp_path / "out")
        assert len(server.requests) == num_asked
