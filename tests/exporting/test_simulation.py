from __future__ import annotations

import pytest

from atlas.errors import ModelError
from atlas.exporting.check_export import _expected_steps
from atlas.exporting.simulation import simulate_trainer
from tests.conftest import make_trajectory
from tests.rendering.test_turn_shapes import renderer_of, with_calls
from tests.template_families import FAMILIES, family_renderer


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.folds_system])
def test_a_system_turn_that_only_we_would_fold_is_refused(name: str) -> None:
    messages = make_trajectory(2).messages
    with pytest.raises(ModelError, match=r"no system turn.*--to trl"):
        simulate_trainer(
            family_renderer(name), messages, [message.role == "assistant" for message in messages]
        )
    rest = messages[1:]
    assert simulate_trainer(
        family_renderer(name), rest, [message.role == "assistant" for message in rest]
    )


@pytest.mark.parametrize("name", ["gpt-oss", "glm-training", "deepseek-v3"])
def test_turns_that_end_in_the_token_of_a_call_are_found_whole(name: str) -> None:
    renderer = renderer_of(name)
    given = with_calls()
    expected = _expected_steps(renderer.tokenize_trajectory(given))
    flags = [message.role == "assistant" for message in given.messages]
    found = simulate_trainer(renderer, given.messages, flags)
    assert [tokens for _, tokens in found.values()] == [
        expected[step][1] for step in sorted(expected)
    ]
