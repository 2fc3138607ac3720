"""Reads tool schemas from a file, for trajectories whose logs hold none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError
from atlas.records import Trajectory

TOOLS_HELP = (
    "a JSON file with a list of tool schemas, for trajectories that came without any "
    "(docs/chat-templates.md)"
)
EXPECTED = (
    'Expected a list of schemas such as [{"type": "function", "function": {"name": "look", '
    '"description": "Look around.", "parameters": {"type": "object", "properties": {}}}}].'
)


def read_tools(path: str | None) -> tuple[dict[str, Any], ...]:
    """The schemas in a file; none without a file.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    if path is None:
        return ()
    try:
        tools = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"tools file {path} does not exist. Check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"tools file {path} cannot be read: {error}. {EXPECTED}") from None
    if not isinstance(tools, list) or not tools:
        raise ConfigError(f"tools file {path} holds no list of schemas. {EXPECTED}")
    for number, tool in enumerate(tools):
        inner = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise ConfigError(f"tools file {path}, entry {number} has no name. {EXPECTED}")
    return tuple(tools)


def with_tools(trajectory: Trajectory, tools: tuple[dict[str, Any], ...]) -> Trajectory:
    """The trajectory with these schemas, unless it has its own."""
    if trajectory.tools or not tools:
        return trajectory
    return trajectory.model_copy(update={"tools": tools})
