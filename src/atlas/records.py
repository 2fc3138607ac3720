"""The records that stages exchange: frozen data, with derived properties only.

Collection, import and evaluation all produce a `Trajectory`. A `Selection` names its critical steps
and is stored apart from it, so that one set of trajectories has many selections (ATLaS §3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Literal[1] = 1

# In `Source.details` of an episode: the indices of responses that reached the token limit.
CUT_STEPS = "cut_steps"
# In the same place: requests and tokens of the player's answers, and whether it declined to answer.
USAGE = "usage"
REFUSED = "refused"

Role = Literal["system", "user", "assistant", "tool"]
CriticalKind = Literal[
    "plan_creation", "critical_observation", "critical_action", "self_correction"
]
LabelType = Literal[CriticalKind, "critical", "none"]
OutcomeStatus = Literal["success", "failure", "truncated", "error", "unknown"]

CRITICAL_KINDS: tuple[CriticalKind, ...] = get_args(CriticalKind)
# What tallies by kind call steps without one.
NO_KIND = "no_kind"

_LONGEST_TYPE = 200
# A word ends at a blank or a bracket, as in `search[red shoes]`; one of brackets is taken whole.
_FIRST_WORD = re.compile(rf"\s*([^\s\[(]{{1,{_LONGEST_TYPE}}}|\S{{1,{_LONGEST_TYPE}}})")


class Record(BaseModel):
    """Base of every record: frozen, unknown fields refused, infinities written as strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ToolCall(Record):
    """One call that an assistant turn makes; `arguments` is the verbatim JSON text."""

    id: str | None = None
    name: str
    arguments: str = "{}"


class Message(Record):
    """A chat message in OpenAI's form. `reasoning` is thinking from a separate field."""

    role: Role
    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class Annotation(Record):
    """What the source says about a step: an expert's labels, or a trainer's loss flag.

    No model ever sees it. A step is marked if it has a kind or a score above 0.
    """

    kinds: tuple[CriticalKind, ...] = ()
    score: float = 0.0

    @property
    def is_marked(self) -> bool:
        return bool(self.kinds) or self.score > 0


class Step(Record):
    """One assistant turn, with the observation before it.

    `observation` holds the messages between the previous response and this one (several when
    parallel tool calls answered). `response` is verbatim; `action` is the part of it that the
    environment executed, where known. `is_invalid` says whether the environment could not carry it
    out; None where that is not known.
    """

    observation: tuple[Message, ...]
    response: Message
    action: str | None = None
    reward: float | None = None
    is_invalid: bool | None = None
    annotation: Annotation | None = None

    @property
    def action_types(self) -> tuple[str, ...]:
        """The names of the tools that it calls, else the first word of its action, shortened."""
        calls = self.response.tool_calls
        if calls:
            names = (call.name[:_LONGEST_TYPE] for call in calls)
            return tuple(dict.fromkeys(name if name.strip() else "(empty)" for name in names))
        word = _FIRST_WORD.match(self.action or "")
        return (word[1],) if word else ()


class Task(Record):
    """The task of an episode.

    `id` is unique and deterministic; `group` is the row of a per-task table, such as a level.
    """

    id: str
    environment: str
    group: str = ""
    split: str | None = None
    seed: int | None = None
    goal: str | None = None


class Outcome(Record):
    """How a trajectory ended. `status` and `score` are separate: a crash is not a score of 0."""

    status: OutcomeStatus
    score: float | None = None
    reason: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the episode can be scored: it did not break, and its end is known."""
        return self.status in ("success", "failure", "truncated")


class Source(Record):
    """Where a trajectory came from: the producer and, for imported data, the file and its row.

    `row` counts from 0, `line` from 1.
    """

    name: str
    path: str | None = None
    row: int | None = None
    line: int | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Trajectory(Record):
    """A prompt, the steps, the final observation, and the outcome.

    Protocol turns (a canned "OK.") are in the prompt. `tools` holds the schemas of the tools that
    the agent could call, in the form of the source (usually OpenAI's).
    """

    version: Literal[1] = SCHEMA_VERSION
    id: str
    task: Task
    prompt: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    steps: tuple[Step, ...] = ()
    final_observation: tuple[Message, ...] = ()
    outcome: Outcome
    source: Source

    @model_validator(mode="after")
    def _roles_are_in_place(self) -> Trajectory:
        for index, step in enumerate(self.steps):
            role = step.response.role
            if role != "assistant":
                reason = f"the response has role '{role}', expected 'assistant'"
                raise ValueError(f"step {index}: {reason}")
            if any(message.role == "assistant" for message in step.observation):
                raise ValueError(f"step {index}: an assistant message stands in the observation")
        return self

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation in order, without the final observation, which has no response."""
        return tuple(message for message, _ in self.owned_messages())

    def owned_messages(self) -> Iterator[tuple[Message, int]]:
        """Each message with the index of the step of which it is the *response*, or -1."""
        for message in self.prompt:
            yield message, -1
        for index, step in enumerate(self.steps):
            for message in step.observation:
                yield message, -1
            yield step.response, index


class Usage(Record):
    """Requests and tokens that an answer of a model used."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class CriticalStep(Record):
    """One selected step: index from 0, kinds (may be empty), reason, and confidence as `score`."""

    index: int = Field(ge=0)
    kinds: tuple[CriticalKind, ...] = ()
    reason: str | None = None
    score: float | None = None


class Selection(Record):
    """The critical steps of one trajectory under a budget, or the problem if there are none.

    If a model was asked, `prompt_digest` identifies the exact question.
    """

    version: Literal[1] = SCHEMA_VERSION
    trajectory_id: str
    selector: str
    num_steps: int = Field(ge=0)
    budget: int = Field(ge=0)
    critical_steps: tuple[CriticalStep, ...] = ()
    problem: str | None = None
    usage: Usage = Usage()
    prompt_digest: str | None = None

    @model_validator(mode="after")
    def _within_budget(self) -> Selection:
        indices = [step.index for step in self.critical_steps]
        if indices != sorted(set(indices)):
            raise ValueError(f"critical step indices {indices} must be strictly increasing")
        if indices and indices[-1] >= self.num_steps:
            place = f"critical step {indices[-1]} of a trajectory with {self.num_steps} steps"
            raise ValueError(f"{place} (indices count from 0)")
        if len(indices) > self.budget:
            raise ValueError(f"{len(indices)} critical steps exceed the budget of {self.budget}")
        return self

    @property
    def indices(self) -> frozenset[int]:
        return frozenset(step.index for step in self.critical_steps)

    @property
    def has_last_step(self) -> bool:
        """Whether the last step of the trajectory is selected."""
        return bool(self.critical_steps) and self.critical_steps[-1].index == self.num_steps - 1


class Label(Record):
    """A person's label of one step: one of the four kinds, "critical", or "none"."""

    trajectory_id: str
    step: int = Field(ge=0)
    type: LabelType = "critical"
    annotator: str = Field(default="unnamed", min_length=1)
    note: str | None = None


class Problem(Record):
    """One item that was left out, and the reason."""

    where: str
    reason: str
    item: str | None = None
