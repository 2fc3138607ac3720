"""A trace of Langfuse: a generation for each call, with the whole history in each."""

from __future__ import annotations

import json
from typing import Any


def langfuse_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    history: list[dict[str, Any]] = [{"role": "system", "content": "Rules."}]
    observations = []
    for index, (seen, said) in enumerate(exchanges):
        history.append({"role": "user", "content": seen})
        answer = {"role": "assistant", "content": said}
        observations.append(
            {
                "id": f"o{index}",
                "traceId": f"trace-{number}",
                "type": "GENERATION",
                "name": "chat",
                "startTime": f"2026-01-01T00:00:{index:02}.000Z",
                "input": json.dumps(history),
                "output": json.dumps(answer),
                "model": "small",
                "usageDetails": {"input": 3, "output": 1},
            }
        )
        history.append(answer)
    return {
        "id": f"trace-{number}",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "name": "run",
        "input": None,
        "output": None,
        "scores": [{"name": "resolved", "value": 1, "dataType": "BOOLEAN"}],
        "observations": observations,
    }
