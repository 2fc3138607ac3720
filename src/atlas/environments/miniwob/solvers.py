"""How each page is solved: a generator that is sent what the page shows, and yields moves.

A solver reads only the goal and the elements in view.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise

from atlas.environments.miniwob.page import FIELDS, Element, PageView
from atlas.records import CriticalKind

Solver = Generator["PageMove", PageView, None]


@dataclass(frozen=True, slots=True)
class PageMove:
    """An action, why it is taken, and what became known just before it.

    Attributes:
        plan: the plan in words, if it was made now.
        news: the situation of a discovery (`observed`, `read` or `solved`), and what it is about.
        is_final: the task should end with this action.
    """

    action: str
    situation: str
    what: str = ""
    text: str = ""
    plan: str = ""
    news: tuple[str, str, str] | None = None
    is_final: bool = False

    @property
    def kinds(self) -> tuple[CriticalKind, ...]:
        """The labels of the step."""
        found: list[CriticalKind] = []
        if self.plan:
            found.append("plan_creation")
        if self.news is not None:
            found.append("critical_observation")
        if self.is_final:
            found.append("critical_action")
        return tuple(found)


def _fields(view: PageView) -> list[Element]:
    return [element for element in view.elements if element.kind in FIELDS]


def _button(view: PageView) -> PageMove:
    button = next(element for element in view.elements if element.kind == "button")
    what = f"the button '{button.text}'"
    return PageMove(f"click {button.ref}", "submit", what=what, is_final=True)


def _labeled(view: PageView, kind: str) -> list[tuple[Element, str]]:
    """Each box of a kind with the text that follows it."""
    pairs = []
    for element, after in pairwise(view.elements):
        if element.kind == kind:
            pairs.append((element, after.text))
    return pairs


def _two_fields(texts: tuple[str, str], names: tuple[str, str], view: PageView) -> Solver:
    steps = f"fill in {names[0]}, then {names[1]}, then press the button"
    for index, (text, name) in enumerate(zip(texts, names, strict=True)):
        ref = _fields(view)[index].ref
        view = yield PageMove(f"click {ref}", "focus", what=name, plan=steps if index == 0 else "")
        view = yield PageMove(f"type {text}", "type", text=text)
    yield _button(view)


def _login(view: PageView) -> Solver:
    user, password = re.findall(r'"([^"]*)"', view.goal)
    yield from _two_fields((user, password), ("the username", "the password"), view)


def _password(view: PageView) -> Solver:
    [password] = re.findall(r'"([^"]*)"', view.goal)
    yield from _two_fields((password, password), ("the first field", "the second field"), view)


def _checkboxes(view: PageView) -> Solver:
    found = re.fullmatch(r"Select (.*) and click Submit\.?", view.goal)
    wanted = [] if found is None or found[1] == "nothing" else found[1].split(", ")
    steps = f"tick {', '.join(wanted)}, then submit" if len(wanted) > 2 else ""
    for index, text in enumerate(wanted):
        box = next(element for element, label in _labeled(view, "checkbox") if label == text)
        plan = steps if index == 0 else ""
        view = yield PageMove(f"click {box.ref}", "tick", what=text, plan=plan)
    yield _button(view)


def _table(view: PageView) -> Solver:
    found = re.search(r"the value of (.+) into the text field", view.goal)
    key = found[1] if found else ""
    cells = [element.text for element in view.elements if element.kind == "td"]
    value = dict(zip(cells[::2], cells[1::2], strict=True))[key]
    news = ("read", key, value)
    view = yield PageMove(
        f"click {_fields(view)[0].ref}", "focus", what="the text field", news=news
    )
    view = yield PageMove(f"type {value}", "type", text=value)
    yield _button(view)


def _arithmetic(view: PageView) -> Solver:
    sums = (re.search(r"(-?\d+) *([-+x*]) *(-?\d+)", one.text) for one in view.elements)
    found = next(one for one in sums if one is not None)
    left, sign, right = int(found[1]), found[2], int(found[3])
    value = str(left + right if sign == "+" else left - right if sign == "-" else left * right)
    news = ("solved", f"{found[0]} =", value)
    view = yield PageMove(
        f"click {_fields(view)[0].ref}", "focus", what="the text field", news=news
    )
    view = yield PageMove(f"type {value}", "type", text=value)
    yield _button(view)


def _sequence(view: PageView) -> Solver:
    found = re.search(r'Check the (\d)\w\w radio .* number "(-?\d+)" into the (\d)\w\w', view.goal)
    assert found is not None
    radios = [element for element in view.elements if element.kind == "radio button"]
    steps = f"check a radio button, then type {found[2]}, then submit"
    what = f"radio button {found[1]}"
    view = yield PageMove(f"click {radios[int(found[1]) - 1].ref}", "radio", what=what, plan=steps)
    ref = _fields(view)[int(found[3]) - 1].ref
    view = yield PageMove(f"click {ref}", "focus", what=f"text field {found[3]}")
    view = yield PageMove(f"type {found[2]}", "type", text=found[2])
    yield _button(view)


def _list(view: PageView) -> Solver:
    found = re.fullmatch(r"Select (.+) from the list and click Submit\.?", view.goal)
    wanted = found[1] if found else ""
    element = next(one for one in view.elements if one.options)
    view = yield PageMove(f"select {element.ref} {wanted}", "choose", what=wanted)
    yield _button(view)


def _hidden_link(view: PageView) -> Solver:
    """Opens one section or tab after the other until the link is in view."""
    found = re.search(r'link "(.*)"', view.goal)
    wanted = found[1] if found else ""
    titles = [element.text for element in _titles(view)]
    # A page may show the first tab from the start.
    position = 0
    while True:
        links = [one for one in view.elements if one.kind == "link" and one.text == wanted]
        if links:
            news = ("observed", wanted, "") if position else None
            yield PageMove(f"click {links[0].ref}", "follow", wanted, news=news, is_final=True)
            return
        title = next(one for one in _titles(view) if one.text == titles[position])
        view = yield PageMove(f"click {title.ref}", "unfold", what=title.text)
        position += 1


def _titles(view: PageView) -> Iterator[Element]:
    return (one for one in view.elements if re.fullmatch(r"(Section|Tab) #\d", one.text))


SOLVERS: dict[str, Callable[[PageView], Solver]] = {
    "login-user": _login,
    "enter-password": _password,
    "click-checkboxes": _checkboxes,
    "click-checkboxes-large": _checkboxes,
    "read-table": _table,
    "simple-arithmetic": _arithmetic,
    "form-sequence-2": _sequence,
    "choose-list": _list,
    "click-collapsible-2-nodelay": _hidden_link,
    "click-tab-2": _hidden_link,
}
