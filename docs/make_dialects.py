"""Write docs/dialects.md from what the dialects declare: `python docs/make_dialects.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from atlas.exporting.dialects.base import DIALECT, DIALECTS, Change, Dialect

INTRODUCTION = """\
# What files of other trainers carry

`python docs/make_dialects.py` makes this page from the code; a test checks that it is up to date.

`atlas export` writes a trajectory and its selection in the format of a trainer, and `atlas import`
reads such a file back. Everything comes back but what the tables below name: a property test tries
all dialects with generated trajectories, and fails on any other difference. What applies to a
trajectory is counted and printed when it is exported.

No format carries rewards, the outcome of the trajectory or where it came from; `parquet` carries
the task and the outcome. White space and the order of keys in the arguments of calls may change.
"""
DEMANDS = """\
## Refused by a trainer or service

These rows are written, because the data may be right and another trainer takes them. The command
prints how many trajectories are concerned (`note:`).
"""
CHANGES = """\
## Not carried

The command prints how many trajectories are concerned (`changed:`).
"""


def dialects_page() -> str:
    """The page as Markdown: what is not carried, then what is refused, each with its dialects."""
    lines = [INTRODUCTION, CHANGES, *_table("not carried", lambda dialect: dialect.changes)]
    lines += ["", DEMANDS, *_table("refused", lambda dialect: dialect.demands)]
    return "\n".join(lines) + "\n"


def _table(title: str, declared: Callable[[type[Dialect]], Sequence[Change]]) -> Iterator[str]:
    dialects: dict[str, list[str]] = {}
    for name in DIALECTS:
        for text in dict.fromkeys(change.text for change in declared(DIALECT.find(name))):
            dialects.setdefault(text, []).append(f"`{name}`")
    yield from (f"| {title} | dialects |", "|---|---|")
    for text, names in sorted(dialects.items(), key=lambda item: -len(item[1])):
        shown = "all" if len(names) == len(DIALECTS) else ", ".join(names)
        yield f"| {text} | {shown} |"


if __name__ == "__main__":
    path = Path(__file__).with_name("dialects.md")
    path.write_text(dialects_page(), encoding="utf-8")
