"""The prompt of `oracle`. The paper prints none.

This wording is by atlas, after the paper's description (ATLaS §3.1): read the whole trajectory,
summarize a plan with sub-goals, locate the critical steps relative to them, classify, return at
most m of them.
"""

from __future__ import annotations

from typing import Any

from atlas.records import CRITICAL_KINDS
from atlas.selection.judging.prompt import COMPLAINT, FENCE, JudgePrompt, schema_of

FORM = f"""\
Steps are numbered from 0, as in their headings; use these numbers. Answer with one JSON object \
and nothing else:
{{"plan": "…", "critical_steps": [{{"index": 0, "kind": "plan_creation", "reason": "…", \
"confidence": 0.9}}]}}

{FENCE}"""

RUBRIC = f"""\
You read the trajectory of an agent and name its critical steps. A step is one response of the \
agent (its thought and its
action). A critical step has a large influence on whether the task succeeds and demands a precise \
decision there and then;
other steps could be reordered or done differently without much harm.

There are four kinds of critical steps:
- plan_creation: the agent forms sub-goals from what it has seen and from the final objective.
- critical_observation: the agent identifies key information in its environment and refines its \
strategy with it.
- critical_action: a decisive act that clearly advances the goal.
- self_correction: the agent reflects on or recalls earlier information and revises its course.

Proceed in this order:
1. Read the whole trajectory to its end.
2. Summarise the plan that it follows, with its sub-goals, in a few sentences.
3. Locate the critical steps relative to these sub-goals.
4. Give each of them the one kind that fits best, a reason of one short sentence, and your \
confidence from 0 to 1.
5. Return no more steps than you are allowed. If more qualify, keep those that matter most. Fewer \
is fine.

{FORM}"""

# The end of a rubric file's prompt: what the rubric by atlas says in its five points.
OWN_FORM = f"""\
Name no more steps than you are allowed. Give each of them the one kind that fits best \
({", ".join(CRITICAL_KINDS)}),
a reason of one short sentence, and your confidence from 0 to 1. The plan is what the trajectory \
follows, in a few sentences.

{FORM}"""

REQUEST = """\
This trajectory has {num_steps} steps, numbered 0 to {last_step}. Name at most {budget} of them.

"""

PART_REQUEST = """\
This trajectory has {num_steps} steps, numbered 0 to {last_step}. It is too long to be shown at \
once: you see its instructions
and its steps {first} to {last}. Judge these by what you see. Name at most {budget} of them.

"""

RULES = "at most {budget} steps, each index once and between {first} and {last}.\n"

PLAN = {"type": "string", "description": "the plan that the trajectory follows, with its sub-goals"}
STEP: dict[str, Any] = {
    "index": {"type": "integer", "description": "the number of the step"},
    "kind": {"type": "string", "enum": list(CRITICAL_KINDS)},
    "reason": {"type": "string"},
    "confidence": {"type": "number", "description": "from 0 to 1"},
}
ANSWER_SCHEMA = schema_of(plan=PLAN, critical_steps={"type": "array", "items": schema_of(**STEP)})

REQUESTS = (REQUEST, PART_REQUEST)
ORACLE_PROMPT = JudgePrompt(
    "oracle", 2, RUBRIC, REQUESTS, COMPLAINT + RULES, ANSWER_SCHEMA, OWN_FORM
)
