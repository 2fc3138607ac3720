"""Reads PDDL: PDDL text -> `Domain` and `PuzzleProblem`.

The part of the language is STRIPS with types and constants: conditions and effects are conjunctions
of facts, and only effects may be negative.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.errors import DataError

# A predicate and its objects: ("on", "b1", "b2").
Fact = tuple[str, ...]
# A name and its type: ("?x", "block").
Typed = tuple[str, str]

# A variable ends where the next one begins: some files write `?l - level?l1 - level`.
_TOKEN = re.compile(r"[()]|\?[^\s()?]+|[^\s()?]+")
MAX_DEPTH = 50
# Words at the beginning of what is not a fact.
_NOT_FACTS = "= and or not forall exists when imply increase decrease assign scale-up scale-down"
NO_FACTS = frozenset(_NOT_FACTS.split())


@dataclass(frozen=True, slots=True)
class ActionSchema:
    """An action with variables. `added` and `removed` are its effects."""

    name: str
    parameters: tuple[Typed, ...]
    condition: tuple[Fact, ...]
    added: tuple[Fact, ...]
    removed: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """The rules of a kind of puzzle. `parents` says which type is part of which."""

    name: str
    parents: Mapping[str, str]
    constants: tuple[Typed, ...]
    schemas: tuple[ActionSchema, ...]

    def is_a(self, kind: str, wanted: str) -> bool:
        """Whether objects of the type `kind` can stand where the type `wanted` is asked for."""
        seen = set()
        while kind != wanted and kind in self.parents and kind not in seen:
            seen.add(kind)
            kind = self.parents[kind]
        return kind == wanted or wanted == "object"


@dataclass(frozen=True, slots=True)
class PuzzleProblem:
    """One puzzle: its objects, what holds at the start, and what must hold in the end."""

    objects: tuple[Typed, ...]
    init: frozenset[Fact]
    goal: tuple[Fact, ...]


def read_domain(text: str, source: str) -> Domain:
    """The domain in a PDDL text.

    Args:
        source: where the text is from, for messages.

    Raises:
        DataError: the text is not PDDL, or uses more of it than this module reads.
    """
    name, sections = _define(text, "domain", source)
    _refuse_repeated((part[0] for part in sections if part[0] != ":action"), source)
    parents: dict[str, str] = {}
    constants: tuple[Typed, ...] = ()
    schemas = []
    for head, *body in sections:
        if head == ":types":
            parents |= dict(_typed(body, source))
        elif head == ":constants":
            constants = _typed(body, source)
        elif head == ":action":
            schemas.append(_schema(body, source))
        elif head not in (":requirements", ":predicates"):
            raise _unread(source, f"section '{head}'")
    if not schemas:
        raise DataError(f"{source}: the domain has no action.")
    return Domain(name, parents, constants, tuple(schemas))


def read_problem(text: str, source: str) -> PuzzleProblem:
    """The problem in a PDDL text.

    Raises:
        DataError: as for `read_domain`; also an initial state or a goal that is missing.
    """
    _, sections = _define(text, "problem", source)
    _refuse_repeated((part[0] for part in sections), source)
    found: dict[str, list[Any]] = {section[0]: section[1:] for section in sections}
    if unknown := found.keys() - {":domain", ":objects", ":init", ":goal", ":requirements"}:
        raise _unread(source, f"section '{min(unknown)}'")
    if ":init" not in found or len(found.get(":goal", ())) != 1:
        raise DataError(f"{source}: expected one (:init …) and one (:goal …).")
    goal = _facts(found[":goal"][0], source)
    if not goal:
        raise DataError(f"{source}: the goal is empty.")
    objects = _typed(found.get(":objects", ()), source)
    _refuse_repeated((one for one, _ in objects), source)
    init = frozenset(_fact(one, source) for one in found[":init"])
    if unbound := _variables((*init, *goal)):
        raise DataError(f"{source}: '{min(unbound)}' is a variable, expected an object.")
    return PuzzleProblem(objects=objects, init=init, goal=tuple(dict.fromkeys(goal)))


def _define(text: str, noun: str, source: str) -> tuple[str, list[list[Any]]]:
    match _nested(text, source):
        case [["define", [kind, str(name)], *sections]] if kind == noun:
            if all(
                isinstance(part, list) and part and isinstance(part[0], str) for part in sections
            ):
                return name, sections
    raise DataError(f"{source}: expected (define ({noun} NAME) …).")


def _nested(text: str, source: str) -> list[Any]:
    """The lists of a text in brackets."""
    stack: list[list[Any]] = [[]]
    text = text.removeprefix("\ufeff").lower()
    for token in _TOKEN.findall(re.sub(r";[^\n]*", "", text)):
        if token == "(":
            stack.append([])
        elif token == ")" and len(stack) > 1:
            inner = stack.pop()
            stack[-1].append(inner)
        elif token == ")" or len(stack) > MAX_DEPTH:
            raise DataError(f"{source}: the brackets do not match.")
        else:
            stack[-1].append(token)
    if len(stack) > 1:
        raise DataError(f"{source}: {len(stack) - 1} brackets are not closed.")
    return stack[0]


def _typed(items: Any, source: str) -> tuple[Typed, ...]:
    """`b1 b2 - block c - cup` as pairs; without a type, the type is `object`."""
    if isinstance(items, str):
        raise _unread(source, f"'{items}' where a list of names was expected")
    pairs: list[Typed] = []
    names: list[str] = []
    rest = iter(items)
    for item in rest:
        if not isinstance(item, str):
            raise _unread(source, f"'{item}' in a list of names")
        if item != "-":
            names.append(item)
            continue
        kind = next(rest, None)
        if not isinstance(kind, str):
            raise _unread(source, f"the type '{kind}'")
        pairs += [(name, kind) for name in names]
        names = []
    return (*pairs, *((name, "object") for name in names))


def _schema(body: Sequence[Any], source: str) -> ActionSchema:
    name, *rest = body or [""]
    if not isinstance(name, str) or not name or name.startswith(":"):
        raise DataError(f"{source}: expected a name after (:action.")
    where = f"{source}: action '{name}'"
    heads = [str(head) for head in rest[::2]]
    _refuse_repeated(heads, where)
    is_whole = len(rest) % 2 == 0 and ":effect" in heads
    if not is_whole or not {*heads} <= {":parameters", ":precondition", ":effect"}:
        raise DataError(f"{where}: expected :parameters, :precondition and :effect.")
    parts = dict(zip(heads, rest[1::2], strict=True))
    added: list[Fact] = []
    removed: list[Fact] = []
    for effect in _conjuncts(parts[":effect"]):
        match effect:
            case ["not", inner]:
                removed.append(_fact(inner, where))
            case _:
                added.append(_fact(effect, where))
    parameters = _typed(parts.get(":parameters", ()), where)
    _refuse_repeated((one for one, _ in parameters), where)
    condition = _facts(parts.get(":precondition", []), where)
    if unbound := _variables((*condition, *added, *removed)) - {one for one, _ in parameters}:
        raise DataError(f"{where}: '{min(unbound)}' is not one of its :parameters.")
    return ActionSchema(name, parameters, condition, tuple(added), tuple(removed))


def _refuse_repeated(names: Iterable[str], where: str) -> None:
    """Refuse what would silently win over an earlier one of the same name."""
    counted = Counter(names)
    if repeated := [name for name, count in counted.items() if count > 1]:
        raise DataError(f"{where}: '{repeated[0]}' is there twice, expected once.")


def _variables(facts: Iterable[Fact]) -> set[str]:
    return {part for fact in facts for part in fact[1:] if part.startswith("?")}


def _conjuncts(formula: Any) -> list[Any]:
    if not formula:
        return []
    return list(formula[1:]) if formula[0] == "and" else [formula]


def _facts(formula: Any, source: str) -> tuple[Fact, ...]:
    return tuple(_fact(one, source) for one in _conjuncts(formula))


def _fact(item: Any, source: str) -> Fact:
    is_plain = isinstance(item, list) and item and all(isinstance(part, str) for part in item)
    if not is_plain or item[0] in NO_FACTS:
        raise _unread(source, f"'{item}' where a fact such as (on b1 b2) was expected")
    return tuple(item)


def _unread(source: str, what: str) -> DataError:
    known = "STRIPS with types and constants"
    return DataError(f"{source}: {what:.200} is not part of what is read ({known}).")
