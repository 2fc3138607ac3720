from __future__ import annotations

import pytest

from atlas.errors import ModelError
from atlas.exporting.simulation import simulate_trainer
from tests.conftest import make_trajectory
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
