"""Text adventures that the user has, played by the Z-machine of the package jericho.

A task is a story and a seed for its random events; the stories are divided by the content of their
files. The first task of each story has the seed of its walkthrough. `paper_test` is every story
once, for those who have the games of AgentBoard.

Score: the points of the story as a share of its maximum, at the most 1. Success: jericho says that
the story is won; for a story that jericho does not know, that its closing line gives full points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.jericho.config import JerichoConfig
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.environments.splits import SEED_STRIDE, check_split, split_of, too_few
from atlas.environments.story_text import (
    NO_COMMAND,
    single_commands,
    story_command,
    story_words,
    unknown_stories_allowed,
)
from atlas.errors import ConfigError, EpisodeError
from atlas.extras import require_extras
from atlas.records import Message, Task
from atlas.store.record_files import file_digest

INSTRUCTION = f"""\
You play a text adventure, one command per turn, such as "look", "go north", "take lamp", \
"open door", "inventory". Explore, solve what you meet, and score points. {ANSWER_FORMAT}"""
PAPER_TEST = "paper_test"
SPLITS = ("train", "held_out_test", PAPER_TEST)
SHARES = {"train": 8, "held_out_test": 2}
PATTERN = "*.z[1-8]"
# One command a line, beside a story: its walkthrough, where jericho has none.
WALKTHROUGH = ".walkthrough.txt"
SEEDS = 1_000_000
HEADER_BYTES = 64
_ENDED = re.compile(r"\*\*\* .+ \*\*\*")
_POINTS = re.compile(r"scored (-?\d+) out of a possible (\d+)")
_REFUSED = re.compile(
    r"(?:that's not a verb|i don't (?:know|understand)|you can't see any such thing|"
    r"i only understood you|i didn't understand|you can't go that way|beg your pardon)",
    re.IGNORECASE,
)


class JerichoEnvironment:
    """Text adventures in story files that you have, such as Zork, through jericho."""

    Config = JerichoConfig
    in_process = True
    name = "jericho"

    def __init__(self, config: JerichoConfig) -> None:
        require_extras(("jericho",))
        self.prompt = load_instruction(config.instruction, INSTRUCTION, "jericho/")
        self.max_steps = config.max_steps
        self.num_turns = 0
        self.text = ""
        self._stories = _find_stories(config.games)
        self._game: Any = None
        self._task: Task | None = None
        self._is_over = False

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The stories of a split in turn, first with their own seeds, then with others."""
        check_split("jericho", split, SPLITS)
        names = [
            name
            for name, path in self._stories.items()
            if split in (PAPER_TEST, split_of(file_digest(path), SHARES))
        ]
        most = len(names) * (1 if split == PAPER_TEST else SEEDS)
        if num_tasks > most:
            raise too_few("jericho", split, num_tasks, most)
        tasks = []
        for index in range(num_tasks):
            round_, position = divmod(index, len(names))
            own = 0 if round_ == 0 else 1 + (seed * SEED_STRIDE + round_) % (SEEDS - 1)
            name = names[position]
            tasks.append(
                Task(
                    id=f"jericho/{name}/{own}",
                    environment="jericho",
                    group=name,
                    split=split,
                    seed=own,
                )
            )
        return tasks

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Begin the story of `task`, and return its opening."""
        if task.group not in self._stories or task.seed is None:
            raise EpisodeError(
                f"task '{task.id}' has story '{task.group}' and seed {task.seed}, expected a seed "
                f"and one of {', '.join(self._stories)}."
            )
        self._end_game()
        self._game = open_story(self._stories[task.group], task.seed)
        self._task, self.num_turns, self._is_over = task, 0, False
        opening, _ = self._game.reset()
        self.text = story_words(opening)
        return user(self.text)

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, which follows the walkthrough."""
        from atlas.environments.jericho.expert import WalkthroughExpert

        if self._task is None:
            raise EpisodeError("jericho: no episode has started. Call reset first.")
        story = self._stories[self._task.group]
        return WalkthroughExpert(self, read_walkthrough(story, self._game), self._task, seed)

    def step(self, response: Message) -> StepResult:
        """Carry out the command in the text of `response`."""
        if self._game is None or self._is_over or self.num_turns >= self.max_steps:
            raise EpisodeError("jericho: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        action = parse_action(response.content)
        command = None if action is None else story_command(action)
        said = ""
        if command is not None:
            said, _, _, _ = self._game.step(command)
            self.text = story_words(said) or "Nothing happens."
        else:
            self.text = NO_ACTION if action is None else NO_COMMAND
        self._is_over = bool(self._game.game_over() or self._game.victory())
        self._is_over = self._is_over or _ENDED.search(said) is not None
        points, most = self._points(said)
        score = min(1.0, max(0.0, points / most)) if most > 0 else 0.0
        success = bool(self._game.victory()) or (self._is_over and score >= 1)
        return StepResult(
            observation=user(self.text),
            reward=score,
            terminated=self._is_over,
            truncated=not self._is_over and self.num_turns >= self.max_steps,
            success=success,
            score=1.0 if success else score,
            action=action,
            is_invalid=command is None or _REFUSED.search(said) is not None,
        )

    def close(self) -> None:
        """End the story."""
        self._end_game()
        self._task = None

    def _points(self, said: str) -> tuple[int, int]:
        if self._game.is_fully_supported:
            return self._game.get_score(), self._game.get_max_score()
        found = _POINTS.search(" ".join(said.split()))
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def _end_game(self) -> None:
        game, self._game = self._game, None
        if game is not None:
            game.close()


def open_story(path: Path, seed: int) -> Any:
    """A story with the seed of its walkthrough (0, if jericho knows one), or another seed."""
    import jericho

    # The docs say how the points of a story that jericho does not know are read.
    with unknown_stories_allowed():
        game = jericho.FrotzEnv(str(path), seed=seed)
        if seed == 0 and game.is_fully_supported:
            # The seed that jericho has for its walkthrough.
            game.seed(None)
    return game


def read_walkthrough(path: Path, game: Any) -> list[str]:
    """The commands that solve a story: those in the file beside it, or jericho's own."""
    beside = path.with_name(f"{path.stem}{WALKTHROUGH}")
    lines: Sequence[str] | None = None
    if beside.is_file():
        lines = beside.read_text(encoding="utf-8").splitlines()
    elif game.is_fully_supported:
        lines = game.get_walkthrough()
    if lines is not None:
        return [command for line in lines for command in single_commands(line)]
    raise EpisodeError(
        f"jericho has no walkthrough of '{path.name}'. Write one, a command a line, to "
        f"{beside.name} in the same folder."
    )


def _find_stories(games: Path | None) -> dict[str, Path]:
    """The stories by the names of their files."""
    if games is None:
        raise ConfigError(
            "jericho: no story files. Give a file or a folder of .z3 to .z8 files with games=."
        )
    paths = [games] if games.is_file() else sorted(games.glob(PATTERN))
    if not paths:
        raise ConfigError(
            f"games={games}: no story files, expected a .z3 to .z8 file or a folder of them."
        )
    found: dict[str, Path] = {}
    for path in paths:
        if not _is_whole(path.read_bytes()):
            raise ConfigError(
                f"games={games}: '{path.name}' is not a whole story file (a Z-machine file of "
                "version 1 to 8). Take it out, or get it again."
            )
        if path.stem in found:
            raise ConfigError(
                f"games={games}: '{found[path.stem].name}' and '{path.name}' have one name. "
                "Rename one of them."
            )
        found[path.stem] = path
    return found


def _is_whole(story: bytes) -> bool:
    """Whether a story has the length in its header; the interpreter ends the process if not."""
    if len(story) < HEADER_BYTES or not 1 <= story[0] <= 8:
        return False
    # The oldest stories state no length. Checksums are wrong in some that can be played.
    unit = 2 if story[0] <= 3 else 4 if story[0] <= 5 else 8
    return unit * int.from_bytes(story[0x1A:0x1C], "big") <= len(story)
