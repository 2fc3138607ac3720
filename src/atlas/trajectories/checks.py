"""What is odd about a trajectory that is kept nevertheless: `trajectory -> remarks`."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.records import Message, Trajectory

THOUGHT, ACTION = "Thought:", "Action:"


def odd_steps(trajectory: Trajectory) -> Iterator[tuple[int, str]]:
    """Step index and remark, for each oddity.

    A missing thought or action is odd where most other steps of the trajectory have one.
    """
    responses = [step.response for step in trajectory.steps]
    texts = [response.content for response in responses]
    num_actions = [text.count(ACTION) for text in texts]
    thoughts_expected = 2 * sum([THOUGHT in text for text in texts]) > len(texts)
    actions_expected = 2 * (len(texts) - num_actions.count(0)) > len(texts)
    for index, text in enumerate(texts):
        if (not text or text.isspace()) and _is_empty(responses[index]):
            yield index, "empty response"
            continue
        if thoughts_expected and THOUGHT not in text:
            yield index, "no 'Thought:' where most steps have one"
        if num_actions[index] > 1:
            yield index, "several 'Action:' in one response, the last is taken"
        elif actions_expected:
            if not num_actions[index]:
                yield index, "no 'Action:' where most steps have one"
            elif _has_several_lines(text[text.find(ACTION) + len(ACTION) :].strip()):
                yield index, "several lines after 'Action:', the first is taken"


def _has_several_lines(text: str) -> bool:
    # A printable text has no line breaks of any kind, and this is quick to know.
    return not text.isprintable() and len(text.splitlines()) > 1


def _is_empty(response: Message) -> bool:
    return not response.tool_calls and not (response.reasoning or "").strip()
