r"""Compares actions as calls: function names, and arguments as values.

    {"name": "get", "arguments": {"n": 2, "of": "log"}}    = {"of": "log", "n": 2.0}
    Click[ 'Buy Now' ]                                     = click[buy now]
    Go  Forward.                                           = go forward

Arguments of tool calls are JSON: the order of keys and the way a number is written do not count;
texts count letter by letter, because white space may matter in code. Parallel calls may come in any
order. Actions that are texts are compared without capitals, quotes, and white space at signs. NeMo
Gym's verifier for pivots (`single_step_tool_use_with_argument_comparison`) compares names and
values too, and texts by the words they share; this one has no threshold.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from atlas.kinds import NoConfig
from atlas.records import Message, ToolCall, Trajectory
from atlas.selection.agreement.actions import Action
from atlas.selection.agreement.base import Verdict
from atlas.selection.agreement.compare_actions import give_verdicts, read_actions
from atlas.selection.selectors.base import SelectorContext

_SIGNS = re.compile(r" ?([\[\](){},=:]) ?")
_QUOTES = str.maketrans(dict.fromkeys("\"'`\u2018\u2019\u201c\u201d"))


class CallAgreement:
    """The same function with the same argument values; texts without capitals and white space."""

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        pass

    def compare(
        self, trajectory: Trajectory, step: int, responses: Sequence[Message]
    ) -> list[Verdict]:
        expert, found = read_actions(trajectory, step, responses)
        expected = None if expert is None else normal_form(expert)
        return give_verdicts(expert, found, lambda one: Verdict(normal_form(one) == expected))


def normal_form(action: Action) -> Counter[str]:
    """The calls of an action, or its text, so that equal ones have equal texts.

    >>> normal_form(Action(text="Click[ 'Buy Now' ]"))
    Counter({'click[buy now]': 1})
    """
    if action.calls:
        return Counter(map(_normal_call, action.calls))
    return Counter([_normal_json(action.text) or _normal_text(action.text)])


def _normal_call(call: ToolCall) -> str:
    # A call without arguments is written in several ways.
    arguments = call.arguments.strip()
    arguments = "{}" if arguments in ("", "null") else arguments
    # What is not JSON agrees with the same text only.
    values = _normal_json(arguments, only_objects=False)
    return f"{call.name.strip()} {'not JSON: ' + arguments if values is None else values}"


def _normal_json(text: str, only_objects: bool = True) -> str | None:
    """JSON in its normal form; None if a text is something else."""
    if only_objects and not text.lstrip().startswith("{"):
        return None
    try:
        return json.dumps(_plain(json.loads(text)), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        # Not JSON, a number of thousands of digits, or too many levels.
        return None


def _plain(value: Any) -> Any:
    """A value in which a whole number is an int, however it was written."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _normal_text(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_QUOTES)
    plain = _SIGNS.sub(r"\1", " ".join(plain.split()))
    return plain.strip(" .!") or plain
