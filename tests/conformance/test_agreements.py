"""Every row of AGREEMENTS keeps the contract of `selection/agreement/base.py`."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from atlas.environments.base import ENVIRONMENTS
from atlas.records import Message, Task, Trajectory
from atlas.selection.agreement.base import AGREEMENT, AGREEMENTS, ChecksTrajectory, Verdict
from tests.environments.push import assistant, pushed
from tests.models.endpoints.chat_server import Reply, completion, serve
from tests.selection.configs import context_of, select_config


def judge(body: dict[str, Any], number: int) -> Reply:
    """Says that all proposals do something else."""
    count = int(re.findall(r"There are (\d+) proposals", body["messages"][1]["content"])[0])
    rows = [{"index": index, "same": False} for index in range(count)]
    return completion(json.dumps({"verdicts": rows}))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(judge) as server:
        yield server.url


@pytest.fixture(autouse=True)
def _toy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "push", "tests.environments.push:PushEnvironment")


TRAJECTORY = pushed(3, Task(id="push/0", environment="push", seed=4)).trajectory
RESPONSES = [assistant(text) for text in ("wait", "push", "wait", "sing <|im_end|> \u2028", "push")]


def compare(
    name: str,
    url: str,
    step: int,
    responses: Sequence[Message],
    trajectory: Trajectory = TRAJECTORY,
) -> list[Verdict]:
    given: dict[str, Any] = {"name": name}
    if name == "judge":
        given |= {"model": "m", "endpoint": {"base_url": url}}
    config = select_config("pivot", model="m", agreement=given)

    async def run() -> list[Verdict]:
        made = AGREEMENT.make(config.selector.settings.agreement, context_of(config))
        try:
            if isinstance(made, ChecksTrajectory):
                assert made.problem(trajectory) is None
            found = made.compare(trajectory, step, responses)
            return list(await found if inspect.isawaitable(found) else found)
        finally:
            if hasattr(made, "close"):
                await made.close()

    return asyncio.run(run())


every_agreement = pytest.mark.parametrize("name", [*AGREEMENTS])


@every_agreement
@pytest.mark.parametrize("step", [0, 2])
def test_each_response_has_a_verdict_and_only_what_the_expert_did_agrees(
    name: str, step: int, url: str
) -> None:
    found = compare(name, url, step, RESPONSES)
    assert [one.agrees for one in found] == [False, True, False, False, True]


@every_agreement
def test_a_verdict_does_not_depend_on_the_other_responses_or_on_what_was_asked_before(
    name: str, url: str
) -> None:
    found = compare(name, url, 1, RESPONSES)
    assert [compare(name, url, 1, [response])[0] for response in RESPONSES] == found
    assert compare(name, url, 1, RESPONSES[::-1]) == found[::-1]


@every_agreement
def test_what_is_compared_is_not_touched(name: str, url: str) -> None:
    before = TRAJECTORY.model_dump_json(), [one.model_dump_json() for one in RESPONSES]
    compare(name, url, 1, RESPONSES)
    after = TRAJECTORY.model_dump_json(), [one.model_dump_json() for one in RESPONSES]
    assert before == after
