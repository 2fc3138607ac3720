"""What a test oracle reads in its prompt and writes in its answer, and how a selector asks it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atlas.records import Selection, Trajectory
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import ChatServer, Reply, completion, serve
from tests.run_folders import write_trajectories
from tests.selection.configs import new_selector, select_config

Answer = Callable[[dict[str, Any], int], Reply]


def num_allowed(body: dict[str, Any]) -> int:
    found = re.search(r"Name at most (\d+) of them", body["messages"][1]["content"])
    assert found
    return int(found[1])


def steps_shown(body: dict[str, Any]) -> range:
    """The steps that a question is about."""
    found = re.search(
        r"(?:numbered|its steps) (\d+) to (\d+)\. (?:Name|Judge|Label)",
        body["messages"][1]["content"],
    )
    assert found
    return range(int(found[1]), int(found[2]) + 1)


def answer_of(indices: Iterable[int], kind: str = "critical_action", **fields: Any) -> str:
    steps = [
        {"index": index, "kind": kind, "reason": f"because of {index}", "confidence": 0.5, **fields}
        for index in indices
    ]
    return json.dumps({"plan": "go there, take it", "critical_steps": steps})


def labels_of(labels: dict[int, str]) -> str:
    return json.dumps(
        {
            "labels": [
                {"index": index, "label": label, "reason": ""} for index, label in labels.items()
            ]
        }
    )


def judge_answer(body: dict[str, Any]) -> str:
    """A good answer to either question: the first steps are critical; every third is a mistake."""
    if "Label each of them" in body["messages"][1]["content"]:
        return labels_of(
            {index: "mistake" if index % 3 == 2 else "good" for index in steps_shown(body)}
        )
    return answer_of(steps_shown(body)[: num_allowed(body)])


def good(body: dict[str, Any], number: int = 0) -> Reply:
    return completion(judge_answer(body))


def write_numbered(path: Path, count: int) -> Path:
    """A run of trajectories of five steps, each of which says its number."""
    thoughts = [f"I am number {number}." for number in range(count)]
    trajectories = [make_trajectory(5, f"t{number}", text) for number, text in enumerate(thoughts)]
    return write_trajectories(path, trajectories)


def number_in(body: dict[str, Any]) -> int:
    """The number that the trajectory in a question says."""
    return int(body["messages"][1]["content"].split("I am number ")[1].split(".")[0])


def ask_selector(
    name: str, trajectory: Trajectory, budget: int, answer: Answer, **settings: Any
) -> tuple[Selection, ChatServer]:
    """What a selector that asks a model selects when the server answers like that."""

    async def run(url: str) -> Selection:
        selector = new_selector(select_config(name, base_url=url, **settings))
        try:
            selection: Selection = await selector.select(trajectory, budget)
            return selection
        finally:
            await selector.close()

    with serve(answer) as server:
        return asyncio.run(run(server.url)), server
