"""The tasks of Wordle: AgentGym's games, and generated ones.

An item number of AgentGym is a seed of the game over its vocabulary of 40 words. A generated game
has its own vocabulary, drawn from the words of atlas. The word to be guessed belongs to one split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from atlas.environments.experts import stream
from atlas.environments.paper.item_files import item_number
from atlas.environments.paper.items import PAPER_TEST, PAPER_TRAIN, PaperItems
from atlas.environments.paper.recorded import first_recorded_text
from atlas.environments.paper.wordle.config import WordleConfig
from atlas.environments.paper.wordle.game import NUM_LETTERS, Wordle
from atlas.environments.paper.wordle.words import WORDS
from atlas.environments.splits import SHARES, check_split, draw_tasks, split_of
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task

WORLD, PREFIX = "wordle", "lmrlgym_wordle_"
TEST_GAMES = tuple(range(25))
KNOWN_LEAK = "21 of the 25 tasks of paper_test are also in AgentTraj"
# The number of words of a generated game.
SIZES: dict[str, int] = {"train": 40, "held_in_test": 40, "held_out_test": 100}
# The list of words in the rules of AgentGym.
FENCED = re.compile(r"(?<=```\n).*?(?=\n```)", re.DOTALL)


class WordleTasks:
    """The tasks of one environment with its settings."""

    def __init__(self, config: WordleConfig) -> None:
        self._vocabulary_path = config.vocabulary
        self._vocabulary: tuple[str, ...] | None = None
        self._items = PaperItems(
            WORLD,
            PREFIX,
            test=TEST_GAMES,
            agenttraj=config.agenttraj,
            agenteval=config.agenteval,
            drop_leaked=config.drop_leaked,
            known_leak=KNOWN_LEAK,
        )

    def draw(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split."""
        check_split(WORLD, split, (*SIZES, PAPER_TRAIN, PAPER_TEST))
        if split in (PAPER_TRAIN, PAPER_TEST):
            self.paper_vocabulary()
            numbers = self._items.take(split, num_tasks)
            return [
                Task(
                    id=f"{PREFIX}{number}",
                    environment=WORLD,
                    group="paper",
                    split=split,
                    seed=number,
                )
                for number in numbers
            ]
        return draw_tasks(WORLD, split, num_tasks, _candidates(split, seed), lambda _: True)

    def notes(self, split: str) -> Sequence[str]:
        return self._items.notes(split)

    def game_of(self, task: Task) -> Wordle:
        """The game of a task: an item of AgentGym, or a size, a split and a seed.

        Raises:
            EpisodeError: the task has none of them.
        """
        if (number := item_number(task.id, PREFIX)) is not None:
            return Wordle(self.paper_vocabulary(), None, number)
        return generated_game(task)

    def paper_vocabulary(self) -> tuple[str, ...]:
        """The words of the paper's games.

        Raises:
            ConfigError: they are not given, or not readable.
        """
        if self._vocabulary is None:
            if self._vocabulary_path is None:
                raise ConfigError(
                    f"{WORLD}: the paper's games need AgentGym's list of 40 words, which is not "
                    "given. Set vocabulary=PATH; docs/environments/wordle.md says where it is."
                )
            self._vocabulary = read_vocabulary(self._vocabulary_path)
        return self._vocabulary


def read_vocabulary(path: str) -> tuple[str, ...]:
    """The words of a text file, a JSON list, or the rules in imported trajectories.

    Raises:
        ConfigError: it cannot be read, or has something else than words of five letters.
    """
    try:
        text = first_recorded_text(path, PREFIX, "vocabulary")
        if text is not None:
            found = FENCED.search(text)
            words = found.group().split() if found else []
        else:
            text = Path(path).read_text(encoding="utf-8").strip()
            words = json.loads(text) if text.startswith("[") else text.split()
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"vocabulary={path}: cannot be read: {error}.") from None
    wrong = [word for word in words if not re.fullmatch(rf"[a-z]{{{NUM_LETTERS}}}", str(word))]
    if wrong or not words:
        what = f"{wrong[0]!r:.40} cannot be guessed" if wrong else "it has no words"
        expected = f"expected words of {NUM_LETTERS} small letters, one a line"
        raise ConfigError(f"vocabulary={path}: {what}, {expected}.")
    return tuple(words)


def generated_game(task: Task) -> Wordle:
    """The game of a generated task; its secret word is of its split."""
    if task.split not in SIZES or task.seed is None:
        raise EpisodeError(
            f"{WORLD}: task '{task.id}' has split '{task.split}' and seed {task.seed}, expected an "
            f"item id such as {PREFIX}3, or a seed and one of {', '.join(SIZES)}"
        )
    rng = stream("game", WORLD, task.split, task.seed)
    secret = rng.choice(secrets_of("train" if task.split == "train" else "held_in_test"))
    others = [word for word in WORDS if word != secret]
    vocabulary = [secret, *rng.sample(others, SIZES[task.split] - 1)]
    rng.shuffle(vocabulary)
    return Wordle(vocabulary, secret, None)


@cache
def secrets_of(share: str) -> tuple[str, ...]:
    """The words that are to be guessed in training, or in tests."""
    return tuple(word for word in WORDS if split_of(word, SHARES) == share)


def _candidates(split: str, seed: int) -> Iterator[tuple[str, Task]]:
    """(vocabulary, task): two vocabularies are never the same list."""
    number = 0
    while True:
        own_seed = seed * 1_000_003 + number
        task = Task(
            id=f"{WORLD}/{split}/{own_seed}",
            environment=WORLD,
            group=f"{SIZES[split]} words",
            split=split,
            seed=own_seed,
        )
        yield " ".join(generated_game(task).vocabulary), task
        number += 1
