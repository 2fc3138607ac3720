"""What is odd about a trajectory that is kept all the same: `trajectory -> notes`, to be counted and looked at."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.records import Step, Trajectory


def odd_steps(trajectory: Trajectory) -> Iterator[tuple[int, str]]:
    """Step index and remark, for each oddity; a missing part is odd where most other steps of the trajectory have it."""
    texts = [step.response.content for step in trajectory.steps]
    thoughts = ["Thought:" in text for text in texts]
    actions = [text.count("Action:") for text in texts]
    thoughts_expected = 2 * sum(thoughts) > len(texts)
    actions_expected = 2 * (len(texts) - actions.count(0)) > len(texts)
    for index, step in enumerate(trajectory.steps):
        if _is_empty(step):
            yield index, "empty response"
            continue
        if thoughts_expected and not thoughts[index]:
            yield index, "no 'Thought:' where most steps have one"
        if actions_expected and not actions[index]:
            yield index, "no 'Action:' where most steps have one"
        if actions[index] > 1:
            yield index, "several 'Action:' in one response, the last is taken"
        elif actions_expected and len(texts[index].rpartition("Action:")[2].strip().splitlines()) > 1:
            yield index, "several lines after 'Action:', the first is taken"


def _is_empty(step: Step) -> bool:
    response = step.response
    if response.tool_calls or (response.content and not response.content.isspace()):
        return False
    return not response.content.strip() and not (response.reasoning or "").strip()
