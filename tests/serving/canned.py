"""The door with an instruction and a canned answer in its prompt, as in AgentGym's worlds."""

from __future__ import annotations

from atlas.records import Message
from tests.environments.push import PushEnvironment


class CannedEnvironment(PushEnvironment):
    """The door, after an instruction to which "OK." was answered."""

    prompt = (
        Message(role="user", content="Open the door."),
        Message(role="assistant", content="OK."),
    )
