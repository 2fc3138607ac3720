"""An audit as text for the terminal, and as JSON for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from atlas.auditing.audit_files import Audit, settings_of
from atlas.auditing.findings import FINDINGS
from atlas.auditing.own_code import Execution
from atlas.auditing.supervision import NUM_CODES, name_of
from atlas.auditing.tally import ShownRow
from atlas.rendering.colored_tokens import color_tokens
from atlas.store.record_files import written_whole
from atlas.terminal.visible_text import one_line, print_text, print_whole, visible

VERSION = 1
LONGEST_REASON = 160


def print_audit(console: Console, audit: Audit, execution: Execution | None = None) -> None:
    """Print what would be supervised, what is wrong, and the worst rows."""

    def line(text: str, style: str = "") -> None:
        print_text(console, visible(text), style)

    tally = audit.tally
    tokens, supervised = int(tally.tokens.sum()), int(tally.supervised.sum())
    line(f"in:        {', '.join(_files(audit))}: {tally.num_rows:,} rows")
    line(f"as:        {_describe(audit)}")
    line(
        f"tokens:    {tokens:,}, of them {supervised:,} supervised "
        f"({supervised / max(1, tokens):.1%}) in {tally.num_turns:,} turns; the longest row has "
        f"{tally.longest:,}"
        + (f"; {tally.num_cut_tokens:,} more are cut" if tally.num_cut_tokens else "")
    )
    if tokens:
        print_whole(console, _table(audit))
    for row in tally.worst:
        _print_row(console, audit, row)
    if execution is not None:
        for text in execution.lines():
            line(text)
    found = list(_findings(audit))
    console.print()
    for name, text, fails in found:
        line(f"{'found' if fails else 'note'}:{' ' * (6 if not fails else 5)}{name}: {text}")
    if not found:
        line("found:     nothing")
    failed = audit.failed_on
    if failed:
        line(f"result:    exit status 1 for findings of {', '.join(failed)} (see fail_on)")
    else:
        line("result:    clean")


def write_audit(path: Path, audit: Audit, execution: Execution | None = None) -> None:
    """Write the audit as JSON."""
    text = json.dumps(as_json(audit, execution), indent=1, ensure_ascii=True)
    with written_whole(path) as file:
        file.write(f"{text}\n".encode())


def as_json(audit: Audit, execution: Execution | None = None) -> dict[str, Any]:
    """The audit as an object; docs/commands/audit.md lists the keys."""
    tally = audit.tally
    return {
        "version": VERSION,
        "trainer": audit.config.trainer.name,
        "modeled": audit.trainer.version,
        "settings": settings_of(audit.config),
        "tokenizer": audit.trainer.template.name,
        "files": list(_files(audit)),
        "rows": tally.num_rows,
        "sequences": tally.num_sequences,
        "tokens": int(tally.tokens.sum()),
        "supervised": int(tally.supervised.sum()),
        "cut_tokens": tally.num_cut_tokens,
        "supervised_turns": tally.num_turns,
        "longest": tally.longest,
        "parts": {
            name: {"tokens": tokens, "supervised": supervised}
            for name, tokens, supervised in _parts(audit)
        },
        "findings": {
            name: {
                "unit": FINDINGS[name].unit,
                "count": found.count,
                "rows": found.num_rows,
                "examples": [
                    {"where": example.where, "detail": example.detail} for example in found.examples
                ],
            }
            for name, found in sorted(tally.found.items())
        },
        "worst": [
            {"where": row.where, "findings": list(row.findings), "text": _text(audit, row).plain}
            for row in tally.worst
        ],
        "fail_on": list(audit.config.fail_on),
        "failed_on": list(audit.failed_on),
        **({} if execution is None else {"executed": execution.as_json()}),
    }


def _files(audit: Audit) -> tuple[str, ...]:
    return audit.files or audit.config.paths


def _describe(audit: Audit) -> str:
    settings = ", ".join(
        f"{key}={_short(value)}" for key, value in settings_of(audit.config).items()
    )
    said = f" ({settings})" if settings else ""
    return f"{audit.trainer.version}{said}, tokenizer {audit.trainer.template.name}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value)) or "none"
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _parts(audit: Audit) -> Iterator[tuple[str, int, int]]:
    for code in range(NUM_CODES):
        tokens, supervised = int(audit.tally.tokens[code]), int(audit.tally.supervised[code])
        if tokens or supervised:
            yield name_of(code), tokens, supervised


def _table(audit: Audit) -> Table:
    columns = (Column(name, justify="right") for name in ("tokens", "supervised", "share"))
    table = Table("part", *columns, box=None)
    for name, tokens, supervised in _parts(audit):
        table.add_row(name, f"{tokens:,}", f"{supervised:,}", f"{supervised / max(1, tokens):.1%}")
    return table


def _findings(audit: Audit) -> Iterator[tuple[str, str, bool]]:
    for name, kind in FINDINGS.items():
        found = audit.tally.found.get(name)
        if found is None:
            continue
        first = found.examples[0]
        rows = "" if kind.unit == "rows" else f" in {found.num_rows:,} rows"
        reason = one_line(first.detail, LONGEST_REASON)
        text = f"{found.count:,} {kind.unit}{rows} {kind.sentence}; first: {first.where}: {reason}"
        yield name, text, name in audit.config.fail_on


def _text(audit: Audit, row: ShownRow) -> Any:
    return color_tokens(
        audit.trainer.template.tokenizer,
        np.asarray(row.token_ids, dtype=np.int64),
        np.asarray(row.mask, dtype=np.bool_),
    )


def _print_row(console: Console, audit: Audit, row: ShownRow) -> None:
    console.print()
    title = f"{row.where}: {', '.join(row.findings)}; supervised between ⟦ and ⟧:"
    print_text(console, visible(title), "bold")
    if row.num_before:
        print_text(console, f"{row.num_before:,} tokens without loss …", "dim")
    console.print(_text(audit, row), soft_wrap=True)
    if (left := row.num_tokens - row.num_before - len(row.token_ids)) > 0:
        print_text(console, f"… {left:,} more tokens", "dim")
