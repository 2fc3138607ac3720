"""Better and worse, and their colors, are said only where a claim about methods is allowed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from atlas.presenting.page import render_page
from atlas.presenting.table import Cell
from atlas.reporting.page.arm_styles import page_marks
from atlas.reporting.page.document import Document, write_document
from atlas.reporting.page.tables import format_main_table
from atlas.reporting.page.write_markdown import write_markdown
from atlas.reporting.report import Report
from tests.reporting.made_arms import make_arm, report_on

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")

DIRECTION = re.compile(
    r"\b(better|worse|best|worst|beats?|outperforms?|superior|inferior|wins?|loses?|"
    r"falls? behind|ahead of|improves?|improved)\b",
    re.I,
)
ALIKE = re.compile(r"\b(alike|equivalent|as good|equal|equals)\b", re.I)
SPLITS = ("held_in_test", "held_out_test")
RATES = st.sampled_from((0.0, 0.05, 0.3, 0.35, 0.9, 1.0))


@dataclass(frozen=True)
class Case:
    """What a report is made of; rates and shares of broken episodes are by arm and split."""

    seed: int
    num_tasks: int
    num_splits: int
    num_runs: dict[str, int]
    rates: list[float]
    broken: list[float]
    settings: dict[str, Any]

    def report(self) -> Report:
        rng, cells = (
            np.random.default_rng(self.seed),
            iter(zip(self.rates, self.broken, strict=True)),
        )
        arms = []
        for name, num_runs in self.num_runs.items():
            successes = {}
            for split in SPLITS[: self.num_splits]:
                rate, broken = next(cells)
                values = (rng.random((num_runs, self.num_tasks)) < rate).astype(float)
                values[rng.random(values.shape) < broken] = np.nan
                successes[split] = values
            arms.append(make_arm(name, successes, num_groups=5))
        return report_on(arms, **self.settings)


@st.composite
def cases(draw: Any) -> Case:
    """One to three arms with one to four trainings, and an untuned model or none."""
    names = ["all", "critical", "random"][: draw(st.integers(1, 3))]
    num_runs = {"base": 1} if draw(st.booleans()) else {}
    num_runs |= {name: draw(st.integers(1, 4)) for name in names}
    most = len(SPLITS) * len(num_runs)
    return Case(
        seed=draw(st.integers(0, 1000)),
        num_tasks=draw(st.sampled_from((1, 3, 30))),
        num_splits=draw(st.integers(1, 2)),
        num_runs=num_runs,
        rates=draw(st.lists(RATES, min_size=most, max_size=most)),
        broken=draw(st.lists(st.sampled_from((0.0, 0.3)), min_size=most, max_size=most)),
        settings={
            "margin": draw(st.sampled_from((None, 5.0, 60.0))),
            "seed_sd": draw(st.sampled_from((None, 0.0, 3.5))),
            "average": draw(st.sampled_from(("tasks", "groups"))),
        },
    )


def cells_of(document: Document) -> Iterator[Cell]:
    for section in document.sections:
        for table in section.tables:
            for group in table.groups:
                for row in group.rows:
                    yield from row.cells


def texts_of(document: Document) -> Iterator[str]:
    """Every text of a document, sentence by sentence and cell by cell."""
    report = document.report
    yield from (report.headline, *report.findings, *(note.text for note in report.notes))
    yield document.facts
    yield from (cell.plain for cell in cells_of(document))
    for tile in document.tiles:
        yield tile.verdict
    for section in document.sections:
        yield from (section.title, section.lead, *section.items)
        for plot in section.plots:
            yield from (plot.title, plot.caption)
        for table in section.tables:
            yield from (table.caption, *table.columns)


def forms_of(document: Document) -> dict[str, str]:
    """The report as people and programs read it."""
    report = document.report
    page = render_page(
        "atlas.reporting.page",
        "report.html.j2",
        title=report.title,
        sections=document.sections,
        marks=page_marks(report),
        highlighted=[],
        document=document,
        report=report,
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(format_main_table(report))
    return {
        "html": re.sub(r"<style>.*?</style>", "", page, flags=re.S),
        "markdown": write_markdown(document),
        "terminal": console.export_text(),
        "json": report.model_dump_json(),
    }


def check_words(report: Report) -> None:
    document = write_document(report)
    kinds = {row.claim for row in report.comparisons}
    # A unit may show how much trainings vary where the whole scope does not.
    kinds |= {one.claim for unit in report.units for one in unit.arms if one.claim}
    forms = forms_of(document)
    if not kinds & {"methods", "assumed"}:
        for name, text in forms.items():
            # The words of the page, and nothing in its tags.
            shown = re.sub(r"<[^>]*>", " ", text) if name == "html" else text
            assert not DIRECTION.search(shown), (name, DIRECTION.findall(shown))
    if "methods" not in kinds:
        assert not re.search(r'class="[^"]*\b(good|bad)\b', forms["html"])
        assert not any(cell.tone in ("good", "bad") for cell in cells_of(document))
    for text in texts_of(document):
        if DIRECTION.search(text) and "methods" not in kinds:
            assert "if seeds vary by" in text.lower() or "f seeds vary by" in text, text
    _check_rows(report)
    # Whoever is colored has a verdict with a direction, about methods.
    is_colored = any(cell.tone in ("good", "bad") for cell in cells_of(document))
    assert is_colored <= any(
        row.claim == "methods" and row.verdict in ("better", "worse") for row in report.comparisons
    )
    _check_json(json.loads(forms["json"]), kinds)


def _check_rows(report: Report) -> None:
    for row in report.comparisons:
        if row.verdict in ("better", "worse", "not_worse", "alike", "undecided"):
            assert row.claim != "checkpoints"
        if row.claim == "methods":
            assert max(row.num_trainings) >= 3
    if not any(row.within_margin == "alike" for row in report.comparisons):
        for text in (report.headline, *report.findings):
            assert not ALIKE.search(text), text


def _check_json(value: Any, kinds: set[str]) -> None:
    """In report.json, a verdict with a direction stands beside a claim that allows it."""
    if isinstance(value, dict):
        if value.get("claim") == "checkpoints":
            assert not DIRECTION.search(json.dumps(value))
        for inner in value.values():
            _check_json(inner, kinds)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, kinds)


LIMITS = {"suppress_health_check": [HealthCheck.too_slow], "deadline": None}


@settings(max_examples=8, **LIMITS)  # type: ignore[arg-type]
@given(cases())
def test_words_and_tones_of_any_report_follow_from_its_claims(case: Case) -> None:
    check_words(case.report())


@pytest.mark.slow
@settings(max_examples=200, **LIMITS)  # type: ignore[arg-type]
@given(cases())
def test_words_and_tones_of_many_reports_follow_from_their_claims(case: Case) -> None:
    check_words(case.report())


@pytest.mark.parametrize(
    ("num_runs", "settings_of"), [(1, {}), (1, {"seed_sd": 2.0}), (2, {}), (4, {"margin": 5.0})]
)
def test_words_and_tones_where_arms_are_far_apart(num_runs: int, settings_of: Any) -> None:
    rng = np.random.default_rng(0)
    arms = [
        make_arm(name, {split: (rng.random((num_runs, 80)) < rate) * 1.0 for split in SPLITS})
        for name, rate in (("all", 0.2), ("critical", 0.8), ("random", 0.2))
    ]
    report = report_on(arms, **settings_of)
    check_words(report)
    said = " ".join((report.headline, *report.findings))
    assert bool(DIRECTION.search(said)) == bool(num_runs > 2 or settings_of)
