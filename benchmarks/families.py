"""Which parts of the exact engine each causal language model of transformers gets, and is it right?

    python benchmarks/families.py [NAME ...] [--out families.jsonl] [--page docs/families.md]

A row is a family of transformers' table of causal language models, built from a small random
config, or a variant of one (`family_configs.py`). `family_checks.py` trains one step on it, at
the usual initialization and at larger weights, in float32 and in bf16, and compares loss and every
gradient with plain training. A row takes one to three seconds on one core. Rows that `--out` holds
already are not made again; delete the file to start over. `--page` writes the table of the docs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import transformers
from family_checks import ALONE, RECOMPUTES, Row, check_row
from family_configs import row_names
from family_tables import NOT_BUILT, VARIANTS

from atlas.training.engine.exact_engine import PARTS

ALL_PARTS = " ".join(part for part in PARTS if part != RECOMPUTES)
NOT_RIGHT = "not right"
PAGE = """\
# Model families

```sh
python benchmarks/families.py --page docs/families.md
```

This command makes this page. It builds every causal language model of transformers {version} from a
small random config (4 layers, windows of 64 tokens), trains one step on it with the
[exact engine](commands/train.md), and compares the loss and every gradient with plain training in
float64, one sequence at a time. The samples are longer than every length that a config names.

Each row is made at the usual initialization and at larger weights, in float32 and in bf16, and
shows the parts that it gets in all of these. The slow test `tests/training/test_families.py` fails
if a row changes.

The engine tries its parts on each model before it trains, and does without those that are not
exact there. Layers with a state (convolutions, linear attention, Mamba), ALiBi, and attention that
is not exact over a row run sequence by sequence inside it. A model that cannot pack rows, or whose
sequences depend on their neighbors, has a separate forward pass for each sequence, without padding.

The part `recompute` is not in the tables, because it depends on other properties: layers without a
convolution, in a list named `layers`. Where the engine chooses it, the sweep uses it in every pass,
however small.

A model that is not causal is refused, and so is a loss that plain training would add. The variants
that draw at random are compared with the same seed, or by means over draws.
`python benchmarks/hybrids.py` measures what packed rows bring to layers with a state.

{tables}
## Not built

| family | reason |
|---|---|
{not_built}
"""


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a file that this version of transformers made."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        record = json.loads(line)
        if record.pop("transformers") == transformers.__version__:
            said, wrong = tuple(record.pop("said")), tuple(record.pop("wrong"))
            rows[record["name"]] = Row(**record, said=said, wrong=wrong)
    return rows


def make_rows(names: Sequence[str], path: Path) -> dict[str, Row]:
    """Add what is missing to the file."""
    rows = read_rows(path)
    missing = [name for name in names if name not in rows]
    with path.open("a", encoding="utf-8") as file:
        for number, name in enumerate(missing, start=1):
            started = time.monotonic()
            row = check_row(name)
            seconds = time.monotonic() - started
            rows[name] = row
            file.write(json.dumps({**row.as_json(), "transformers": transformers.__version__}))
            file.write("\n")
            file.flush()
            verdict = "; ".join(row.wrong) or "right"
            progress = f"{number}/{len(missing)} {name}: {row.gets}, {verdict} ({seconds:.1f} s)"
            print(progress, file=sys.stderr, flush=True)
    return {name: rows[name] for name in names}


def group(rows: Iterable[Row]) -> dict[str, list[str]]:
    """What is given -> the rows that get it, those with most parts first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[NOT_RIGHT if row.wrong else row.gets].append(row.name)
    last = ("refused", "error", NOT_RIGHT)

    def rank(gets: str) -> tuple[bool, bool, int, str]:
        parts = gets.split(",")[0].split()
        return gets in last, "plain" in parts, ("one by one" in gets) * 10 - len(parts), gets

    return {gets: groups[gets] for gets in sorted(groups, key=rank)}


def print_table(rows: Iterable[Row]) -> None:
    rows = list(rows)
    for gets, names in group(rows).items():
        print(f"{_title(gets)} ({len(names)}): {', '.join(names)}")
    for row in rows:
        for problem in row.wrong:
            print(f"not right: {row.name} ({row.gets}): {problem}")


def page_of(rows: Mapping[str, Row]) -> str:
    """The page of the docs."""
    families = [row for name, row in rows.items() if name not in VARIANTS]
    variants = [row for name, row in rows.items() if name in VARIANTS]
    tables = []
    for title, chosen in (("Families", families), ("Variants", variants)):
        lines = [f"## {title}", "", "| engine | rows |", "|---|---|"]
        for gets, names in group(chosen).items():
            # A variant's name has a comma.
            shown = "; ".join(names) if title == "Variants" else ", ".join(names)
            lines.append(f"| {_title(gets)} | {shown} |")
        tables.append("\n".join(lines) + "\n")
    reasons = "\n".join(f"| {name} | {reason} |" for name, reason in sorted(NOT_BUILT.items()))
    version = transformers.__version__
    return PAGE.format(version=version, tables="\n".join(tables), not_built=reasons)


def _title(gets: str) -> str:
    if gets in ("refused", "error", NOT_RIGHT):
        return gets
    parts, alone, _ = gets.partition(ALONE)
    names = {ALL_PARTS: "all parts", "plain": "none"}.get(parts, parts.replace(" ", ", "))
    return f"{names}; each sequence in a separate pass" if alone else names


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to make; all by default")
    parser.add_argument("--out", type=Path, default=Path("families.jsonl"))
    parser.add_argument("--page", type=Path, help="write the table of the docs; needs all rows")
    given = parser.parse_args()
    known = row_names()
    if unknown := sorted(set(given.names) - set(known)):
        parser.error(f"no row is named {', '.join(unknown)}, expected some of: {', '.join(known)}")
    if given.page and given.names:
        parser.error("--page needs all rows, and only some are named")
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    rows = make_rows(given.names or known, given.out)
    print_table(rows.values())
    if given.page:
        given.page.write_text(page_of(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
