"""The prompt of `rejection`, and how its answers are read: a label for each step.

The wording is by atlas, after Step-Rejection Fine-Tuning (arXiv 2605.10674). The trajectory is
shown as the oracle sees it: fenced, numbered, disarmed, in windows if it is long.
"""

from __future__ import annotations

from typing import Any, Literal

from atlas.selection.judging.answer import (
    AnswerError,
    answer_list,
    read_index,
    read_reason,
    read_word,
    refuse_repeats,
)
from atlas.selection.judging.prompt import COMPLAINT, FENCE, JudgePrompt, schema_of

StepLabel = Literal["good", "unnecessary", "mistake", "recover"]
LABELS: tuple[StepLabel, ...] = ("good", "unnecessary", "mistake", "recover")

FORM = f"""\
Steps are numbered from 0, as in their headings; use these numbers. Label every step that you are \
shown, each once. Give a reason
of one short sentence for unnecessary and mistake; it may be empty for the others. Answer with \
one JSON object and nothing else:
{{"labels": [{{"index": 0, "label": "good", "reason": ""}}]}}

{FENCE}"""

RUBRIC = f"""\
You read the trajectory of an agent and label each of its steps, so that another agent learns \
from the good ones alone. A step
is one response of the agent (its thought and its action). The trajectory may have failed; many \
of its steps may be good still.

There are four labels:
- good: a sensible step in this situation, that brings the agent closer to its goal or tells it \
what it needs to know.
- unnecessary: harmless, but it brings nothing: it repeats, wanders, or looks up what is known \
already.
- mistake: wrong in this situation: an invalid or harmful action, a false conclusion, or a step \
away from the goal.
- recover: the agent notices an earlier mistake or a failed attempt and mends it, sensibly.

Judge a step by what the agent could know then, and by what followed. The end of the trajectory \
alone makes no step good or bad.

{FORM}"""

# The end of a rubric file's prompt.
OWN_FORM = f"""\
Give each step one of the labels {", ".join(LABELS)}. The agent learns from the steps labeled \
good or recover only.

{FORM}"""

REQUEST = """\
This trajectory has {num_steps} steps. You see its steps {first} to {last}. Label each of them.

"""

RULES = "one label for each step from {first} to {last}.\n"

LABELED_STEP: dict[str, Any] = {
    "index": {"type": "integer", "description": "the number of the step"},
    "label": {"type": "string", "enum": list(LABELS)},
    "reason": {"type": "string"},
}
ANSWER_SCHEMA = schema_of(labels={"type": "array", "items": schema_of(**LABELED_STEP)})
REJECTION_PROMPT = JudgePrompt(
    "rejection", 1, RUBRIC, (REQUEST,), COMPLAINT + RULES, ANSWER_SCHEMA, OWN_FORM
)


def read_labels(text: str, steps: range) -> dict[int, tuple[StepLabel, str | None]]:
    """The label and the reason of each of `steps` in an answer.

    Raises:
        AnswerError: no such answer, a step left out, named twice or out of range, or an unknown
            label.
    """
    given = answer_list(text, "labels")
    indices = [read_index(entry, place, "labels", steps) for place, entry in enumerate(given)]
    refuse_repeats(indices)
    if missing := sorted(set(steps) - set(indices)):
        raise AnswerError(
            f"it labels {len(indices)} of {len(steps)} steps; step {missing[0]} has no label"
        )
    labels: dict[int, tuple[StepLabel, str | None]] = {}
    for index, entry in zip(indices, given, strict=True):
        label = entry.get("label")
        written = label.strip().lower() if isinstance(label, str) else label
        what = f"the label of step {index}"
        labels[index] = (read_word(label, what, LABELS, written), read_reason(entry, index))
    return labels
