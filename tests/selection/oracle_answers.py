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


def answer_of(indices: Iterable[int], kind: str = "critical_action", **fields: Any) -> str:
    steps = [{"index": index, "kind": kind, "reason": f"because of {index}", "confidence": 0.5, **fields} for index in indices]
    return json.dumps({"plan": "go there, take it", "critical_steps": steps})
