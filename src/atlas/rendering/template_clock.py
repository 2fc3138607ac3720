"""Gives chat templates that write today's date a fixed day instead.

Such templates call `strftime_now`, which reads the clock. Then a training that is resumed on the
next day would have other tokens than before. A macro of the same name, put before the template,
hides the function and writes the parts of the given day.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import jinja2

from atlas.errors import ModelError

_CLOCK = "strftime_now"
# `%%` is a percent sign, so what stands between two of them is written on its own.
_MACRO = (
    "{%- macro strftime_now(format) -%}{%- for piece in format.split('%%') -%}"
    "{%- set pinned = namespace(text=piece) -%}"
    "{%- for directive, value in pinned_day.items() if directive in piece -%}"
    "{%- set pinned.text = pinned.text | replace(directive, value) -%}{%- endfor -%}"
    "{%- if '%' in pinned.text -%}"
    "{{- raise_exception('a date in the unknown form ' ~ format) -}}{%- endif -%}"
    "{{- '' if loop.first else '%' -}}{{- pinned.text -}}{%- endfor -%}{%- endmacro -%}"
)
# All directives of strftime that are the same all day or are set to midnight.
_LETTERS = "aAbBcdDeFfgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"
_DIRECTIVES = [
    f"%{flag}{letter}" for flag in ("", *"-_0^#EO") for letter in _LETTERS if flag != letter
]
# Functions and filters of Jinja that write another text each time.
_RANDOM = {"random", "lipsum"}


def pin_day(template: str, day: date) -> tuple[str, dict[str, Any]]:
    """A template that takes `day` for today, and the variables to render it with."""
    if _CLOCK not in template:
        return template, {}
    moment = datetime.combine(day, time())
    return _MACRO + template, {
        "pinned_day": {directive: moment.strftime(directive) for directive in _DIRECTIVES}
    }


def refuse_random(template: str, name: str) -> None:
    """Refuse a template whose text is drawn at random, so that no two renderings agree.

    Raises:
        ModelError: the template uses such a function or filter of Jinja.
    """
    try:
        tokens = list(jinja2.Environment().lex(template))
    except jinja2.TemplateSyntaxError:
        # Rendering reports it with its line.
        return
    words = [(kind, text) for _, kind, text in tokens if kind != "whitespace"]
    for (_, before), (kind, word), (_, after) in zip(words, words[1:], words[2:], strict=False):
        if kind == "string" and before == "(":
            # `map('random')` calls a filter by its name.
            word, is_used = word[1:-1], word[1:-1] == "random"
        else:
            is_used = kind == "name" and (before == "|" or word == "lipsum")
            is_used &= before != "." and after != "="
        if word in _RANDOM and is_used:
            raise ModelError(
                f"the chat template of {name} writes random text ({word}), so the tokens of a "
                "training could not be reproduced. Use a template without it."
            )
