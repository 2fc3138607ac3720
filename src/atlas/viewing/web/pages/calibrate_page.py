"""The page of a calibration: `question -> a step with its context`, or `answers -> result`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from atlas.presenting.wording import (
    KIND_LABELS,
    decimal,
    decimal_interval,
    percent,
    percent_interval,
)
from atlas.records import CRITICAL_KINDS, Message, Step, Trajectory
from atlas.terminal.visible_text import visible
from atlas.viewing.web.calibrate import FIT_KAPPA, CalibrationResult
from atlas.viewing.web.labels.answers import Answer
from atlas.viewing.web.pages.labeling_view import LabelChoice, choices_for

# How much of a text is shown at once; the rest is folded.
FOLDED_AFTER = 1_500
# Steps beside the asked one that are open.
NUM_OPEN = 2
# The keys of the answers that have no digit beside a step.
_KEYS = {"none": "0", "critical": "space"}


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text with what it is; `rest` is folded."""

    title: str
    text: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class ContextStep:
    """A step of the trajectory: what was seen, then what the agent answered."""

    index: int
    parts: tuple[TextPart, ...]
    is_asked: bool
    is_open: bool


@dataclass(frozen=True, slots=True)
class QuestionView:
    """One question; `number` counts from 1."""

    selection: str
    calibration: str
    seed: int
    number: int
    num_steps: int
    num_answered: int
    trajectory_id: str
    step: int
    task: str
    goal: str
    outcome: str
    prompt: tuple[TextPart, ...]
    steps: tuple[ContextStep, ...]
    final: tuple[TextPart, ...]
    choices: tuple[LabelChoice, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class KindRow:
    """What the person says about steps that the selector calls one kind."""

    name: str
    num_steps: int
    critical: str
    interval: str
    same_kind: str


@dataclass(frozen=True, slots=True)
class ResultView:
    """The agreement of a person with a selector."""

    selection: str
    seed: int
    annotator: str
    sentence: str
    verdict: str
    num_steps: int
    num_tasks: int
    same: str
    same_interval: str
    kappa: str
    kappa_interval: str
    num_selected_only: int
    num_person_only: int
    kinds: tuple[KindRow, ...]
    fit_kappa: float = FIT_KAPPA


def describe_context(trajectory: Trajectory, asked: int) -> tuple[ContextStep, ...]:
    """All steps of a trajectory; the asked one and those beside it are open."""
    return tuple(
        ContextStep(index, _parts_of(step), index == asked, abs(index - asked) <= NUM_OPEN)
        for index, step in enumerate(trajectory.steps)
    )


def describe_messages(messages: tuple[Message, ...]) -> tuple[TextPart, ...]:
    """Messages outside of steps: the prompt, or what was seen at the end."""
    return tuple(part for message in messages for part in _message(message, message.role))


def describe_choices(answer: Answer | None) -> tuple[LabelChoice, ...]:
    """The choices for the asked step. Each has the same key, whatever was answered before."""
    choices = choices_for(None if answer is None else answer.type)
    return tuple(replace(one, key=_KEYS.get(one.value, one.key)) for one in choices)


def describe_result(result: CalibrationResult, selection: str, seed: int) -> ResultView:
    """What the page shows once all steps have an answer."""
    verdict = {True: "fit", False: "unfit", None: "undecided"}[result.is_fit]
    return ResultView(
        selection=selection,
        seed=seed,
        annotator=result.annotator,
        sentence=result.sentence,
        verdict=verdict,
        num_steps=result.num_steps,
        num_tasks=result.num_tasks,
        same=percent(result.same, 0),
        same_interval=percent_interval(result.same, 0),
        kappa=decimal(result.kappa, 2),
        kappa_interval=decimal_interval(result.kappa, 2),
        num_selected_only=result.num_selected_only,
        num_person_only=result.num_person_only,
        kinds=tuple(
            KindRow(
                name={**KIND_LABELS}.get(row.kind, "no kind given"),  # type: ignore[call-overload]
                num_steps=row.num_steps,
                critical=f"{row.num_critical} of {row.num_steps}",
                interval=percent_interval(row.critical, 0),
                same_kind=str(row.num_same_kind) if row.kind in CRITICAL_KINDS else "–",
            )
            for row in result.by_kind
        ),
    )


def _parts_of(step: Step) -> tuple[TextPart, ...]:
    seen = tuple(part for message in step.observation for part in _message(message, "observation"))
    return (*seen, *_message(step.response, "response"))


def _message(message: Message, title: str) -> tuple[TextPart, ...]:
    texts = [("thinking", message.reasoning or ""), (title, message.content)]
    texts += [(f"call of {call.name}", call.arguments) for call in message.tool_calls]
    return tuple(_folded(name, text) for name, text in texts if text.strip())


def _folded(title: str, text: str) -> TextPart:
    text = visible(text)
    return TextPart(visible(title), text[:FOLDED_AFTER], text[FOLDED_AFTER:])
