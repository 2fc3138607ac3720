"""What is odd about a trajectory that is kept all the same: `trajectory -> notes`, to be counted and looked at."""

from __future__ import annotations

from atlas.records import Step, Trajectory


def odd_steps(trajectory: Trajectory) -> list[tuple[int, str]]:
    """Step index and remark, for each oddity; a missing part is odd where most other steps of the trajectory have it."""
    steps = trajectory.steps
    texts = [step.response.content for step in steps]
    thoughts = ["Thought:" in text for text in texts]
    actions = [text.count("Action:") for text in texts]
    thoughts_expected = 2 * sum(thoughts) > len(texts)
    actions_expected = 2 * (len(texts) - actions.count(0)) > len(texts)
    remarks: list[tuple[int, str]] = []
    for index, text in enumerate(texts):
        if (not text or text.isspace()) and _is_empty(steps[index]):
            remarks.append((index, "empty response"))
            continue
        if thoughts_expected and not thoughts[index]:
            remarks.append((index, "no 'Thought:' where most steps have one"))
        if actions_expected and not actions[index]:
            remarks.append((index, "no 'Action:' where most steps have one"))
        elif actions[index] > 1:
            remarks.append((index, "several 'Action:' in one response, the last is taken"))
        elif (
            actions_expected
            and len(text[text.find("Action:") + len("Action:") :].strip().splitlines()) > 1
        ):
            remarks.append((index, "several lines after 'Action:', the first is taken"))
    return remarks


def _is_empty(step: Step) -> bool:
    return not step.response.tool_calls and not (step.response.reasoning or "").strip()
