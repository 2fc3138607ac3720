"""What an OpenEnv server returns: an observation with reward and `done`, tools, their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, FiniteFloat, StrictBool, ValidationError

from atlas.environments.observation_text import json_text, part_of
from atlas.errors import EpisodeError


class Seen(BaseModel):
    """The data of one answer to reset or step."""

    observation: dict[str, Any]
    reward: FiniteFloat | None = None
    done: StrictBool = False
    metadata: dict[str, Any] | None = Field(default=None)

    @property
    def details(self) -> dict[str, Any]:
        """What a success rule may look at."""
        return {**self.observation, **(self.metadata or {})}

    def text(self, key: str | None) -> str:
        """What the agent sees: a part of the observation, its only text, or all of it as JSON.

        Raises:
            ConfigError: the observation lacks this part.
        """
        if key is not None:
            part = part_of(self.observation, key, "observation_key")
            return part if isinstance(part, str) else json_text(part)
        texts = [value for value in self.observation.values() if isinstance(value, str)]
        return texts[0] if len(texts) == 1 else json_text(self.observation)

    @property
    def result(self) -> tuple[str, bool]:
        """The text of a tool's result, and whether it is an error."""
        error = self.observation.get("error")
        if error:
            said = error.get("message") if isinstance(error, Mapping) else error
            return f"Error: {said}", True
        found = self.observation.get("result")
        if not isinstance(found, Mapping):
            return found if isinstance(found, str) else json_text(found), False
        parts = found.get("content")
        texts = [part.get("text") for part in parts or () if isinstance(part, Mapping)]
        is_text = bool(texts) and all(isinstance(text, str) for text in texts)
        is_error = bool(found.get("is_error") or found.get("isError"))
        return "\n".join(map(str, texts)) if is_text else json_text(found), is_error


def read_seen(data: Any) -> Seen:
    """An answer, checked.

    Raises:
        EpisodeError: it is not an observation.
    """
    try:
        return Seen.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise EpisodeError(
            f"the OpenEnv server sent {place} as {first['input']!r:.80}: {first['msg']}"
        ) from None


def read_tools(data: Any) -> tuple[dict[str, Any], ...]:
    """The schemas of the server's tools, in OpenAI's form.

    Raises:
        EpisodeError: the answer lists no tools.
    """
    listed = read_seen(data).observation.get("tools")
    if not isinstance(listed, list) or not listed:
        raise EpisodeError("the OpenEnv server lists no tools. Set actions to another value")
    tools = []
    for tool in listed:
        if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
            raise EpisodeError(f"the OpenEnv server lists {tool!r:.80}, expected a tool")
        function = {
            "name": tool["name"],
            "description": str(tool.get("description") or ""),
            "parameters": tool.get("input_schema") or tool.get("inputSchema") or {},
        }
        tools.append({"type": "function", "function": function})
    return tuple(tools)
