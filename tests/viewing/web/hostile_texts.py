"""Texts that would act in a browser if a page did not escape them, and trajectories full of them.

Each would set `window.hacked`, load something, or hide what it says.
"""

from __future__ import annotations

from atlas.records import (
    Annotation,
    CriticalStep,
    Message,
    Outcome,
    Selection,
    Source,
    Step,
    Task,
    ToolCall,
    Trajectory,
)
from atlas.viewing.web.rows import NamedSelection

ATTACKS = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"><svg onload=window.hacked=1>',
    "' onmouseover='window.hacked=1' autofocus onfocus='window.hacked=1",
    "</textarea><script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "</style><script>window.hacked = 1</script>",
    "<!--<script>window.hacked = 1//-->",
    "{{ 7 * 7 }}{% raw %}${window.hacked = 1}`",
    "javascript:window.hacked=1",
    "<a href='javascript:window.hacked=1'>step</a><iframe srcdoc='<script>top.hacked=1</script>'>",
    "<div hx-get='/' hx-trigger='load' hx-on::load='window.hacked=1' data-markdown='//x'>",
    "<meta http-equiv=refresh content='0;url=javascript:window.hacked=1'><base href=//x>",
    "]]><math><mtext><style><img src=x onerror=window.hacked=1></style></mtext></math>",
    "a\x00b\x1b[31m\u202ereversed\u200b\U000e0041 end \ud800 \x85\u2028",
    "`````\n# not a heading\n[x](javascript:window.hacked=1)",
)


def hostile_trajectory(attack: str) -> Trajectory:
    """A trajectory whose every text is the attack."""
    call = ToolCall(id=attack, name=attack, arguments=f'{{"{"key"}": {_json(attack)}}}')
    broken = ToolCall(id=attack, name=attack, arguments=attack)
    user = Message(role="user", content=attack, name=attack)
    step = Step(
        observation=(user, Message(role="tool", content=attack, tool_call_id=attack)),
        response=Message(
            role="assistant",
            content=f"Thought: {attack}",
            reasoning=attack,
            tool_calls=(call, broken),
        ),
        action=attack,
        reward=1.0,
        is_invalid=True,
        annotation=Annotation(kinds=("critical_action",), score=0.5),
    )
    said = Step(
        observation=(user,),
        response=Message(
            role="assistant", content=f"Thought: {attack}\nAction: {attack}\n{attack}"
        ),
        action=attack,
    )
    return Trajectory(
        id=attack,
        task=Task(id=attack, environment=attack, group=attack, split=attack, goal=attack),
        prompt=(Message(role="system", content=attack), Message(role="assistant", content=attack)),
        tools=({"function": {"name": attack}}, {"name": attack}, {attack: attack}),
        steps=(step, said, step),
        final_observation=(user, Message(role="tool", content=attack, tool_call_id=attack)),
        outcome=Outcome(status="failure", score=0.0, reason=attack),
        source=Source(name=attack, path=attack, line=1, details={attack: attack}),
    )


def hostile_selections(attack: str) -> tuple[NamedSelection, ...]:
    """Two selections that disagree, and one with a problem, in the same words."""
    first = CriticalStep(index=0, kinds=("plan_creation",), reason=attack, score=0.5)
    second = CriticalStep(index=1, reason=attack)

    def named(name: str, *steps: CriticalStep, problem: str | None = None) -> NamedSelection:
        selection = Selection(
            trajectory_id=attack,
            selector=attack,
            num_steps=3,
            budget=3,
            critical_steps=steps,
            problem=problem,
        )
        return NamedSelection(attack + name, name, selection, (0.1, None, float("nan")))

    return named("a", first), named("b", first, second), named("c", problem=attack)


def _json(text: str) -> str:
    import json

    return json.dumps(text)
