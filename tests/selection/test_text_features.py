from __future__ import annotations

import sys

import pytest

from atlas.errors import DependencyError
from atlas.records import Message, ToolCall
from atlas.selection.text_features import feature_extraction, join_texts, message_text


def test_the_text_of_a_message_is_its_reasoning_its_content_and_its_calls() -> None:
    call = ToolCall(name="search", arguments='{"q": "lamp"}')
    message = Message(role="assistant", content="Look.", reasoning="Hm.", tool_calls=(call,))
    assert message_text(message) == 'Hm.\nLook.\nsearch {"q": "lamp"}'
    assert join_texts([message, Message(role="user", content="ok")]).endswith("\nok")


def test_a_missing_scikit_learn_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DependencyError, match=r"scikit-learn.*atlas-tuning\[select\]"):
        feature_extraction()
