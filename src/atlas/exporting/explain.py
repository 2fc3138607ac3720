"""Describes a dialect: trainer settings, tested versions and known problems of the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atlas.exporting.dialects.base import DIALECT
from atlas.presenting.outcome_shares import BY_OUTCOME, describe_shares, selection_notes
from atlas.store.paths import short_path
from atlas.store.run_folders import Manifest


def explain_dialect(name: str, out: Path | None = None) -> str:
    """The notes of a dialect as text for the terminal."""
    dialect = DIALECT.find(name)
    parts = [
        f"{name}: {DIALECT.describe(name)}",
        f"written to {' or '.join(dialect.suffixes)}",
        "",
        dialect.notes,
    ]
    if stanza := explain_stanza(name, out):
        parts += ["", "in the trainer:", *(f"  {line}" for line in stanza.splitlines())]
    return "\n".join(parts)


def explain_stanza(name: str, out: Path | None = None) -> str:
    """The trainer's own settings for a file; empty if it needs none."""
    stanza: str = DIALECT.find(name).stanza
    return stanza.replace("{file}", str(out) if out else "FILE")


def describe_export(manifest: Manifest, out: Path, came_in: Sequence[str], left_out: str) -> str:
    """The closing lines of an export: input, output, losses, and the trainer's settings."""
    summary = manifest.summary
    lines = [
        f"in:        {', '.join(came_in)}",
        f"out:       {out}: {summary['rows']:,} rows of {summary['exported']:,} trajectories, "
        f"{summary['critical_steps']:,} of {summary['steps']:,} steps critical",
        f"left out:  {left_out}",
        *([f"limited:   {summary['limited']}"] if "limited" in summary else []),
        *(f"changed:   {count:,} × {loss}" for loss, count in summary["losses"].items()),
        *(f"note:      {note}" for note in summary.get("notes", ())),
    ]
    # An export that was made by an earlier version has no such counts.
    selected = summary.get(BY_OUTCOME, {})
    place = out.parent / manifest.inputs["trajectories"].path
    if selected:
        lines.append(f"outcomes:  selected steps {describe_shares(selected)}")
    lines += [f"note:      {note}" for note in selection_notes(summary, short_path(place))]
    stanza = explain_stanza(manifest.config["dialect"]["name"], out)
    return "\n".join(lines) + (f"\n\n{stanza}" if stanza else "")
