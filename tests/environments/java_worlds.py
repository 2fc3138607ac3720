"""What tests of worlds in Java need."""

from __future__ import annotations

import pytest

from atlas.environments.base import ENVIRONMENT, Environment
from atlas.environments.java.process import JavaProgram
from atlas.errors import DependencyError
from atlas.kinds import Choice
from atlas.records import Message


def require(program: JavaProgram) -> None:
    """Skip the test if the package or Java is missing."""
    try:
        program.check()
    except DependencyError as error:
        pytest.skip(str(error))


def make_world(name: str, **settings: object) -> Environment:
    """A world, or a skipped test."""
    try:
        made: Environment = ENVIRONMENT.make(Choice(name, settings))
    except DependencyError as error:
        pytest.skip(str(error))
    return made


def act(action: str) -> Message:
    """A response with this action."""
    return Message(role="assistant", content=f"Thought:\nI try it.\n\nAction:\n{action}")
