"""Wordle in the wording of AgentGym and LMRL-Gym: guess a word of five letters in six guesses.

Score and success: 1 when the word is found (reward above 0.99 in AgentGym's filter), else 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import Expert, StepResult
from atlas.environments.paper.recorded import prompt_and_rules
from atlas.environments.paper.responses import read_rest_as_action
from atlas.environments.paper.wordle.config import WordleConfig
from atlas.environments.paper.wordle.game import Wordle
from atlas.environments.paper.wordle.tasks import FENCED, PREFIX, WORLD, WordleTasks
from atlas.environments.react import ANSWER_FORMAT, user
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = f"""\
You play Wordle: find the hidden word of five letters in at most six guesses. Only the listed \
words are valid. Write the letters of a guess with blanks between them, for example "s t o n e". \
The answer has one letter for each of yours: g for a letter at its right place, y for one that is \
elsewhere in the word, b for one that is not in it.
{ANSWER_FORMAT}"""
FIRST = "Valid words: {words}.\nMake your first guess."
INVALID = "invalid word"


class WordleEnvironment:
    """Wordle with a list of valid words: AgentGym's games, and generated ones."""

    Config = WordleConfig
    in_process = True
    name = WORLD

    def __init__(self, config: WordleConfig) -> None:
        self.prompt, self._rules = prompt_and_rules(config.instruction, INSTRUCTION, PREFIX)
        self.max_steps = config.max_steps
        self.num_turns = 0
        self.task_id = ""
        self._tasks = WordleTasks(config)
        self._expert_config = config.expert
        self._game: Wordle | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split."""
        return self._tasks.draw(split, num_tasks, seed)

    def notes(self, split: str) -> Sequence[str]:
        """What to know of a split of the paper."""
        return self._tasks.notes(split)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start the game of `task`; the first observation lists the valid words."""
        self._game = self._tasks.game_of(task)
        self.task_id, self.num_turns = task.id, 0
        words = self._game.vocabulary
        if self._rules is None:
            return user(FIRST.format(words=", ".join(words)))
        return user(FENCED.sub(lambda _: "\n".join(words), self._rules, count=1))

    @property
    def game(self) -> Wordle:
        """The game of the episode."""
        if self._game is None:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        return self._game

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset; it knows the words and the answers."""
        from atlas.environments.paper.wordle.expert import WordleExpert

        return WordleExpert(self._expert_config, self, seed)

    def step(self, response: Message) -> StepResult:
        """Make the guess in the text of `response`."""
        game = self.game
        if game.is_over or self.num_turns >= self.max_steps:
            raise EpisodeError(f"{WORLD}: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        read = read_rest_as_action(response.content)
        answer = game.guess(read.text.replace(" ", ""))
        success = answer is not None and game.is_won
        return StepResult(
            observation=user(INVALID if answer is None else " ".join(answer) + "\n"),
            reward=float(success),
            terminated=game.is_over,
            truncated=not game.is_over and self.num_turns >= self.max_steps,
            success=success,
            score=float(success),
            action=read.found,
            is_invalid=answer is None,
        )

    def close(self) -> None:
        """Forget the game."""
        self._game = None
