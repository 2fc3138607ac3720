"""A page of MiniWoB++ as text, and the actions on it.

The pages make their task from a seed, name each element by a number (`core.getDOMInfo`) and judge
the result. Their time limit is switched off, and the reward is the one without the wall time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas.environments.miniwob.browser import Browser

# The longest delay that a timer of a browser holds, about 24 days.
NEVER_MS = 2_000_000_000
READY_TRIES = 200
# What is typed is shown again in each turn.
MAX_CHARACTERS = 1000
BEGIN = """
(function () {{
  if (window.jQuery) jQuery.fx.off = true;
  Math.seedrandom({seed});
  if (core.setDataMode) core.setDataMode("train");
  core.EPISODE_MAX_TIME = {never};
  core.startEpisodeReal();
}})()
"""
LOOK = """
(function () {
  var found = {done: WOB_DONE_GLOBAL, reward: WOB_RAW_REWARD_GLOBAL};
  if (found.done) return found;
  var said = core.getUtterance();
  found.goal = typeof said === "string" ? said : said.utterance;
  found.root = core.getDOMInfo();
  found.lists = {};
  for (var ref in core.previousDOMInfo) {
    var element = core.previousDOMInfo[ref];
    if (element instanceof HTMLSelectElement) {
      var options = Array.from(element.options).map(function (one) { return one.text; });
      found.lists[ref] = {options: options, chosen: options[element.selectedIndex] || ""};
    }
  }
  return found;
})()
"""
IS_EDITABLE = """
(function () {
  var element = document.activeElement;
  if (element instanceof HTMLTextAreaElement) return true;
  var kinds = ["text", "password", "number", "search", "email", "url", "tel", "date", "time"];
  return element instanceof HTMLInputElement && kinds.indexOf(element.type) >= 0;
})()
"""
# What is in the field is replaced.
MARK_ALL = "document.activeElement.select()"
SELECT = """
(function () {{
  var element = core.previousDOMInfo[{ref}];
  var options = Array.from(element.options).map(function (one) {{ return one.text; }});
  element.selectedIndex = options.indexOf({text});
  element.dispatchEvent(new Event("input", {{bubbles: true}}));
  element.dispatchEvent(new Event("change", {{bubbles: true}}));
}})()
"""
KINDS = {
    "input_checkbox": "checkbox",
    "input_radio": "radio button",
    "input_button": "button",
    "input_submit": "button",
    "input_password": "password field",
    "input_text": "text field",
    "textarea": "text field",
    "select": "list",
    "a": "link",
}
FIELDS = ("text field", "password field")
MARKS = ("checkbox", "radio button")
LINK_CLASS = "alink"
# Their text may stand in a separate node, beside an icon.
HEADINGS = ("a", "button", "h1", "h2", "h3")


@dataclass(frozen=True, slots=True)
class Element:
    """One line of the page. `ref` is None for plain text, which cannot be clicked."""

    ref: int | None
    kind: str
    text: str = ""
    is_checked: bool = False
    has_focus: bool = False
    options: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The element as the agent reads it."""
        if self.ref is None:
            return self.text
        parts = [f"[{self.ref}] {self.kind}"]
        if self.text or self.kind in FIELDS:
            parts.append(json.dumps(self.text, ensure_ascii=False))
        if self.kind in MARKS:
            parts.append("(checked)" if self.is_checked else "(not checked)")
        if self.has_focus and self.kind in FIELDS:
            parts.append("(focused)")
        if self.options:
            parts.append(f"with: {', '.join(self.options)}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class PageView:
    """What the page shows: its goal and its elements, or its judgment once it is over."""

    goal: str = ""
    elements: tuple[Element, ...] = field(default_factory=tuple)
    is_over: bool = False
    reward: float = 0.0

    @property
    def text(self) -> str:
        """The elements, one a line."""
        return "\n".join(element.line for element in self.elements)

    def find(self, ref: int) -> Element | None:
        """The element with this number."""
        return next((one for one in self.elements if one.ref == ref), None)


class Page:
    """The task of one page and one seed in a browser."""

    def __init__(self, browser: Browser, file: Path, seed: int) -> None:
        self._browser = browser
        browser.open(file)
        browser.run(BEGIN.format(seed=json.dumps(f"atlas {seed}"), never=NEVER_MS))
        for _ in range(READY_TRIES):
            if browser.run("WOB_TASK_READY"):
                break

    def look(self) -> PageView:
        """What the page shows now."""
        found = self._browser.run(LOOK)
        if found["done"]:
            return PageView(is_over=True, reward=float(found["reward"]))
        elements = tuple(_elements(found["root"], found["lists"]))
        return PageView(goal=" ".join(found["goal"].split()), elements=elements)

    def act(self, action: str, view: PageView) -> str | None:
        """Carry out an action; returns why it is not possible, or None if it was done."""
        verb, _, rest = action.strip().partition(" ")
        verb = verb.lower()
        if verb == "type":
            return self._type(rest)
        if verb not in ("click", "select"):
            return f"'{action[:60]}' is not a known action"
        match = re.fullmatch(r"\[?(\d{1,6})\]?(?: (.*))?", rest.strip())
        element = None if match is None else view.find(int(match[1]))
        if match is None or element is None:
            return f"[{rest[:20]}] is not an element of this page"
        if verb == "click":
            if match[2]:
                return "click takes the number of an element and nothing else"
            self._browser.run(f"core.elementClick({element.ref})")
            return None
        if (match[2] or "") not in element.options:
            return f"[{element.ref}] has no option '{(match[2] or '')[:40]}'"
        self._browser.run(SELECT.format(ref=element.ref, text=json.dumps(match[2])))
        return None

    def _type(self, text: str) -> str | None:
        if not self._browser.run(IS_EDITABLE):
            return "no field has the focus, click one first"
        if not text:
            return "there is nothing to type"
        if len(text) > MAX_CHARACTERS:
            return f"a field takes {MAX_CHARACTERS} characters"
        self._browser.run(MARK_ALL)
        self._browser.write(text)
        return None


def _elements(node: dict[str, Any], lists: dict[str, dict[str, Any]]) -> Iterator[Element]:
    """The elements with text or a function, in the order of the page."""
    tag, text = str(node["tag"]).lower(), str(node.get("text") or "").strip()
    kind = KINDS.get(tag, tag)
    ref, children = int(node["ref"]), list(node["children"])
    if tag in HEADINGS and not text:
        text = " ".join(str(one["text"]) for one in children if one["tag"] == "t")
        children = [one for one in children if one["tag"] != "t"]
    if kind in FIELDS:
        yield Element(ref, kind, str(node.get("value") or ""), has_focus=bool(node.get("focused")))
    elif kind in MARKS:
        yield Element(ref, kind, is_checked=bool(node.get("value")))
    elif kind == "list":
        found = lists[str(ref)]
        yield Element(ref, kind, found["chosen"], options=tuple(found["options"]))
    elif kind == "button":
        yield Element(ref, kind, text or str(node.get("value") or ""))
    elif text and ref < 0:
        yield Element(None, "text", text)
    elif text:
        is_link = LINK_CLASS in str(node.get("classes") or "").split()
        yield Element(ref, "link" if is_link else kind, text)
    for child in children:
        yield from _elements(child, lists)
