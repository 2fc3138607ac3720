"""What is odd about a trajectory that is kept nevertheless: `trajectory -> remarks`."""

from __future__ import annotations

from atlas.records import Message, Trajectory

THOUGHT, ACTION = "Thought:", "Action:"


def odd_steps(trajectory: Trajectory) -> list[tuple[int, str]]:
    """Step index and remark, for each oddity.

    A missing thought or action is odd where most other steps of the trajectory have one.
    """
    responses = [step.response for step in trajectory.steps]
    texts = [response.content for response in responses]
    thoughts = [THOUGHT in text for text in texts]
    num_actions = [text.count(ACTION) for text in texts]
    thoughts_expected = 2 * sum(thoughts) > len(texts)
    actions_expected = 2 * (len(texts) - num_actions.count(0)) > len(texts)
    remarks: list[tuple[int, str]] = []
    for index, text in enumerate(texts):
        if (not text or text.isspace()) and _is_empty(responses[index]):
            remarks.append((index, "empty response"))
            continue
        if thoughts_expected and not thoughts[index]:
            remarks.append((index, "no 'Thought:' where most steps have one"))
        if num_actions[index] > 1:
            remarks.append((index, "several 'Action:' in one response, the last is taken"))
        elif actions_expected:
            if not num_actions[index]:
                remarks.append((index, "no 'Action:' where most steps have one"))
            elif _has_several_lines(text[text.rfind(ACTION) + len(ACTION) :].strip()):
                remarks.append((index, "several lines after 'Action:', the first is taken"))
    return remarks


def _has_several_lines(text: str) -> bool:
    # A printable text has no line breaks of any kind, and this is quick to know.
    return not text.isprintable() and len(text.splitlines()) > 1


def _is_empty(response: Message) -> bool:
    return not response.tool_calls and not (response.reasoning or "").strip()
