"""Any `gymnasium.Env` behind the interface of environments. Its `info` is never shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from atlas.environments.base import StepResult
from atlas.environments.gymnasium.actions import ActionWords
from atlas.environments.gymnasium.config import GymnasiumConfig
from atlas.environments.instruction import load_instruction
from atlas.environments.observation_text import drawing_text, json_text, part_of
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.environments.seed_ranges import iterate_tasks, seed_tasks
from atlas.environments.splits import SHARES, check_split, draw_tasks, split_of
from atlas.environments.success_rule import is_true
from atlas.errors import AtlasError, ConfigError, EpisodeError
from atlas.extras import require_extras
from atlas.lookup import look_up
from atlas.records import Message, Task

OF_RESET = "observation, info"
OF_STEP = "observation, reward, terminated, truncated, info"
# Tasks of a split whose first observations are compared, and how long that may take.
NUM_COMPARED = 10
COMPARING_SECONDS = 5.0


class GymnasiumEnvironment:
    """Any world of Gymnasium whose observations and actions can be written as text.

    The success rule is `outcome`; by default an episode is a success from a total reward of 1 on.

    Raises:
        DependencyError: gymnasium is not installed.
        ConfigError: the world cannot be made, or has actions without words.
    """

    Config = GymnasiumConfig

    def __init__(self, config: GymnasiumConfig) -> None:
        require_extras(config.needed_extras())
        if (config.id is None) == (config.target is None):
            raise ConfigError(
                "gymnasium: expected either id (an id of Gymnasium, such as FrozenLake-v1) or "
                "target (package.module:callable). Add one of them."
            )
        self._config = config
        self.name = config.name
        # A world may need arguments that only its splits give.
        self._kwargs = self._kwargs_of(next(iter(config.splits)))
        self._env: Any = _make(config, self._kwargs)
        self._words = ActionWords(self._env.action_space, config.actions)
        self._told_hint = self._words.hint
        form = f"\n\n{ANSWER_FORMAT}" if config.reply == "react" else ""
        self.prompt = load_instruction(
            config.instruction, f"Solve the task. {self._words.hint}{form}", f"{self.name}/"
        )
        self._num_turns = 0
        self._total = 0.0
        self._info: dict[str, Any] = {}

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        splits = self._config.splits
        if self._config.divide == "seed":
            return seed_tasks(self.name, splits, split, num_tasks, seed)
        check_split(self.name, split, splits)
        shares = {name: SHARES.get(name, SHARES["held_in_test"]) for name in splits}
        candidates = iterate_tasks(self.name, splits[split], split, seed)
        return draw_tasks(
            self.name,
            split,
            num_tasks,
            ((self.reset(task)[0].content, task) for task in candidates),
            lambda content: split_of(content, shares) == split,
        )

    def notes(self, split: str) -> Sequence[str]:
        """How the splits are divided, which the user has to judge by some first observations."""
        found = []
        if self._config.divide == "seed":
            found.append(
                f"{self.name}: the splits are divided by seed. Two seeds may give the same task; "
                "the world does not say so."
            )
        texts = self._first_texts(split) if self._config.divide == "seed" else []
        if (num_different := len(set(texts))) < len(texts):
            found.append(
                f"{self.name}: the first {len(texts)} tasks of '{split}' have only "
                f"{num_different} different first observations. Tasks may be the same. "
                "Set divide=observation."
            )
        known = set(self._first_texts("train") if split != "train" else ())
        if num_known := sum(text in known for text in texts):
            found.append(
                f"{self.name}: {num_known} of the first {len(texts)} tasks of '{split}' begin as "
                "training tasks do. Test tasks may be training tasks. Set divide=observation."
            )
        rule = self._config.outcome
        least = getattr(self._env.spec, "reward_threshold", None) if self._env else None
        if rule.by == "reward" and least is not None and least > rule.reward:
            found.append(
                f"{self.name}: an episode is a success from a total reward of {rule.reward:g} on "
                f"(outcome.reward); gymnasium calls the world solved from {least:g} on."
            )
        return found

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start the world with the task's seed, and with the arguments of its split."""
        kwargs = self._kwargs_of(task.split)
        if self._env is None or kwargs != self._kwargs:
            self.close()
            self._env, self._kwargs = _make(self._config, kwargs), kwargs
            self._words = ActionWords(self._env.action_space, self._config.actions)
        self._num_turns, self._total = 0, 0.0
        observation, info = self._parts(self._env.reset(seed=task.seed), "reset", OF_RESET)
        self._info = info or {}
        hint = self._words.hint
        # The actions of a split may be others than those that the prompt names.
        more = "" if hint == self._told_hint else f"\n\n{hint}"
        return user(f"{self._written(observation)}{more}")

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of the response."""
        if self._env is None:
            raise EpisodeError(f"{self.name}: step before reset")
        text = response.content
        action = parse_action(text) if self._config.reply == "react" else text.strip() or None
        self._num_turns += 1
        terminated = truncated = False
        reward = 0.0
        chosen = self._words.read(action) if action is not None else None
        is_invalid = chosen is None
        if action is None:
            seen = NO_ACTION if self._config.reply == "react" else "No action found."
        elif chosen is None:
            seen = f"'{action[:80]}' is not an action here. {self._words.hint}"
        else:
            returned = self._parts(self._env.step(chosen), "step", OF_STEP)
            observation, given, terminated, truncated, info = returned
            self._info = info or {}
            reward = float(given)
            self._total += reward
            seen = self._written(observation)
            is_invalid = is_true(self._info, self._config.invalid_key)
        success, score = self._config.outcome.judge(
            self._total,
            self._info,
            is_terminated=bool(terminated),
            is_over=bool(terminated or truncated),
        )
        is_late = truncated or self._num_turns >= self._config.max_steps
        return StepResult(
            observation=user(seen),
            reward=reward,
            terminated=bool(terminated),
            truncated=bool(is_late and not terminated),
            success=success,
            score=score,
            action=action,
            is_invalid=is_invalid,
        )

    def close(self) -> None:
        """Close the world."""
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _parts(self, returned: Any, method: str, expected: str) -> tuple[Any, ...]:
        """What a method of the world returned.

        Raises:
            ConfigError: it is not what Gymnasium expects, as in versions of Gym before 0.26.
        """
        if isinstance(returned, tuple) and len(returned) == expected.count(",") + 1:
            return returned
        found = f"{len(returned)} values" if isinstance(returned, tuple) else f"{returned!r:.60}"
        raise ConfigError(
            f"gymnasium: {method} of '{self.name}' returned {found}, expected ({expected}). A "
            "world for Gym before 0.26 needs a wrapper, such as shimmy."
        )

    def _first_texts(self, split: str) -> list[str]:
        """The first observations of some tasks; fewer if the world is slow or breaks."""
        seeds, texts = self._config.splits.get(split), []
        end = time.monotonic() + COMPARING_SECONDS
        if seeds is not None:
            for task in self.tasks(split, min(NUM_COMPARED, seeds.num_seeds), 0):
                try:
                    texts.append(self.reset(task)[0].content)
                except Exception:
                    # The episodes will say why.
                    break
                if time.monotonic() > end:
                    break
        return texts

    def _kwargs_of(self, split: str | None) -> dict[str, Any]:
        seeds = self._config.splits.get(split or "")
        return self._config.kwargs | (seeds.kwargs if seeds is not None else {})

    def _written(self, observation: Any) -> str:
        """What the agent sees.

        Raises:
            ConfigError: the settings do not fit the observations.
        """
        if self._config.observation == "render":
            drawing = self._env.render()
            if not isinstance(drawing, str):
                raise ConfigError(
                    f"gymnasium: observation=render: the drawing of '{self.name}' is a "
                    f"{type(drawing).__name__}, expected a text. Its render modes are: "
                    f"{', '.join(self._env.metadata.get('render_modes', ())) or 'none'}."
                )
            return drawing_text(drawing)
        part = part_of(observation, self._config.observation_key, "observation_key")
        if self._config.observation == "json":
            return json_text(part)
        if not isinstance(part, str):
            keys = f" with {', '.join(part)}" if isinstance(part, dict) else ""
            raise ConfigError(
                f"gymnasium: the observations of '{self.name}' are a {type(part).__name__}{keys}, "
                "expected a text. Name the part with observation_key, or set observation=json or "
                "observation=render."
            )
        return part


def _make(config: GymnasiumConfig, kwargs: dict[str, Any]) -> Any:
    """The world itself.

    Raises:
        ConfigError: it cannot be made.
    """
    import gymnasium

    if config.observation == "render":
        kwargs = {"render_mode": "ansi"} | kwargs
    what = f"gymnasium: '{config.id or config.target}'"
    try:
        if config.target is None:
            env = gymnasium.make(config.id, disable_env_checker=True, **kwargs)
        else:
            env = look_up("target", config.target, {})(**kwargs)
    except AtlasError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what} cannot be made: {said}") from error
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(f"{what} is a {type(env).__name__}, expected a gymnasium.Env.")
    return env
