"""The words of actions and observations, in which values are found.

A value is a run of words: a number, a name, an identifier, a path. Case, forms of the same letter
(NFKC) and the characters between words do not count, so `minecraft:oak_planks` and "Oak planks"
share a value. A number with decimals or with commas between its thousands is one word. What is
joined in an action, as in C-2041 or ann@example.org, is never divided, and neither is an identifier
or a date in an observation: half an identifier is another one.

Scripts without blanks between words (Chinese, Japanese, Thai) are one word up to the next
punctuation, letter of another script, or digit.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.records import Message, Step

# The beginning and the end of an action's text that are read, in characters.
CHARS = 4_000
# In a longer text, a word has to look like a name or a number to be a value.
FEW_WORDS = 12

# Letters of scripts without blanks between words.
_UNSPACED = r"\u0e00-\u0eff\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_LETTERS = rf"[^\W_{_UNSPACED}]+"
_ONE = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d\d?(?!\d)"
    rf"|{_LETTERS}(?:(?<=\d)\.(?=\d){_LETTERS})*|(?:(?=[^\W_])[{_UNSPACED}])+)"
)
_WORD = re.compile(_ONE)
_SWAPPED = str.maketrans(",.", ".,")
_CHUNK = re.compile(r"\S+")
_JOINED = re.compile(rf"{_ONE}(?:[-_.@+]+{_ONE})*")
# In observations a point often ends a sentence or begins the ending of a file's name.
_OBSERVED = re.compile(rf"{_ONE}((?:[-_@+]+{_ONE})*)")
# An answer's thoughts in its text; the opening tag may be in the prompt.
_THOUGHTS = re.compile(
    r"\A(?:(?!<think).)*</think(?:ing)?>|<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_INNER = re.compile(r"[^\W_][_/.@:=#\\]+[^\W_]")
# Words that no value begins or ends with.
_CLOSED_TEXT = """
    a about above after again all also am an and any are as at be because been before being below
    both but by can cannot could did do does doing done down each else every few for from further
    get go had has have having he her here hers him his how i if in into is it its just let like
    may me might more most must my need no nor not now of off ok on once only or other our out
    over own please same shall she should since so some such than thank thanks that the their
    them then there these they this those through to too true under until up upon us use used
    using very want was we were what when where which while who whom why will with within
    without would yes yet you your yours false none null nan
"""
_CLOSED = frozenset(_CLOSED_TEXT.split())


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an action.

    Attributes:
        text: as it is compared.
        is_specific: whether it looks like a name, a number or a part of an identifier.
        num_joined: how many words are joined, this one first; 0 if it is not the first of them.
        is_last: whether it is the last of the words that are joined.
    """

    text: str
    is_specific: bool
    num_joined: int
    is_last: bool

    @property
    def is_value(self) -> bool:
        """Whether the word is a value by itself: no closed-class word, no letter, no digit."""
        is_long = len(self.text) > 2 or (len(self.text) == 2 and not self.text.isalpha())
        return self.text not in _CLOSED and (is_long or not self.text.isascii())

    @property
    def is_number(self) -> bool:
        return self.text.isdecimal()

    @property
    def can_begin(self) -> bool:
        """Whether a value of several words may begin with it."""
        return self.num_joined > 1 or (self.num_joined == 1 and self.is_value)

    @property
    def can_end(self) -> bool:
        return self.is_last and (self.num_joined != 1 or self.text not in _CLOSED)


@dataclass(frozen=True, slots=True)
class ActionText:
    """A text of an action: an argument of a call, a command, or an answer in prose.

    Attributes:
        needs_names: whether only names and numbers in it can be values, as it is prose or long.
    """

    words: tuple[Word, ...]
    needs_names: bool


def action_texts(step: Step) -> Iterator[ActionText]:
    """What a step does: the arguments of its calls, its action, or what it answers.

    Names of tools and of arguments are left out: every call repeats them.
    """
    response = step.response
    if response.tool_calls:
        for call in response.tool_calls:
            for text in json_texts(call.arguments):
                yield _action_text(text, is_prose=False)
    elif step.action is not None:
        yield _action_text(step.action, is_prose=False)
    else:
        yield _action_text(_THOUGHTS.sub(" ", response.content), is_prose=True)


def observed_words(messages: Iterable[Message]) -> Iterator[tuple[str, bool, bool]]:
    """The words of messages, as they are compared, and whether a value may begin or end there."""
    for message in messages:
        for text in json_texts(message.content):
            for match in _OBSERVED.finditer(_plain(text).casefold()):
                if not match.group(1):
                    yield _normal(match.group()), True, True
                    continue
                parts = _WORD.findall(match.group())
                is_whole = _is_identifier(parts)
                for number, part in enumerate(parts, 1):
                    is_first, is_last = number == 1, number == len(parts)
                    yield _normal(part), is_first or not is_whole, is_last or not is_whole
            # No value goes on from one text to the next.
            yield "", True, True


def _is_identifier(parts: Sequence[str]) -> bool:
    """Whether joined words are an identifier or a date, rather than a range or a compound."""
    has_digit = any(part[0].isdigit() or part[-1].isdigit() for part in parts)
    return has_digit and (len(parts) > 2 or not all(part[0].isdigit() for part in parts))


def _plain(text: str) -> str:
    """The text in one form of its letters; breaks that are written as escapes are blanks."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    for escape in ("\\n", "\\r", "\\t"):
        text = text.replace(escape, " ")
    return text


def json_texts(text: str) -> Iterator[str]:
    """The texts and numbers in a JSON document, and its keys with digits; other text as it is."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            found = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError):
            # Not JSON, or too deep for the reader.
            yield text
        else:
            for leaf in _leaves(found):
                # Results of tools often hold JSON as text.
                yield from json_texts(leaf)
    else:
        yield text


def _leaves(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += reversed(one.values())
            # An identifier may be the key of what it names; other keys are the same everywhere.
            yield from (key for key in one if any(map(str.isdigit, key)))
        elif isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, str):
            yield one


def _action_text(text: str, is_prose: bool) -> ActionText:
    if len(text) > 2 * CHARS:
        text = f"{text[:CHARS]}\n{text[-CHARS:]}"
    text = _plain(text)
    words: list[Word] = []
    begins_sentence = True
    for match in _CHUNK.finditer(text):
        chunk = match.group()
        is_specific = _is_specific(chunk, begins_sentence)
        for joined in _JOINED.finditer(chunk):
            parts = [_normal(part) for part in _WORD.findall(joined.group().casefold())]
            words += [
                Word(
                    part,
                    is_specific,
                    num_joined=0 if number else len(parts),
                    is_last=number + 1 == len(parts),
                )
                for number, part in enumerate(parts)
            ]
        begins_sentence = chunk[-1] in ".!?*-#>|"
    return ActionText(tuple(words), is_prose or len(words) > FEW_WORDS)


def _is_specific(chunk: str, begins_sentence: bool) -> bool:
    letters = chunk.strip("\"'`*()[]{}<>.,;:!?")
    return (
        any(map(str.isdigit, letters))
        or letters[1:] != letters[1:].lower()
        or (letters[:1].isupper() and not begins_sentence)
        or _INNER.search(letters) is not None
    )


def _normal(word: str) -> str:
    """A number without marks of thousands and without zeros at its end; other words as is."""
    if "." not in word and "," not in word:
        return word
    if word.rfind(",") > word.rfind(".") > 0:
        # 1.250,00
        word = word.translate(_SWAPPED)
    whole = word.replace(",", "")
    if whole.count(".") == 1 and whole.replace(".", "").isdigit():
        return whole.rstrip("0").rstrip(".")
    return whole
