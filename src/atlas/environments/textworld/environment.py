"""TextWorld's own challenges as a text environment: collect a coin, hunt a treasure, cook.

The first observation is the objective and the first room. Score: the game's points as a share of
its maximum; success: the game is won. Every response counts as one turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.environments.splits import check_split, draw_tasks, kinds_in_turn, split_of
from atlas.environments.story_text import (
    NO_COMMAND,
    story_command,
    story_words,
    unknown_stories_allowed,
)
from atlas.environments.textworld.config import TextWorldConfig
from atlas.errors import EpisodeError
from atlas.extras import require_extras
from atlas.records import Message, Task

INSTRUCTION = f"""\
You play a text game: read the objective and reach it, one command per turn, such as "go north", \
"look", "inventory", "examine <thing>", "take <thing> from <place>", "put <thing> on <place>", \
"open <thing>", "unlock <thing> with <key>", "cook <thing> with <stove>", "eat <thing>". \
{ANSWER_FORMAT}"""
TRAINED = ("coin", "treasure", "cooking")
HELD_OUT = ("coin-far", "treasure-doors", "cooking-heat")
KINDS = {"train": TRAINED, "held_in_test": TRAINED, "held_out_test": HELD_OUT}


class TextWorldEnvironment:
    """TextWorld: generated text games in which one finds, unlocks, collects and cooks things."""

    Config = TextWorldConfig
    name = "textworld"

    def __init__(self, config: TextWorldConfig) -> None:
        require_extras(("textworld",))
        self.prompt = load_instruction(config.instruction, INSTRUCTION, "textworld/")
        self.max_steps = config.max_steps
        self.num_turns = 0
        self.state: Any = None
        self.text = ""
        self._config = config
        self._folder: Any = None
        self._game: Any = None
        self._task: Task | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split, one of each kind in turn; objective and solution decide."""
        check_split("textworld", split, KINDS)
        wanted = "train" if split == "train" else "held_in_test"
        candidates = self._candidates(split, seed)
        return draw_tasks(
            "textworld", split, num_tasks, candidates, lambda content: split_of(content) == wanted
        )

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Begin the game of `task`, and return its objective and the first room."""
        import textworld

        if task.seed is None or task.group not in (*TRAINED, *HELD_OUT):
            raise EpisodeError(
                f"task '{task.id}' has kind '{task.group}' and seed {task.seed}, expected a seed "
                f"and one of {', '.join((*TRAINED, *HELD_OUT))}."
            )
        path = self._games.path(task.group, task.seed)
        self._end_game()
        asked = textworld.EnvInfos(
            admissible_commands=True,
            policy_commands=True,
            last_action=True,
            won=True,
            lost=True,
            score=True,
            max_score=True,
            objective=True,
            description=True,
        )
        with unknown_stories_allowed():
            self._game = textworld.start(str(path), asked)
            self.state = self._game.reset()
        self._task, self.num_turns = task, 0
        self.text = f"{story_words(self.state.objective)}\n\n{story_words(self.state.description)}"
        return user(self.text)

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, which follows TextWorld's solution."""
        from atlas.environments.textworld.expert import TextWorldExpert

        if self._task is None:
            raise EpisodeError("textworld: no episode has started. Call reset first.")
        return TextWorldExpert(self._config.expert, self, self._task, seed)

    def step(self, response: Message) -> StepResult:
        """Carry out the command in the text of `response`."""
        if self._game is None or self._is_over or self.num_turns >= self.max_steps:
            raise EpisodeError("textworld: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        action = parse_action(response.content)
        command = None if action is None else story_command(action)
        is_invalid = True
        if command is None:
            self.text = NO_ACTION if action is None else NO_COMMAND
        else:
            known = self.state.admissible_commands or ()
            self.state, _, _ = self._game.step(command)
            is_invalid = command not in known and self.state.last_action is None
            self.text = story_words(self.state.feedback) or "Nothing happens."
        success = bool(self.state.won)
        score = 1.0 if success else (self.state.score or 0) / max(1, self.state.max_score or 1)
        return StepResult(
            observation=user(self.text),
            reward=score,
            terminated=self._is_over,
            truncated=not self._is_over and self.num_turns >= self.max_steps,
            success=success,
            score=min(1.0, max(0.0, score)),
            action=action,
            is_invalid=is_invalid,
        )

    def close(self) -> None:
        """End the game."""
        self._end_game()
        self._task = self.state = None

    @property
    def _is_over(self) -> bool:
        return bool(self.state.won or self.state.lost)

    @property
    def _games(self) -> Any:
        if self._folder is None:
            from atlas.environments.textworld.games import GameFolder

            self._folder = GameFolder(self._config.cache or Path(user_cache_path("atlas")))
        return self._folder

    def _candidates(self, split: str, seed: int) -> Iterator[tuple[str, Task]]:
        for kind, own_seed in kinds_in_turn(KINDS[split], seed):
            if content := self._games.content(kind, own_seed):
                task = Task(
                    id=f"textworld/{kind}/{own_seed}",
                    environment="textworld",
                    group=kind,
                    split=split,
                    seed=own_seed,
                )
                yield content, task

    def _end_game(self) -> None:
        game, self._game = self._game, None
        if game is not None:
            game.close()
