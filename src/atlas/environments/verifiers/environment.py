"""An environment of verifiers (0.3, `MultiTurnEnv` and `ToolEnv`) behind our interface.

The rows of its data are tasks, the messages of `env_response` are observations, and its rubric
judges the end.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from atlas.environments.base import StepResult
from atlas.environments.experts import stream
from atlas.environments.react import user
from atlas.environments.splits import check_split, take_tasks
from atlas.environments.verifiers.config import VerifiersWorldConfig
from atlas.environments.verifiers.rewards import watch_rewards
from atlas.environments.verifiers.rollout import Ended, LoopThread, Rollout
from atlas.errors import AtlasError, ConfigError, EpisodeError
from atlas.extras import require_extras
from atlas.lookup import look_up
from atlas.records import Message, Task, ToolCall

# Stop conditions of verifiers that are limits.
LIMITS = ("max_turns_reached", "timeout_reached", "max_total_completion_tokens_reached")
SPLITS = ("train", "held_in_test")


class VerifiersEnvironment:
    """An environment of verifiers: multi-turn or with tools, judged by its rubric.

    Raises:
        DependencyError: verifiers is not installed.
        ConfigError: the environment cannot be made, or has no multi-turn rollout.
    """

    Config = VerifiersWorldConfig
    prompt: tuple[Message, ...] = ()

    def __init__(self, config: VerifiersWorldConfig) -> None:
        require_extras(config.needed_extras())
        if (config.id is None) == (config.target is None):
            raise ConfigError(
                "verifiers: expected either id (an installed environment) or target "
                "(package.module:callable). Add one of them."
            )
        self._config = config
        self.name = config.name
        self._env = _make(config)
        watch_rewards(self._env.rubric)
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._thread: LoopThread | None = None
        self._rollout: Rollout | None = None
        self._num_turns = 0
        # What the model was asked last.
        self._asked: Sequence[Any] = ()

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """The tools of the environment."""
        return tuple(
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in self._env.tool_defs or ()
        )

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        check_split(self.name, split, SPLITS)
        rows = self._rows_of(split)
        order = list(range(len(rows)))
        stream("tasks", self.name, split, seed).shuffle(order)
        return [
            Task(
                id=f"{self.name}/{split}/{row}",
                environment=self.name,
                group=str(rows[row].get("task") or ""),
                split=split,
                seed=row,
            )
            for row in take_tasks(self.name, split, num_tasks, order)
        ]

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start the rollout of the task's row."""
        self._leave()
        rows = self._rows_of(task.split or "train")
        if task.seed is None or task.seed >= len(rows):
            raise EpisodeError(f"task '{task.id}' names no row of the data")
        self._thread = self._thread or LoopThread()
        self._rollout = Rollout(self._env, rows[task.seed], self._thread)
        turn = self._rollout.next_turn()
        if isinstance(turn, Ended):
            raise EpisodeError(f"the rollout ended before its first turn: {turn.error!r:.200}")
        self._asked, self._num_turns = turn.prompt, 0
        return tuple(map(_read_message, turn.prompt))

    def step(self, response: Message) -> StepResult:
        """Give the response to the rollout, and read what it answers."""
        if self._rollout is None:
            raise EpisodeError(f"{self.name}: step without an episode")
        self._num_turns += 1
        is_empty = not response.content.strip() and not response.tool_calls
        action = None if is_empty else _action_of(response)
        self._rollout.answer(_response(response))
        turn = self._rollout.next_turn()
        if isinstance(turn, Ended):
            return self._end(turn, action, is_invalid=is_empty or self._is_unknown(response))
        num_asked = len(self._asked)
        if list(turn.prompt[:num_asked]) != list(self._asked) or len(turn.prompt) <= num_asked:
            raise EpisodeError("the environment edits the history, which cannot be recorded")
        observation = tuple(map(_read_message, turn.prompt[num_asked + 1 :]))
        self._asked = turn.prompt
        is_late = self._num_turns >= self._config.max_steps
        if is_late:
            self._leave()
        return StepResult(
            observation=observation or user("No answer."),
            reward=0.0,
            terminated=False,
            truncated=is_late,
            success=False,
            score=0.0,
            action=action,
            is_invalid=is_empty or self._is_unknown(response) or self._is_refused(observation),
        )

    def close(self) -> None:
        """Leave the rollout, end its thread, and let the environment free what it holds."""
        self._leave()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close(self._env._teardown())

    def _end(self, turn: Ended, action: str | None, *, is_invalid: bool) -> StepResult:
        self._rollout = None
        if isinstance(turn.error, EpisodeError):
            raise turn.error
        if turn.error is not None:
            raise EpisodeError(f"{type(turn.error).__name__}: {turn.error}") from turn.error
        state = turn.state
        reward = float(state["reward"] or 0.0)
        completion = [_read_message(one, is_answer=True) for one in state["completion"] or ()]
        answered = max(
            (at for at, one in enumerate(completion, 1) if one.role == "assistant"), default=0
        )
        observation = tuple(completion[answered:])
        is_limit = bool(state.get("is_truncated")) or state.get("stop_condition") in LIMITS
        details = {**(state["metrics"] or {}), "reward": min(max(reward, 0.0), 1.0)}
        success, score = self._config.outcome.judge(
            reward, details, is_terminated=not is_limit, is_over=True
        )
        return StepResult(
            observation=observation or user("The episode is over."),
            reward=reward,
            terminated=not is_limit,
            truncated=is_limit,
            success=success,
            score=score,
            action=action,
            is_invalid=is_invalid or self._is_refused(observation),
        )

    def _leave(self) -> None:
        rollout, self._rollout = self._rollout, None
        if rollout is not None:
            rollout.cancel()

    def _is_unknown(self, response: Message) -> bool:
        """Whether a call names no tool of the environment, or has unreadable arguments."""
        names = {tool["function"]["name"] for tool in self.tools}
        return any(
            call.name not in names or not _is_object(call.arguments) for call in response.tool_calls
        )

    def _is_refused(self, observation: Sequence[Message]) -> bool:
        refused = self._config.invalid_pattern
        return refused is not None and any(refused.search(one.content) for one in observation)

    def _rows_of(self, split: str) -> list[dict[str, Any]]:
        """The rows of a split; test rows that equal a training row are left out."""
        if split not in self._rows:
            train, test = _data_of(self._env)
            if (data := train if split == "train" else test) is None:
                field = "dataset" if split == "train" else "eval_dataset"
                raise ConfigError(
                    f"{self.name}: split '{split}' is empty, because the environment has no "
                    f"{field}. Choose the other split."
                )
            rows = data.to_list()
            if split != "train" and train is not None:
                known = {_content(row) for row in train.to_list()}
                rows = [row for row in rows if _content(row) not in known]
            self._rows[split] = rows
        return self._rows[split]


def _make(config: VerifiersWorldConfig) -> Any:
    """The environment itself.

    Raises:
        ConfigError: it cannot be made, or is of another kind.
    """
    import verifiers.legacy as verifiers
    from verifiers.legacy.envs import environment as module

    # Upstream takes over Ctrl-C in each constructor, which fails outside of the main thread.
    module.signal = SimpleNamespace(**{**vars(signal), "signal": lambda *_: None})
    what = f"verifiers: '{config.id or config.target}'"
    try:
        if config.target is None:
            env = verifiers.load_environment(config.id, **config.kwargs)
        else:
            env = look_up("target", config.target, {})(**config.kwargs)
    except AtlasError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what} cannot be made: {said}") from error
    if not isinstance(env, verifiers.MultiTurnEnv):
        raise ConfigError(f"{what} is a {type(env).__name__}, expected a verifiers.MultiTurnEnv.")
    return env


def _data_of(env: Any) -> tuple[Any, Any]:
    """The data for training and for evaluation; None for what the environment does not have.

    `get_dataset` and `get_eval_dataset` raise an error, or return the other, in that case.
    """
    env.build_dataset()
    env.build_eval_dataset()
    return env.dataset, env.eval_dataset


def _content(row: Mapping[str, Any]) -> str:
    shown = {key: row.get(key) for key in ("prompt", "answer", "info")}
    return json.dumps(shown, sort_keys=True, default=str)


def _read_message(message: Any, *, is_answer: bool = False) -> Message:
    """A message of verifiers.

    Raises:
        EpisodeError: it is an answer of a model among the observations, or holds more than text.
    """
    given = message if isinstance(message, Mapping) else message.model_dump()
    role, content = given["role"], given.get("content") or ""
    if role == "assistant" and not is_answer:
        raise EpisodeError("the prompt holds answers of a model (examples), which have no place")
    if not isinstance(content, str):
        if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
            raise EpisodeError(f"a message of role '{role}' holds more than text")
        content = "".join(part["text"] for part in content)
    return Message(role=role, content=content, tool_call_id=given.get("tool_call_id"))


def _response(response: Message) -> Any:
    """A response as verifiers gets it from a model."""
    from verifiers.legacy.types import Response, ResponseMessage
    from verifiers.legacy.types import ToolCall as VerifiersCall

    calls = [
        VerifiersCall(id=call.id or f"call_{place}", name=call.name, arguments=call.arguments)
        for place, call in enumerate(response.tool_calls)
    ]
    message = ResponseMessage(
        content=response.content,
        tool_calls=calls or None,
        finish_reason="tool_calls" if calls else "stop",
        is_truncated=False,
    )
    return Response(id="atlas", created=0, model="atlas", message=message)


def _action_of(response: Message) -> str:
    if not response.tool_calls:
        return response.content.strip()
    return "\n".join(map(_written, response.tool_calls))


def _written(call: ToolCall) -> str:
    return f"{call.name}({call.arguments})"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False
