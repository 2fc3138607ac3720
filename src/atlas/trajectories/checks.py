"""What is odd about a trajectory that is kept all the same: `trajectory -> notes`, to be counted and looked at."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.records import Step, Trajectory


def odd_steps(trajectory: Trajectory) -> Iterator[tuple[int, str]]:
    """Step index and remark, for each oddity; a missing part is odd where most other steps of the trajectory have it."""
    marks = [mark for mark in ("Thought:", "Action:") if _most_have(trajectory, mark)]
    for index, step in enumerate(trajectory.steps):
        if _is_empty(step):
            yield index, "empty response"
            continue
        text = step.response.content
        for mark in marks:
            if mark not in text:
                yield index, f"no '{mark}' where most steps have one"
        if text.count("Action:") > 1:
            yield index, "several 'Action:' in one response, the last is taken"
        elif "Action:" in marks and len(text.rpartition("Action:")[2].strip().splitlines()) > 1:
            yield index, "several lines after 'Action:', the first is taken"


def _most_have(trajectory: Trajectory, mark: str) -> bool:
    return 2 * sum(mark in step.response.content for step in trajectory.steps) > len(trajectory.steps)


def _is_empty(step: Step) -> bool:
    return not step.response.content.strip() and not step.response.tool_calls and not (step.response.reasoning or "").strip()
