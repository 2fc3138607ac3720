"""Episodes of rLLM: `{"trajectories": [{"steps": [{"chat_completions": […], …}]}], "is_correct"}`.

A file of the episode logger, of `rllm eval`, or a trajectory by itself. A step is a model call with
the whole chat, whose last message is the answer; where it has no chat, `input` and `output` are the
call. A chat that does not continue an earlier one is a trajectory of its own. `is_correct` of the
episode decides about success.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from atlas.records import Outcome, OutcomeStatus, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import (
    UNKNOWN_ENVIRONMENT,
    details_of_row,
    is_id,
    is_number,
    read_reward,
    read_truth,
)
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, decode_nested, read_message, read_turns
from atlas.trajectories.formats.rollouts import (
    History,
    RewardConfig,
    histories_of,
    outcome_without_rule,
)
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

# Values of rLLM's TerminationReason; with the others, the environment or the agent ended it.
ENDINGS: dict[str, OutcomeStatus] = {
    "max_prompt_length_exceeded": "truncated",
    "max_response_length_exceeded": "truncated",
    "max_turns_exceeded": "truncated",
    "timeout": "truncated",
    "error": "error",
}
GOAL_KEYS = ("instruction", "question", "problem", "prompt", "goal")
_EPISODE_ID = re.compile(r"(.+):\d+")


class RLLMFormat(RowFormat):
    """Reads episodes and trajectories of rLLM, JSON or JSON Lines."""

    Config = RewardConfig
    config: RewardConfig
    metadata = (
        "task_hash",
        "metrics",
        "artifacts",
        "tool_calls_summary",
        *(
            f"{place}{key}"
            for place in ("", "trajectories.")
            for key in (
                "uid",
                "name",
                "task",
                "input",
                "output",
                "signals",
                "info",
                "metadata",
                "timing",
                "num_steps",
                "steps.uid",
                # What the environment gave and took; the model saw and wrote the chat.
                "steps.observation",
                "steps.action",
                "steps.done",
                "steps.mc_return",
                "steps.advantage",
                "steps.prompt_ids",
                "steps.response_ids",
                "steps.routing_matrices",
                "steps.weight_version",
                "steps.info",
                "steps.metadata",
                "steps.timing",
                "steps.model_output.prompt_ids",
                "steps.model_output.completion_ids",
                "steps.model_output.multi_modal_inputs",
                "steps.model_output.metrics",
                "steps.model_output.finish_reason",
            )
        ),
    )

    def matches(self, row: Any) -> bool:
        return is_rllm(row)

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        fields = object_or_empty(row.value)
        if not is_rllm(fields):
            raise BadRowError("no 'trajectories' with 'steps', expected an episode of rLLM")
        parts = list_of_objects(fields.get("trajectories", [fields]), "trajectories")
        if not parts:
            raise BadRowError("'trajectories' is empty, expected a list of them")
        num_yielded = 0
        for part in parts:
            if "trajectories" in fields and not part.get("steps"):
                # An agent of the episode that was not called.
                continue
            read = [*map(_read_step, *_steps(part))]
            for history in histories_of((step.context, [step.answer]) for step in read):
                yield self._trajectory(row, part, history, read, num_yielded)
                num_yielded += 1
        if not num_yielded:
            raise BadRowError("no trajectory of the episode has steps")

    def _trajectory(
        self,
        row: SourceRow,
        part: Mapping[str, Any],
        history: History,
        read: list[_Step],
        number: int,
    ) -> Reading:
        fields = row.value
        turns, start = history.parts()
        made, remarks = build_reading(
            turns,
            start,
            task=_task(fields, part, row.content_hash),
            digest=f"{row.content_hash}-{number}" if number else row.content_hash,
            outcome=self._outcome(fields, part),
            source=row.source("rllm", _details(fields, part)),
        )
        owners = [read[call] for call in history.calls_of_steps(start)]
        steps = [
            step.model_copy(
                update={
                    "action": step.action if owner.action is None else owner.action,
                    "reward": owner.reward,
                }
            )
            for step, owner in zip(made.steps, owners, strict=True)
        ]
        return Reading(made.model_copy(update={"steps": tuple(steps)}), remarks)

    def _outcome(self, fields: Mapping[str, Any], part: Mapping[str, Any]) -> Outcome:
        score = read_reward(part.get("reward"))
        is_correct = read_truth(fields.get("is_correct"), "is_correct")
        ending = text_or_none(fields.get("termination_reason")) or ""
        status = ENDINGS.get(ending)
        if is_correct:
            return Outcome(status="success", score=score, reason="is_correct of the episode")
        if status is not None:
            return Outcome(status=status, score=score, reason=f"ended by {ending}")
        if is_correct is not None:
            return Outcome(status="failure", score=score, reason="is_correct of the episode")
        return outcome_without_rule(score, self.config, "rLLM without is_correct")


def is_rllm(row: Any) -> bool:
    """Whether a row is an episode with trajectories of steps, or such a trajectory."""
    match row:
        case {"trajectories": [{"steps": list()}, *_]}:
            return True
        case {"steps": [{"chat_completions": list()}, *_]}:
            return "schema_version" not in row
    return False


@dataclass(frozen=True, slots=True)
class _Step:
    """A model call: what the model saw, its answer, and what was done with it."""

    context: list[Turn]
    answer: Turn
    action: str | None
    reward: float | None


def _steps(part: Mapping[str, Any]) -> tuple[list[dict[str, Any]], range]:
    steps = list_of_objects(part.get("steps"), "steps")
    return steps, range(len(steps))


def _read_step(step: Mapping[str, Any], index: int) -> _Step:
    chat = decode_nested(step.get("chat_completions")) or []
    if not isinstance(chat, list):
        raise BadRowError(f"step {index}: chat_completions is {chat!r:.60}, expected a list")
    try:
        turns = read_turns(chat) or _input(step)
    except BadRowError as error:
        raise BadRowError(f"step {index}: {error}", error.message) from None
    if turns and turns[-1].message.role == "assistant":
        *context, answer = turns
        answer = _whole_answer(answer, step)
    else:
        context, answer = turns, _answer(step, index)
    action, reward = step.get("action"), step.get("reward")
    inner = object_or_empty(action).get("action", action)
    return _Step(
        context,
        answer,
        action=str(inner) if inner != "" and (isinstance(inner, str) or is_number(inner)) else None,
        reward=float(reward) if reward is not None and is_number(reward) else None,
    )


def _input(step: Mapping[str, Any]) -> list[Turn]:
    """The context of a step that was logged without a chat."""
    given = decode_nested(step.get("input"))
    given = object_or_empty(given).get("messages", given)
    if isinstance(given, list):
        return read_turns(given)
    seen = text_or_none(given) or text_or_none(step.get("observation"))
    return [*read_message({"role": "user", "content": seen}, 0)] if seen else []


def _whole_answer(answer: Turn, step: Mapping[str, Any]) -> Turn:
    """The answer with the thinking that its chat left out."""
    message, said = answer.message, text_or_none(step.get("model_response"))
    thought = text_or_none(step.get("thought"))
    update: dict[str, Any] = {}
    if said and said != message.content and said.rstrip().endswith(message.content.strip()):
        update["content"] = said
    whole = update.get("content", message.content)
    if thought and not message.reasoning and thought.strip() not in whole:
        update["reasoning"] = thought
    return answer._replace(message=message.model_copy(update=update)) if update else answer


def _answer(step: Mapping[str, Any], index: int) -> Turn:
    """The answer of a step whose chat ends before it."""
    output = object_or_empty(step.get("model_output"))
    told = (step.get("model_response"), output.get("content"), step.get("output"))
    content = next(filter(None, map(text_or_none, told)), "")
    calls = output.get("tool_calls")
    thought = text_or_none(step.get("thought")) or text_or_none(output.get("reasoning"))
    if not content and not calls:
        raise BadRowError(
            f"step {index} has no answer: 'chat_completions' does not end with one, and neither "
            "'model_response' nor 'output' is a text"
        )
    message: dict[str, Any] = {"role": "assistant", "content": content, "tool_calls": calls}
    if thought and thought.strip() not in content:
        message["reasoning"] = thought
    return next(read_message(message, index))


def _task(fields: Mapping[str, Any], part: Mapping[str, Any], digest: str) -> Task:
    task = fields.get("task", part.get("task"))
    known = object_or_empty(task)
    named = known.get("id", fields.get("episode_id", fields.get("id")))
    id_ = str(named) if is_id(named) else f"rllm-{digest}"
    goal = task if isinstance(task, str) else None
    for key in GOAL_KEYS:
        goal = goal or text_or_none(known.get(key))
    return Task(
        # "task:rollout"
        id=match[1] if (match := _EPISODE_ID.fullmatch(id_)) else id_,
        environment=text_or_none(known.get("data_source")) or UNKNOWN_ENVIRONMENT,
        goal=goal,
    )


def _details(fields: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    details = details_of_row(fields, ("task", "reward", "is_correct"))
    details |= {f"trajectory_{key}": part[key] for key in ("name", "uid") if is_id(part.get(key))}
    for key in ("task", "metrics", "signals"):
        for owner in (fields, part):
            if known := details_of_row(object_or_empty(owner.get(key)), ()):
                details.setdefault(key, known)
    return details
