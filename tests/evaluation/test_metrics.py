"""The claims of the evaluation metrics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.evaluation.metrics import EpisodeMetrics, summarize_episodes
from atlas.records import Message, Outcome, OutcomeStatus, Source, Step, Task, Trajectory

statuses = st.lists(
    st.sampled_from(["success", "failure", "truncated", "error", "unknown"]), max_size=25
)


def _episode(
    index: int,
    status: OutcomeStatus,
    score: float | None = None,
    num_steps: int = 3,
    group: str = "",
) -> Trajectory:
    step = Step(
        observation=(Message(role="user", content="You see a door."),),
        response=Message(role="assistant", content="go"),
    )
    return Trajectory(
        id=f"episode-{index}",
        task=Task(id=f"task-{index}", environment="babyai", group=group),
        steps=(step,) * num_steps,
        outcome=Outcome(status=status, score=score),
        source=Source(name="test"),
    )


def test_errors_are_shown_and_never_counted_as_failures() -> None:
    metrics = summarize_episodes(
        [_episode(0, "success", 1.0), _episode(1, "failure", 0.0), _episode(2, "error", 0.0)]
    )
    assert (metrics.num_episodes, metrics.num_valid, metrics.num_errors) == (3, 2, 1)
    assert metrics.success_rate.value == 0.5
    assert metrics.mean_score.value == 0.5
    assert metrics.invalid_share == pytest.approx(1 / 3)


def test_truncated_episodes_are_valid_and_no_success() -> None:
    metrics = summarize_episodes([_episode(0, "success"), _episode(1, "truncated")])
    assert (metrics.success_rate.value, metrics.num_truncated, metrics.invalid_share) == (
        0.5,
        1,
        0.0,
    )


def test_success_is_the_environments_verdict_and_not_a_full_score() -> None:
    metrics = summarize_episodes([_episode(0, "success", 0.62), _episode(1, "failure", 1.0)])
    assert metrics.num_success == 1


def test_success_rate_carries_its_wilson_interval() -> None:
    rate = summarize_episodes(
        [_episode(index, "success" if index < 81 else "failure") for index in range(263)]
    ).success_rate
    assert (rate.low, rate.high) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )  # Newcombe 1998


def test_mean_steps_is_over_valid_episodes_only() -> None:
    metrics = summarize_episodes(
        [
            _episode(0, "success", num_steps=2),
            _episode(1, "failure", num_steps=6),
            _episode(2, "error", num_steps=100),
        ]
    )
    assert metrics.mean_steps.value == 4.0


def test_scores_that_are_absent_are_left_out_and_not_zero() -> None:
    assert (
        summarize_episodes(
            [_episode(0, "success", 0.8), _episode(1, "failure", None)]
        ).mean_score.value
        == 0.8
    )
    assert summarize_episodes([_episode(0, "failure", None)]).mean_score.value is None


@pytest.mark.parametrize("episodes", [[], [_episode(0, "error"), _episode(1, "unknown")]])
def test_zero_valid_episodes_give_no_rate_instead_of_zero(episodes: list[Trajectory]) -> None:
    metrics = summarize_episodes(episodes)
    assert (
        metrics.success_rate.value is metrics.mean_score.value is metrics.mean_steps.value is None
    )
    assert metrics.num_episodes == len(episodes)


@given(statuses)
def test_every_episode_is_counted_once_and_groups_sum_to_the_whole(
    drawn: list[OutcomeStatus],
) -> None:
    metrics = summarize_episodes(
        [_episode(index, status, group="ab"[index % 2]) for index, status in enumerate(drawn)]
    )
    assert metrics.num_valid + metrics.num_errors + metrics.num_unknown == len(drawn)
    for name in (
        "num_episodes",
        "num_valid",
        "num_success",
        "num_truncated",
        "num_errors",
        "num_unknown",
    ):
        assert sum(getattr(group, name) for group in metrics.groups.values()) == getattr(
            metrics, name
        )


def test_invalid_steps_are_counted_over_valid_episodes_where_it_is_known() -> None:
    flags = ((True, False, None), (None,) * 3, (True,) * 3)
    episodes = [
        episode.model_copy(
            update={
                "steps": tuple(
                    step.model_copy(update={"is_invalid": flag})
                    for step, flag in zip(episode.steps, known, strict=True)
                )
            }
        )
        for episode, known in zip(
            [_episode(0, "success"), _episode(1, "failure"), _episode(2, "error")],
            flags,
            strict=True,
        )
    ]
    metrics = summarize_episodes(episodes)
    assert (metrics.num_invalid_steps, metrics.invalid_step_share) == (1, 0.5)
    assert summarize_episodes(episodes[1:2]).invalid_step_share is None


def test_groups_stand_in_alphabetical_order_and_metrics_survive_the_disk() -> None:
    metrics = summarize_episodes(
        [_episode(0, "success", group="open"), _episode(1, "failure", 0.0, group="goto")]
    )
    assert list(metrics.groups) == ["goto", "open"]
    assert EpisodeMetrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_same_episodes_and_seed_give_the_same_metrics() -> None:
    episodes = [_episode(index, "failure", index / 10) for index in range(10)]
    assert summarize_episodes(episodes, seed=4) == summarize_episodes(episodes, seed=4)
    assert (
        summarize_episodes(episodes, seed=4).mean_score
        != summarize_episodes(episodes, seed=5).mean_score
    )


@pytest.mark.parametrize("nothing", [None, "", " \n"])
def test_turns_without_action_repeated_actions_and_cut_answers_are_figures(
    nothing: str | None,
) -> None:
    def step(saw: str, action: str | None) -> Step:
        return Step(
            observation=(Message(role="user", content=saw),),
            response=Message(role="assistant", content=action or "…"),
            action=action,
            is_invalid=not action,
        )

    walk = [("hall", "go"), ("hall", "look"), ("hall", "go"), ("door", "go"), ("door", nothing)]
    played = _episode(0, "failure").model_copy(
        update={
            "steps": tuple(step(*one) for one in walk),
            "source": Source(name="evaluate", details={"cut_steps": [1, 4]}),
        }
    )
    metrics = summarize_episodes([played, _episode(1, "failure"), _episode(2, "error")])
    assert (metrics.num_actionless_steps, metrics.actionless_step_share) == (1, 0.2)
    # "go" in the hall stands twice; "go" at the door is another situation.
    assert (metrics.num_repeated_steps, metrics.repeated_step_share) == (1, 0.2)
    assert (metrics.num_cut_steps, metrics.cut_step_share) == (2, 0.4)
    unknown = summarize_episodes([_episode(1, "failure")])
    assert (unknown.num_cut_steps, unknown.actionless_step_share) == (None, None)
