"""The outcome of a row, as its source defines it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atlas.trajectories.formats.conventions import (
    OUTCOME_RULES,
    OWN_ID,
    OutcomeRule,
    outcome_of_row,
)
from atlas.trajectories.formats.rows import BadRowError


def row_with(rule: OutcomeRule, value: Any) -> dict[str, Any]:
    """A row to which the rule applies."""
    for key in reversed(rule.path):
        value = {"x" if key == OWN_ID else key: value}
    return {**dict.fromkeys(rule.beside, "x"), **value}


@pytest.mark.parametrize("rule", OUTCOME_RULES, ids=lambda rule: ".".join(rule.path))
@pytest.mark.parametrize(
    ("value", "status"),
    [
        (True, "success"),
        (1.0, "success"),
        (0, "failure"),
        ("1", "success"),
        (" 0 ", "failure"),
        (None, "unknown"),
        ("null", "unknown"),
        ("", "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_each_rule_decides_and_its_words_are_the_reason(
    rule: OutcomeRule, value: Any, status: str
) -> None:
    outcome = outcome_of_row(row_with(rule, value))
    assert outcome.status == status
    assert (rule.meaning in (outcome.reason or "")) == (status != "unknown")
    assert (outcome.score is not None) == (rule.is_score and status != "unknown")


@pytest.mark.parametrize(
    "rule", [one for one in OUTCOME_RULES if not one.is_score], ids=lambda rule: ".".join(rule.path)
)
@pytest.mark.parametrize(("value", "status"), [("True", "success"), ("false", "failure")])
def test_the_words_true_and_false_decide(rule: OutcomeRule, value: str, status: str) -> None:
    assert outcome_of_row(row_with(rule, value)).status == status


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


def test_a_reward_that_contradicts_decides_nothing() -> None:
    for resolved, reward in ((True, 0), (True, "0.0"), (True, False), (False, 1), (0, "1")):
        row = {"instance_id": "a__b-1", "resolved": resolved, "reward": reward}
        outcome = outcome_of_row(row)
        assert outcome.status == "unknown"
        assert "but the reward is" in (outcome.reason or "")


def test_a_success_may_have_a_negative_reward() -> None:
    outcome = outcome_of_row({"success": True, "reward": -0.3})
    assert (outcome.status, outcome.score) == ("success", -0.3)


@pytest.mark.parametrize("given", ["", "NaN", None, float("nan"), {"total": 1}, [0, 1]])
def test_what_is_no_single_reward_is_no_score(given: Any) -> None:
    assert outcome_of_row({"success": True, "reward": given}).score is None


def test_a_report_may_be_a_json_text_and_name_its_instance() -> None:
    report = {"a__b-1": {"resolved": True}}
    for given in (report, json.dumps(report)):
        assert outcome_of_row({"instance_id": "a__b-1", "report": given}).status == "success"
        row = {"instance_id": "a__b-1", "test_result": {"report": given}}
        assert outcome_of_row(row).status == "success"
    assert outcome_of_row({"instance_id": "c__d-2", "report": report}).status == "unknown"
