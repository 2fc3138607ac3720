"""What the lessons of a base model are: no conversation of an expert, the same ones from a seed."""

import ast
import sys
from pathlib import Path

import pytest

from atlas.environments.react import parse_action
from atlas.environments.textworld_express.game import PROGRAM
from atlas.errors import DependencyError

BASE = Path(__file__).parents[2] / "recipes" / "base"
sys.path.insert(0, str(BASE))

import lessons  # noqa: E402
from worlds.common import is_play  # noqa: E402

JAVA = "textworld-express"
WORLDS = [lessons.BABYAI, *lessons.MODULES]


def made(world: str, number: int = 6, seed: int = 3) -> list[list]:
    if world == JAVA:
        try:
            PROGRAM.check()
        except DependencyError as error:
            pytest.skip(str(error))
    return lessons._piece(world, number, seed)


@pytest.mark.parametrize("world", WORLDS)
def test_conversations_alternate_and_come_from_the_seed(world: str) -> None:
    conversations = made(world)
    for conversation in conversations:
        roles = [message.role for message in conversation]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]
        assert len(roles) >= 3
    assert conversations == made(world)
    assert conversations != made(world, seed=4)


@pytest.mark.parametrize("world", WORLDS)
def test_a_lesson_has_one_episode_whose_answers_have_an_action(world: str) -> None:
    conversations = made(world)
    episodes = [one for one in conversations if is_play(one)]
    assert len(episodes) == 6 < len(conversations)
    for episode in episodes:
        for message in episode[2::2]:
            assert parse_action(message.content) is not None


@pytest.mark.parametrize("path", sorted(BASE.rglob("*.py")), ids=lambda path: path.name)
def test_of_an_expert_only_phrases_and_numbers_are_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("expert"):
            assert [one.name for one in node.names if not one.name.isupper()] == []
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("expert", "plan", "solve")
