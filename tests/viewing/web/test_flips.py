from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from atlas.records import OutcomeStatus
from atlas.viewing.web.pages.flips_page import find_flips
from atlas.viewing.web.rows import Row


def row(task: str, outcome: OutcomeStatus, number: int = 0) -> Row:
    name = f"{task}/{number}"
    return Row("run", name, number, task_id=task, environment="world", outcome=outcome)


OUTCOMES: st.SearchStrategy[OutcomeStatus] = st.sampled_from(
    ["success", "failure", "truncated", "error", "unknown"]
)
ROWS = st.lists(st.builds(row, st.sampled_from("abcd"), OUTCOMES, st.integers(0, 9)), max_size=20)
OTHER_WAY = {"won→lost": "lost→won", "lost→won": "won→lost"}


def test_tasks_that_flipped_are_listed_with_losses_first_and_others_are_counted() -> None:
    left = [row("a", "success"), row("b", "failure"), row("c", "success"), row("d", "error")]
    right = [row("a", "failure"), row("b", "success"), row("c", "success"), row("d", "success")]
    found = find_flips([*left, row("only", "success")], right)
    assert [(one.task_id, one.change) for one in found.flipped] == [
        ("a", "won→lost"),
        ("b", "lost→won"),
    ]
    assert found.counts == {"won→lost": 1, "lost→won": 1, "won→won": 1, "unknown": 1}
    assert (found.only_left, found.only_right, found.num_paired) == (1, 0, 4)


def test_several_episodes_are_tallied_and_the_largest_change_is_first() -> None:
    left = [row("a", "success", 0), row("a", "success", 1), row("a", "failure", 2)]
    left += [row("b", "success", 0), row("b", "success", 1)]
    left += [row("c", "success", 0), row("c", "failure", 1)]
    right = [row("a", "failure", 0), row("a", "error", 1)]
    right += [row("b", "truncated", 0), row("b", "failure", 1)]
    right += [row("c", "success", 0), row("c", "success", 1)]
    found = find_flips(left, right)
    assert [one.task_id for one in found.flipped] == ["b", "a"]
    assert [one.task_id for one in found.shifted] == ["c"]
    assert found.flipped[1].left.text == "2 of 3 won"
    assert found.flipped[1].right.text == "0 of 1 won, 1 not scored"


def test_the_same_task_id_in_two_environments_is_two_tasks() -> None:
    other = Row("run", "x", 0, task_id="a", environment="another", outcome="failure")
    found = find_flips([row("a", "success")], [other])
    assert (found.num_paired, found.only_left, found.only_right) == (0, 1, 1)


@given(ROWS, ROWS)
def test_swapping_the_runs_turns_every_change_around(left: list[Row], right: list[Row]) -> None:
    one, other = find_flips(left, right), find_flips(right, left)
    turned = Counter({OTHER_WAY.get(name, name): num for name, num in other.counts.items()})
    assert one.counts == turned
    assert {pair.task_id for pair in one.flipped} == {pair.task_id for pair in other.flipped}
    assert (one.only_left, one.only_right) == (other.only_right, other.only_left)
