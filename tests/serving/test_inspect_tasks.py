"""Environments as tasks of Inspect: real evaluations with a scripted model, read back by import."""

from __future__ import annotations

import gc
import json
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the inspect extra is not installed")

from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.registry import registry_params
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessageAssistant,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.tool import ToolCall as InspectCall
from inspect_ai.util import registry_info

import atlas
from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.environments.episode import start_episode
from atlas.kinds import Choice
from atlas.records import Message, Source
from atlas.serving.inspect_tasks import inspect_task
from tests.serving.closing import ClosingEnvironment

PUSH = "tests.environments.push:PushEnvironment"
TOOLS = "tests.environments.push:ToolPushEnvironment"
ROOT = Path(__file__).resolve().parents[2]
Answer = Callable[[list[Any]], ModelOutput]
# An evaluation of Inspect leaves streams of anyio to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What an evaluation left is collected here, not in the test of another file."""
    yield
    gc.collect()


def say(text: str, calls: list[InspectCall] | None = None, stop: str = "stop") -> ModelOutput:
    output = ModelOutput.from_content("mockllm/model", text)
    message = ChatMessageAssistant(content=text, tool_calls=calls, source="generate")
    output.choices[0].message = message
    output.choices[0].stop_reason = stop  # type: ignore[assignment]
    # Without it, mockllm counts tokens with an encoding that it downloads.
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


def run(out: Path, task: Any, answer: Answer, **more: Any) -> EvalLog:
    model = get_model(
        "mockllm/model", custom_outputs=lambda messages, *_: answer(messages), memoize=False
    )
    [log] = inspect_eval(task, model=model, log_dir=str(out), display="none", **more)
    assert log.status == "success", log.error
    return log


def test_success_and_score_are_those_of_the_world(tmp_path: Path) -> None:
    task = inspect_task(PUSH, {"split": "train", "episodes": 4})
    log = run(tmp_path, task, lambda _: say("push"))
    assert log.results is not None
    values = {score.name: score.metrics for score in log.results.scores}
    assert values["success"]["accuracy"].value == 1
    assert values["score"]["mean"].value == 1
    for sample in log.samples or ():
        told = (sample.scores or {})["success"].metadata or {}
        assert told["num_steps"] == int(str(sample.id).partition("/")[2]) + 1
        assert [message.role for message in sample.messages[:3]] == ["system", "user", "assistant"]


def test_a_step_limit_is_a_limit_and_a_broken_world_an_error_of_its_own_sample(
    tmp_path: Path,
) -> None:
    task = inspect_task(PUSH, {"split": "train", "episodes": 2, "max_steps": 3})
    said = {"push/0": "sing", "push/1": "crash"}
    asked: list[str] = []

    def answer(messages: list[Any]) -> ModelOutput:
        asked.append(messages[-1].text)
        return say(said[f"push/{0 if 'sing' in seen() else 1}"])

    def seen() -> set[str]:
        return {"sing"} if len(asked) <= 3 else {"crash"}

    log = run(tmp_path, task, answer, max_samples=1)
    first, second = log.samples or ()
    assert first.limit is not None
    assert (first.limit.type, first.limit.reason) == ("custom", "step limit")
    assert (first.scores or {})["success"].value == "I"
    assert second.error is not None
    assert "the floor gave way" in second.error.message


def test_tools_are_offered_called_and_answered(tmp_path: Path) -> None:
    task = inspect_task(TOOLS, {"split": "train", "episodes": 2})
    call = InspectCall(id="c1", function="push", arguments={"force": 1})
    wrong = InspectCall(id="c2", function="push", arguments={}, parse_error="not JSON")
    log = run(tmp_path, task, lambda messages: say("", [wrong if len(messages) == 2 else call]))
    for sample in log.samples or ():
        assert (sample.scores or {})["success"].value == "C"
        told = (sample.scores or {})["success"].metadata or {}
        assert told["num_invalid_steps"] == 1
        roles = [message.role for message in sample.messages]
        assert roles[:4] == ["system", "user", "assistant", "tool"]
        assert sample.messages[3].tool_call_id == "c2"


@pytest.mark.parametrize(
    ("stop", "limit", "error"),
    [("model_length", "no room left to answer", None), ("content_filter", None, "content_filter")],
)
def test_a_model_that_gives_no_answer_ends_the_sample_with_the_reason(
    tmp_path: Path, stop: str, limit: str | None, error: str | None
) -> None:
    task = inspect_task(PUSH, {"split": "train", "episodes": 1})
    log = run(tmp_path, task, lambda _: say("no", stop=stop))
    [sample] = log.samples or ()
    assert (sample.limit.reason if sample.limit else None) == limit
    assert (sample.error is not None) == (error is not None)
    if error and sample.error:
        assert error in sample.error.message


def test_a_limit_of_inspect_still_scores_the_episode_as_it_stands(tmp_path: Path) -> None:
    task = inspect_task(PUSH, {"split": "train", "episodes": 1, "max_steps": 50})
    log = run(tmp_path, task, lambda _: say("wait"), message_limit=7)
    [sample] = log.samples or ()
    assert sample.limit is not None
    assert sample.limit.type == "message"
    assert (sample.scores or {})["success"].explanation == "unfinished"


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        (PUSH, {"max_step": 3}, "unknown key 'environment.max_step'. Did you mean 'max_steps'"),
        (PUSH, {"split": "test"}, "split 'test' is not known"),
        (PUSH, {"episodes": 0}, "episodes"),
        ("babyay", {}, "environment 'babyay' is not known. Did you mean 'babyai'"),
        (PUSH, {"environment": "x"}, "leave out the argument 'environment'"),
        (PUSH, {"limits": 3, "limits.step_seconds": 2}, "'limits' is a value, not a section"),
        ("gymnasium", {"id": "Taxi-v4", "outcome.buy": 1}, "Did you mean 'by'"),
    ],
)
def test_a_wrong_argument_is_refused_before_the_evaluation(
    environment: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(PrerequisiteError) as refused:
        inspect_task(environment, arguments)
    assert words in str(refused.value)


def test_settings_in_settings_are_given_as_on_the_command_line() -> None:
    given = {"split": "train", "episodes": 2, "id": "Taxi-v4", "observation": "json"}
    task = inspect_task("gymnasium", {**given, "outcome.reward": 8, "limits.step_seconds": 5})
    told = registry_params(task.solver)
    assert told["settings"]["outcome"]["reward"] == 8
    assert told["limits"]["step_seconds"] == 5


def test_every_row_of_the_table_is_a_task_under_the_name_of_the_package() -> None:
    from inspect_ai._util.registry import registry_lookup

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["inspect_ai"] == {"atlas": "atlas.serving.inspect_tasks"}
    for name in (*ENVIRONMENTS, "environment"):
        found = registry_lookup("task", f"atlas/{name}")
        assert found is not None, name
        assert registry_info(found).name == f"atlas/{name}"


def test_a_log_of_babyai_is_read_back_as_the_episodes_that_were_played(tmp_path: Path) -> None:
    pytest.importorskip("minigrid", reason="the babyai extra is not installed")
    world = ENVIRONMENT.make(Choice("babyai"))
    played: dict[str, Any] = {}
    answers: dict[str, list[Message]] = {}
    for task in world.tasks("held_in_test", 3, 0):
        [first] = world.reset(task)
        expert, said, over = world.expert(0), [], False
        while not over:
            said.append(expert.respond().response)
            result = world.step(said[-1])
            over = result.terminated or result.truncated
        answers[first.content] = said
        played[task.id] = start_episode(world, task, Source(name="x"), None, said).trajectory

    def answer(messages: list[Any]) -> ModelOutput:
        first = next(message.text for message in messages if message.role == "user")
        number = sum(message.role == "assistant" for message in messages)
        return say(answers[first][number].content)

    log = run(tmp_path / "logs", inspect_task("babyai", {"episodes": 3}), answer)
    config = atlas.ImportConfig.model_validate({"paths": [log.location], "format": "inspect"})
    atlas.import_trajectories(config, tmp_path / "read")
    read = list(atlas.read_trajectories(tmp_path / "read"))
    assert {one.task.id for one in read} == set(played)
    for one in read:
        own = played[one.task.id]
        assert [m.content for m in one.messages] == [m.content for m in own.messages]
        assert [s.response.content for s in one.steps] == [s.response.content for s in own.steps]
        assert one.prompt == own.prompt
        assert one.task == own.task
        assert one.outcome.status == own.outcome.status == "success"
        assert one.outcome.score == pytest.approx(own.outcome.score)
        told = one.source.details["metadata"]
        assert (told["split"], told["seed"]) == (own.task.split, own.task.seed)
    notes = tmp_path / "read" / "notes.jsonl"
    assert not notes.exists() or not [json.loads(line) for line in notes.read_text().splitlines()]


def test_a_canned_answer_of_the_prompt_is_no_step_of_the_model(tmp_path: Path) -> None:
    task = inspect_task("tests.serving.canned:CannedEnvironment", {"split": "train", "episodes": 2})
    log = run(tmp_path / "logs", task, lambda _: say("push"))
    config = atlas.ImportConfig.model_validate({"paths": [log.location], "format": "inspect"})
    atlas.import_trajectories(config, tmp_path / "read")
    for one in atlas.read_trajectories(tmp_path / "read"):
        assert [message.content for message in one.prompt] == ["Open the door.", "OK."]
        assert {step.response.content for step in one.steps} == {"push"}
        assert one.outcome.status == "success"


def test_a_time_limit_of_inspect_closes_the_world(tmp_path: Path) -> None:
    def answer(_: list[Any]) -> ModelOutput:
        time.sleep(0.2)
        return say("wait")

    ClosingEnvironment.num_open = 0
    task = inspect_task(
        "tests.serving.closing:ClosingEnvironment",
        {"split": "train", "episodes": 2, "max_steps": 50},
    )
    log = run(tmp_path, task, answer, time_limit=1)
    assert [sample.limit and sample.limit.type for sample in log.samples or ()] == ["time"] * 2
    assert ClosingEnvironment.num_open == 0


def test_an_observation_over_the_message_limit_still_counts_its_step(tmp_path: Path) -> None:
    task = inspect_task(PUSH, {"split": "train", "episodes": 1})
    log = run(tmp_path, task, lambda _: say("push"), message_limit=3)
    [sample] = log.samples or ()
    told = (sample.scores or {})["success"]
    assert (told.value, told.explanation) == ("C", "success")
