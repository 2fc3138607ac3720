"""No format writes a line that no reader of records takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.trajectory_lines import MAX_LEVELS, TrajectoryLine, line_of
from tests.conformance.test_formats import EXAMPLES, GOOD
from tests.source_files import read_file


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"properties": value}
    return value


@pytest.mark.parametrize("levels", [60, MAX_LEVELS - 10, MAX_LEVELS + 1, 150, 190, 240])
@pytest.mark.parametrize("name", ["openai", "sharegpt", "verifiers", "nebius"])
def test_deep_tool_schemas_are_read_again_or_a_problem(
    name: str, levels: int, tmp_path: Path
) -> None:
    key = "tool_defs" if name == "verifiers" else "tools"
    schema = {"type": "function", "function": {"name": "act", "parameters": nested(levels)}}
    path = tmp_path / "row.jsonl"
    path.write_text(json.dumps({**EXAMPLES[name](GOOD, 0), key: [schema]}))
    (made,) = read_file(name, path)
    if levels < MAX_LEVELS:
        assert isinstance(made, Trajectory)
        assert made.tools
        assert Trajectory.model_validate_json(line_of(made).line) == made
    else:
        assert isinstance(made, Problem)
        assert "nested too deeply" in made.reason


@pytest.mark.parametrize("field", ["tools", "details"])
def test_a_record_at_the_limit_is_written_and_one_above_it_is_not(
    field: str, tmp_path: Path
) -> None:
    path = tmp_path / "row.jsonl"
    path.write_text(json.dumps(EXAMPLES["openai"](GOOD, 0)))
    (made,) = read_file("openai", path)
    assert isinstance(made, Trajectory)

    def with_levels(levels: int) -> Trajectory:
        if field == "tools":
            return made.model_copy(update={"tools": (nested(levels - 1),)})
        return made.model_copy(
            update={"source": made.source.model_copy(update={"details": nested(levels)})}
        )

    line = line_of(with_levels(MAX_LEVELS))
    assert isinstance(line, TrajectoryLine)
    assert Trajectory.model_validate_json(line.line) == with_levels(MAX_LEVELS)
    for levels in (MAX_LEVELS + 1, 300, 900):
        with pytest.raises(RecursionError, match="nested too deeply"):
            line_of(with_levels(levels))
    # Whole numbers beyond 64 bits are written in another way.
    long = with_levels(MAX_LEVELS + 1)
    details = {**long.source.details, "number": 10**30}
    source = long.source.model_copy(update={"details": details})
    if field == "details":
        with pytest.raises(RecursionError, match="nested too deeply"):
            line_of(long.model_copy(update={"source": source}))
