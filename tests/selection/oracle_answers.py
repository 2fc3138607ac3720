"""What a test oracle reads in its prompt and writes in its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any


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
