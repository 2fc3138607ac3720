"""Calls of classes from outside the package: each fault names class, file and method.

`guarded(MyClass, …)` is a subclass whose methods raise an error of atlas where those of MyClass
raise any other exception. Errors of atlas and exceptions that a kind expects are not changed.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.extras import missing_module

Expected = Mapping[str, tuple[type[Exception], ...]]

# Methods of Python itself that are guarded, too.
_ALSO = ("__init__", "__call__")


class Guard:
    """How faults of one class are reported.

    Args:
        what: such as "selector 'my.module:Mine'".
        fault: the class of the errors.
        expected: method -> exceptions that its callers handle.
    """

    def __init__(self, what: str, fault: type[AtlasError], expected: Expected) -> None:
        self._what = what
        self._fault = fault
        self._expected = expected

    def guarded(self, found: Any) -> Any:
        """The class, or the function that makes instances, with its calls guarded."""
        if not isinstance(found, type):
            return self._guarded_function(found)
        members = {
            name: self._guarded_member(found, name, member)
            for name in dir(found)
            if not name.startswith("_") or name in _ALSO
            if (member := inspect.getattr_static(found, name)) is not None
            if callable(member) or isinstance(member, property | staticmethod | classmethod)
            if not isinstance(member, type) and inspect.getattr_static(object, name, None) != member
        }
        like = {name: getattr(found, name) for name in ("__doc__", "__module__", "__qualname__")}
        try:
            return type(found)(found.__name__, (found,), {**members, **like})
        except Exception:
            # A class that refuses subclasses is used as it is.
            return found

    def call(self, method: str, function: Callable[[], Any]) -> Any:
        """The result of a call; its exceptions become errors that name the class."""
        try:
            result = function()
        except Exception as error:
            raise self._explained(method, error) from error
        if inspect.isgenerator(result):
            return self._iterate(method, result)
        if inspect.iscoroutine(result):
            return self._wait(method, result)
        return result

    def _guarded_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def make(*arguments: Any, **named: Any) -> Any:
            return self.call("the call", lambda: function(*arguments, **named))

        return make

    def _guarded_member(self, owner: type, name: str, member: Any) -> Any:
        if isinstance(member, property):
            return property(lambda this: self.call(name, lambda: member.__get__(this, owner)))
        if isinstance(member, staticmethod | classmethod):
            plain = getattr(owner, name)

            @functools.wraps(plain)
            def static(*arguments: Any, **named: Any) -> Any:
                return self.call(name, lambda: plain(*arguments, **named))

            return staticmethod(static)

        @functools.wraps(member)
        def method(this: Any, *arguments: Any, **named: Any) -> Any:
            return self.call(name, lambda: member(this, *arguments, **named))

        return method

    def _iterate(self, method: str, items: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from items
        except Exception as error:
            raise self._explained(method, error) from error

    async def _wait(self, method: str, result: Awaitable[Any]) -> Any:
        try:
            return await result
        except Exception as error:
            raise self._explained(method, error) from error

    def _explained(self, method: str, error: Exception) -> Exception:
        if isinstance(error, (AtlasError, *self._expected.get(method, ()))):
            return error
        if isinstance(error, ModuleNotFoundError) and (found := missing_module(error.name or "")):
            return found
        said = " ".join(str(error).split())
        raised = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return self._fault(
            f"{self._what}: {method} raised {raised} ({_place(error)}). "
            "Fix the class; docs/extending.md shows one for each kind"
        )


def _place(error: Exception) -> str:
    """File and line of the innermost frame outside this file."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if frame.filename != __file__]
    last = (outside or frames)[-1]
    return f"{Path(last.filename)} line {last.lineno}"
