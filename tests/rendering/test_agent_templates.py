"""The templates of the agents in recipes/paper, against what their authors state."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.rendering.chat_templates.stock import set_chat_template
from tests.templates import make_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Which?"},
    {"role": "assistant", "content": "This."},
    {"role": "user", "content": "Why?"},
]
EXPECTED = {
    # Llama 2 chat, as its authors state it.
    "llama-2-chat": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhich? [/INST] This. </s><s>[INST] Why? [/INST]"
    ),
    # The README of InternLM/Agent-FLAN.
    "agent-flan": (
        "<s><|Human|>\u0d46Be brief.\n <|Human|>\u0d46Which?\n <|Assistant|>\u0d46This.\u0d3f\n "
        "<|Human|>\u0d46Why?\n <|Assistant|>\u0d46"
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer("", ["<s>", "</s>"], "</s>", "<s>")


@pytest.mark.parametrize("name", EXPECTED)
def test_a_template_writes_what_its_agent_was_trained_with(name: str, tokenizer: Any) -> None:
    set_chat_template(tokenizer, f"recipes/paper/{name}.jinja", "agent")
    written = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert written == EXPECTED[name]
