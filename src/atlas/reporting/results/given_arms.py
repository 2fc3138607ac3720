"""`--results ARM=PATH` options -> the options of a report."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError
from atlas.recipe_file import read_recipe


def options_of(given: Sequence[str], recipe: Path | None) -> dict[str, Any]:
    """The arms of a report, in the order of the options; the first one is the reference.

    A recipe may set anything but the arms.

    Raises:
        ConfigError: an option is not ARM=PATH, or the recipe has arms, too.
    """
    if not given:
        return {}
    results: dict[str, list[str]] = {}
    for option in given:
        arm, equals, path = option.partition("=")
        if not equals or not arm.strip() or not path or "/" in arm:
            raise ConfigError(
                f"--results {option!r:.80} does not name an arm, expected ARM=PATH, for example "
                "--results base=base.eval"
            )
        results.setdefault(arm.strip(), []).append(path)
    stated = {} if recipe is None else read_recipe(recipe)
    if "arms" in stated:
        raise ConfigError(
            f"both --results and the arms of {recipe} are given, expected one of them. Leave "
            "--results out, or remove the arms from the recipe."
        )
    arms = [{"name": arm, "results": paths} for arm, paths in results.items()]
    return {"arms": arms} | ({} if "reference" in stated else {"reference": next(iter(results))})


def unused_names(names: Iterable[str]) -> Iterator[str]:
    """The names, with a number where one was there before."""
    seen: set[str] = set()
    for name in names:
        number, free = 2, name
        while free in seen:
            number, free = number + 1, f"{name}-{number}"
        seen.add(free)
        yield free


def require_one_recipe(words: Sequence[str]) -> None:
    """Say how several files are compared, which look like two recipes.

    Raises:
        ConfigError: there are two or more words that are not key=value.
    """
    paths = [word for word in words if "=" not in word]
    if len(paths) > 1:
        names = unused_names(Path(path).stem or "arm" for path in paths)
        arms = " ".join(
            f"--results {shlex.quote(f'{name}={path}')}"
            for name, path in zip(names, paths, strict=True)
        )
        raise ConfigError(
            f"{len(paths)} files are given, expected one recipe. To compare the results in them, "
            f"name an arm for each: atlas report {arms} --out RUN"
        )
