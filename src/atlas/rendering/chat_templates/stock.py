"""The built-in chat templates with tool calls (the stock), and templates from files.

All of them write calls in the same form, which docs/chat-templates.md describes and
`text_calls.py` reads back. They never rewrite history. The file calls.jinja, which holds this form,
is put before each of them, so that the template that is saved with a checkpoint is complete.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.shipped import shipped

FOLDER = Path(__file__).resolve().parent
FORM = "calls.jinja"
THINKS_IN_WORDS = "{%- set thinks_in_words = true -%}"
CHAT_TEMPLATE_HELP = (
    "a jinja file, or the name of a built-in chat template with tool calls (docs/chat-templates.md "
    "lists them), in place of the model's own template"
)


@dataclass(frozen=True, slots=True)
class StockTemplate:
    """A built-in chat template.

    Attributes:
        file: its name in this folder.
        families: the models that it is for.
        wraps_own: whether it is put before the model's own template and prepares the messages for
            it. Otherwise it replaces the model's own template.
    """

    file: str
    families: str
    wraps_own: bool = False


STOCK: dict[str, StockTemplate] = {
    "chatml-calls": StockTemplate("chatml-calls.jinja", "ChatML: SmolLM2, Qwen2.5-VL, LFM2"),
    "llama-3-calls": StockTemplate("llama-3-calls.jinja", "Llama 3"),
    "phi-3-calls": StockTemplate("phi-3-calls.jinja", "Phi-3 and Phi-3.5"),
    "gemma-calls": StockTemplate("gemma-calls.jinja", "Gemma, Gemma 2 and Gemma 3"),
    "text-calls": StockTemplate("text-calls.jinja", "any model with a chat template", True),
}
_CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Which?"},
    {"role": "assistant", "content": "This."},
    {"role": "user", "content": "Why?"},
]


def stock_text(name: str, own: tuple[str, str] = ("", "")) -> str:
    """The text of a built-in template.

    Args:
        own: for templates that wrap the model's own: the text to put first, and the own template.
    """
    row = STOCK[name]
    files = ((FOLDER / file).read_text(encoding="utf-8").strip() for file in (FORM, row.file))
    before, after = own if row.wraps_own else ("", "")
    return before + "".join(files) + after


def template_digest(name: str) -> str:
    """The SHA-256 of the template that a setting `chat_template` names, without a model's own.

    Raises:
        ConfigError: it is neither the name of a built-in template nor a readable file.
    """
    text = stock_text(name) if name in STOCK else _read_file(name)
    return hashlib.sha256(text.encode()).hexdigest()


def set_chat_template(tokenizer: Any, name: str, model: str) -> None:
    """Give a tokenizer the template that a setting `chat_template` names.

    Raises:
        ConfigError: it is neither the name of a built-in template nor a readable one, or it needs
            the model's own template and there is none.
    """
    if name not in STOCK:
        tokenizer.chat_template = _read_file(name)
    elif not STOCK[name].wraps_own:
        tokenizer.chat_template = stock_text(name)
    elif not tokenizer.chat_template:
        others = ", ".join(other for other, row in STOCK.items() if not row.wraps_own)
        raise ConfigError(
            f"chat_template={name} is put before a model's own template, and {model} has none. "
            f"Use {others} or a file."
        )
    elif isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = {
            which: stock_text(name, _with_thinking(tokenizer, own))
            for which, own in tokenizer.chat_template.items()
        }
    else:
        own = _with_thinking(tokenizer, tokenizer.chat_template)
        tokenizer.chat_template = stock_text(name, own)
    _check_syntax(tokenizer, name)


def fitting_template(tokenizer: Any) -> str:
    """The built-in template that writes a chat without tools as the model's own template does."""
    # Some templates refuse system turns.
    for chat in (_CHAT, _CHAT[1:]):
        if (own := _write(tokenizer, chat)) is None:
            continue
        for name, row in STOCK.items():
            if not row.wraps_own and own == _write(tokenizer, chat, stock_text(name)):
                return name
    return "text-calls"


def _with_thinking(tokenizer: Any, own: str) -> tuple[str, str]:
    """The text to put first if a template writes only thinking in the content; the template."""
    marker = "zqthought"
    field = {"role": "assistant", "content": "This.", "reasoning_content": marker}
    words = {"role": "assistant", "content": f"<think>\n{marker}\n</think>\n\nThis."}
    asked = _CHAT[1:2]
    writes_field = marker in (_write(tokenizer, [*asked, field], own) or "")
    writes_words = marker in (_write(tokenizer, [*asked, words], own) or "")
    return THINKS_IN_WORDS if writes_words and not writes_field else "", own


def _read_file(name: str) -> str:
    try:
        return shipped(Path(name)).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"chat_template '{name}' is neither a file nor built in. {nearest(name, STOCK)}"
        ) from None
    except (OSError, ValueError) as error:
        # ValueError: it is not UTF-8, or the name holds a null character.
        raise ConfigError(f"chat_template {name} cannot be read: {error}") from error


def _check_syntax(tokenizer: Any, name: str) -> None:
    from jinja2 import TemplateSyntaxError

    try:
        tokenizer.apply_chat_template(_CHAT, tokenize=False)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"chat_template {name} line {error.lineno}: {error.message}. Fix the template."
        ) from None
    except Exception:
        # The template may refuse this chat and accept others.
        return


def _write(tokenizer: Any, chat: list[dict[str, str]], template: str | None = None) -> str | None:
    """A chat as a template writes it (None: the model's own); None if it refuses the chat."""
    try:
        return str(
            tokenizer.apply_chat_template(
                chat,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=chat[-1]["role"] == "user",
            )
        )
    except Exception:
        # Templates raise jinja errors, TypeError, ValueError and more.
        return None
