"""The outcome of a row, as its source defines it."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.trajectories.formats.conventions import OUTCOME_RULES, OutcomeRule, outcome_of_row
from atlas.trajectories.formats.rows import BadRowError


def row_with(rule: OutcomeRule, value: Any) -> dict[str, Any]:
    """A row to which the rule applies."""
    for key in reversed(rule.path):
        value = {key: value}
    return {**dict.fromkeys(rule.beside, "x"), **value}


@pytest.mark.parametrize("rule", OUTCOME_RULES, ids=lambda rule: ".".join(rule.path))
@pytest.mark.parametrize(
    ("value", "status"),
    [
        (True, "success"),
        (1.0, "success"),
        ("True", "success"),
        (0, "failure"),
        ("false", "failure"),
        (None, "unknown"),
    ],
)
def test_each_rule_decides_and_its_words_are_the_reason(
    rule: OutcomeRule, value: Any, status: str
) -> None:
    outcome = outcome_of_row(row_with(rule, value))
    assert outcome.status == status
    assert (rule.meaning in (outcome.reason or "")) == (value is not None)
    assert (outcome.score is not None) == (rule.is_score and type(value) in (int, float))


@pytest.mark.parametrize("rule", OUTCOME_RULES, ids=lambda rule: ".".join(rule.path))
def test_a_field_that_is_neither_true_nor_false_is_not_guessed(rule: OutcomeRule) -> None:
    with pytest.raises(BadRowError, match=rule.path[-1]):
        outcome_of_row(row_with(rule, "perhaps"))
    for missing in rule.beside:
        row = row_with(rule, True)
        del row[missing]
        assert outcome_of_row(row).status == "unknown"


def test_a_part_of_a_reward_is_a_score_and_decides_nothing() -> None:
    outcome = outcome_of_row({"verifier_result": {"rewards": {"reward": 0.5}}})
    assert (outcome.status, outcome.score) == ("unknown", 0.5)


def test_fields_that_disagree_decide_nothing() -> None:
    outcome = outcome_of_row({"instance_id": "a__b-1", "resolved": 1, "report": {"resolved": 0}})
    assert outcome.status == "unknown"
    assert "report.resolved" in (outcome.reason or "")
    outcome = outcome_of_row({"instance_id": "a__b-1", "resolved": False, "reward": 1})
    assert (outcome.status, outcome.score) == ("unknown", 1.0)


def test_an_object_under_the_name_of_a_field_is_something_else() -> None:
    row = {"history": [], "test_result": {"result": {"checkpoints": []}}}
    assert outcome_of_row(row).status == "unknown"
