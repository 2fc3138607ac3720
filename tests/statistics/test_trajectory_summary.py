"""The one summary of trajectories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atlas.records import Message, Outcome, OutcomeStatus, Source, Step, Task, Trajectory
from atlas.statistics.trajectory_summary import TrajectoryFacts, count_trajectories, summarize

STATUSES: list[OutcomeStatus] = ["success", "failure", "truncated", "error", "unknown"]


def trajectory(
    status: OutcomeStatus, invalid: tuple[bool | None, ...] = (None,), group: str = "g"
) -> Trajectory:
    steps = tuple(
        Step(
            observation=(), response=Message(role="assistant", content="go"), is_invalid=is_invalid
        )
        for is_invalid in invalid
    )
    return Trajectory(
        id="t",
        task=Task(id="task", environment="e", group=group),
        steps=steps,
        outcome=Outcome(status=status),
        source=Source(name="test"),
    )


def test_invalid_steps_are_a_share_of_the_steps_for_which_it_is_known() -> None:
    facts = TrajectoryFacts.of(trajectory("success", (True, False, None, False)))
    assert (facts.num_steps, facts.num_judged_steps, facts.num_invalid_steps) == (4, 3, 1)
    counts = count_trajectories([facts, TrajectoryFacts.of(trajectory("failure", (True,)))])
    assert counts.invalid_step_share == 0.5


def test_a_share_of_no_known_step_is_none_and_not_zero() -> None:
    facts = TrajectoryFacts.of(trajectory("success", (None, None)))
    assert count_trajectories([facts]).invalid_step_share is None


@given(st.lists(st.sampled_from(STATUSES), max_size=20))
def test_facts_and_counts_agree_with_the_records_on_what_is_valid(
    drawn: list[OutcomeStatus],
) -> None:
    trajectories = [trajectory(status) for status in drawn]
    facts = [TrajectoryFacts.of(one) for one in trajectories]
    assert [one.is_valid for one in facts] == [one.outcome.is_valid for one in trajectories]
    counts = count_trajectories(facts)
    assert counts.num_valid == sum(one.outcome.is_valid for one in trajectories)
    assert (counts.num_trajectories, counts.num_success) == (len(drawn), drawn.count("success"))


def test_a_summary_counts_by_status_and_group_and_lists_errors() -> None:
    made = [
        trajectory("success", (None,) * 2, "a"),
        trajectory("error", (None,) * 4, "a"),
        trajectory("failure", (None,) * 3, "b"),
    ]
    summary, problems = summarize(iter(made))
    assert summary == {
        "episodes": 3,
        "by_status": {"error": 1, "failure": 1, "success": 1},
        "steps": 9,
        "mean_steps": 3.0,
        "groups": {
            "a": {"episodes": 2, "success_rate": 0.5, "mean_steps": 3.0},
            "b": {"episodes": 1, "success_rate": 0.0, "mean_steps": 3.0},
        },
    }
    assert [problem.item for problem in problems] == ["t"]
