"""Templates whose text changes from one day, or from one call, to the next."""

from __future__ import annotations

from datetime import date

import pytest

from atlas.errors import ModelError
from atlas.records import Message
from atlas.rendering.renderer import Renderer
from tests.templates import CHATML, tiny_tokenizer

DAY = date(2024, 2, 29)
FORMS = ("%%Y is %Y%%", "%Y%%d", "%f", "%_d %-e", "%^a, %^B", "%Ey %Od", "%-Y", "%G-W%V-%u", "%c")


def renderer_with(template: str, day: date | None = None) -> Renderer:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.chat_template = template
    return Renderer(tokenizer, "dated", day)


def test_a_template_writes_the_day_of_the_renderer_in_every_format() -> None:
    for form in ("%d %b %Y", "%B %d, %Y", "%Y-%m-%d", "%A %-d. %m. %y, %H:%M:%S", *FORMS):
        direct = renderer_with(f"{{{{ strftime_now('{form}') }}}}|" + CHATML, DAY)
        held = renderer_with(
            "{%- macro today() -%}{%- if strftime_now is defined -%}"
            f"{{%- set form = '{form}' -%}}{{{{- strftime_now(form) -}}}}{{%- endif -%}}"
            "{%- endmacro -%}{{- today() -}}|" + CHATML,
            DAY,
        )
        for renderer in (direct, held):
            text = renderer.render([Message(role="user", content="%Y hi")])
            assert text == f"{DAY.strftime(form)}|<|im_start|>user\n%Y hi<|im_end|>\n"


def test_without_a_day_the_template_writes_today() -> None:
    text = renderer_with("{{ strftime_now('%Y-%m-%d') }}" + CHATML).render(
        [Message(role="user", content="hi")]
    )
    assert text.startswith(date.today().isoformat())


@pytest.mark.parametrize(
    "drawn",
    [
        "{{ ['a', 'b'] | random }}",
        "{{ lipsum(n=1) }}",
        "{% set a = [1] |random %}",
        "{{ [[1, 2]] | map('random') | first }}",
        "{% set l = lipsum %}{{ l(n=1) }}",
    ],
)
def test_a_template_that_draws_its_text_is_refused(drawn: str) -> None:
    with pytest.raises(ModelError, match="random text"):
        renderer_with(drawn + CHATML)


def test_a_word_that_looks_like_it_is_not_refused() -> None:
    renderer_with("{# random #}a random lipsum(1) {{ 'x|random' }}" + CHATML)


def test_a_date_in_a_form_that_is_not_known_is_refused() -> None:
    with pytest.raises(ModelError, match="a date in the unknown form %10Y"):
        renderer_with("{{ strftime_now('%10Y') }}" + CHATML).render(
            [Message(role="user", content="hi")]
        )
