"""The texts around each turn, for trainers that write conversations with templates of their own.

These trainers do not use the tokenizer's chat template. Their templates for a family of models hold
the same texts, which are read here from the chat template: a conversation of stand-ins is rendered,
and the texts between them are taken apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.auditing.rows import RefusedRowError
from atlas.auditing.template import Template
from atlas.errors import ModelError

# System, user, response, user, response.
_STAND_INS = ("\ue001x\ue001", "\ue002x\ue002", "\ue003x\ue003", "\ue004x\ue004", "\ue005x\ue005")
_ROLES = ("system", "user", "assistant", "user", "assistant")


@dataclass(frozen=True, slots=True)
class TurnForms:
    """The texts around turns.

    Attributes:
        prefix: the token that begins a sequence, or nothing.
        system: before and after the text of a system turn.
        user: before and after the text of a user turn, without the header of the response.
        header: the generation prompt.
        end: the end of a response.
        tail: what follows it between turns, and at the end of a conversation.
        default_system: what the template writes without a system turn.
    """

    prefix: str
    system: tuple[str, str]
    user: tuple[str, str]
    header: str
    end: str
    tail: str
    default_system: str


def read_turn_forms(template: Template) -> TurnForms:
    """The forms of a chat template.

    Raises:
        ModelError: its turns cannot be taken apart.
    """
    chat = [{"role": role, "content": text} for role, text in zip(_ROLES, _STAND_INS, strict=True)]
    try:
        whole = None if template.folds_system else template.render(chat)
        plain = template.render(chat[1:])
        header = template.header
        first, answer, between, _, last = _gaps(plain, _STAND_INS[1:])
        end, rest = _at_end(between, template.end_texts)
        closing, tail = _at_end(last, template.end_texts)
        if closing != end or not answer.endswith(header):
            raise ValueError("it closes the last turn in another way")
        opening = rest[len(tail) :] if rest.startswith(tail) else rest
        tail = tail if rest.startswith(tail) else ""
        if not first.endswith(opening):
            raise ValueError("it opens the first turn in another way")
        bos = template.tokenizer.bos_token or ""
        prefix = bos if bos and first.startswith(bos) else ""
        before = first[len(prefix) : len(first) - len(opening)]
        system, default = ("", "\n\n"), ""
        if whole is not None:
            lead, between_them = _gaps(whole, _STAND_INS)[:2]
            if not between_them.endswith(opening):
                raise ValueError("it closes a system turn in another way")
            system = lead[len(prefix) :], between_them[: len(between_them) - len(opening)]
            if before.startswith(system[0]) and before.endswith(system[1]):
                default = before[len(system[0]) : len(before) - len(system[1])]
        closed = answer[: len(answer) - len(header)] if header else answer
        return TurnForms(prefix, system, (opening, closed), header, end, tail, default)
    except (ValueError, RefusedRowError) as error:
        raise ModelError(
            f"the turns that the chat template of {template.name} writes cannot be taken apart "
            f"({error}), so a trainer with templates of its own cannot be modeled with it. Give "
            "chat_template=FILE with the turns of your trainer's template."
        ) from None


def tools_in_system(
    template: Template, forms: TurnForms, system: str, tools: Sequence[Mapping[str, Any]]
) -> str:
    """The text of a system turn with tool schemas, as the chat template writes it.

    Raises:
        RefusedRowError: the template writes none.
    """
    stand_in = _STAND_INS[1]
    chat = [{"role": "system", "content": system}] if system else []
    text = template.render([*chat, {"role": "user", "content": stand_in}], tools)
    first = text.partition(stand_in)[0]
    opening, closing = forms.system
    body = first.removeprefix(forms.prefix).removeprefix(opening)
    end = body.rfind(f"{closing}{forms.user[0]}")
    if end < 0 or not first.removeprefix(forms.prefix).startswith(opening):
        raise RefusedRowError("the chat template writes no tool schemas into a system turn")
    return body[:end]


def _gaps(text: str, stand_ins: Sequence[str]) -> list[str]:
    """The texts before, between and after stand-ins."""
    gaps = []
    for stand_in in stand_ins:
        before, found, text = text.partition(stand_in)
        if not found:
            raise ValueError("it does not write each text once, in order")
        gaps.append(before)
    return [*gaps, text]


def _at_end(text: str, ends: Sequence[str]) -> tuple[str, str]:
    """A text cut after the first of the ends that it holds."""
    found = [at + len(end) for end in ends if (at := text.find(end)) >= 0]
    if not found:
        raise ValueError("it closes a turn without a special token")
    at = min(found)
    return text[:at], text[at:]
