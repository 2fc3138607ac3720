"""What each selector chooses, measured against labels of a language model and of experts.

    python benchmarks/selector_agreement.py --labels LABELS --trajectories AGENTTRAJ --work WORK
        [--model SMOLLM2] [--subset 8] [--only rules perplexity] [--page docs/selectors.md]

AGENTTRAJ holds AgentTraj's files (babyai_train.json, …), LABELS a file of answers to the oracle's
prompt for each of them, and maybe `second_reading.jsonl`, the answers of a second reader to some.
`atlas collect` makes the experts' trajectories of `--worlds`; every step that an expert marks is a
label. All selectors have the budget floor(0.3 T), at least 1, as the labels of the language model.
With `--page`, everything from the heading "Tables" on is written into the page of the docs.

Every row of SELECTORS is measured, or the table says why not. Selectors without a model run on all
trajectories with at least three steps, `learned` on each fifth of the tasks after training on the
others, those with a model on `--subset` trajectories of each world, drawn by `--seed`, of experts
on `--expert-subset`; rows that sample responses on `--samples` of the language model's. `oracle`
asks a loopback server that answers from the labels, so its kappa must be 1; with layers, the second
reader is the small judge, or a worse one: half of the second reader's steps are replaced by others.

kappa is (common - expected) / (mean of both numbers of steps - expected), where the expected number
of common steps is that of a random draw within each trajectory. `position` chooses the steps whose
position is labeled most often in other trajectories (five folds by task), and "beyond position" is
the selector's kappa minus that of `position` on the same trajectories. Intervals are 95 %
jackknife intervals over tasks. A trajectory of which a selector chooses nothing, with a problem as
the reason, does not count: "n 30 of 66". Results are kept in WORK: a second start measures only
what is missing. Seconds are of this process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from selector_data import (
    Labeled,
    budget_of,
    fold_of,
    play_experts,
    read_oracle_labels,
)
from selector_layers import layers_table, measure_layers
from selector_readings import Readings

from atlas.config import check_config
from atlas.errors import AtlasError
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.budget import best_indices
from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.selection.selectors.base import SELECTORS
from atlas.selection.write_selections import write_selections
from atlas.statistics.agreement import expected_jaccard
from atlas.statistics.bootstrap import Floats, divide
from atlas.statistics.jackknife import estimate_from_sums, sum_by_unit
from atlas.statistics.task_unit import task_of
from atlas.store.readers import read_selections

POSITION = "position"
TABLES = "## Tables"
# The sizes of Row, the cheapest first.
SIZES = ("all", "subset", "samples", "rollouts")
# `learned` measures itself on this share of its training tasks, which it is not trained on.
HELD_OUT = 0.1
# The bands of entropy, in quantiles.
BANDS = ((0, 0.3), (0.2, 0.8), (0.35, 0.65))
# How `pivot` samples.
SAMPLING = {"num_samples": 4, "player": {"name": "local", "max_new_tokens": 64}}
BOTH, EXPECTED, MEAN, JACCARD, CHANCE_JACCARD, HAS_JACCARD, BOTH_AT, EXPECTED_AT, MEAN_AT = range(9)
# Which steps a selector chose, by trajectory id.
Chosen = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Row:
    """A selector with settings.

    Attributes:
        size: which trajectories it runs on: all, subset (it scores with a model), samples (it
            samples responses of a model) or rollouts (it plays episodes with a model).
        only: the beginning of the names of the data that it fits.
        is_read: whether its scores are of what the model reads once for all such rows.
        unless: why it is not measured.
    """

    name: str
    selector: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: str = "all"
    only: str = ""
    is_read: bool = False
    unless: str | None = None


def rows_of(given: argparse.Namespace) -> list[Row]:
    """All rows, in the order of the table. SELECTORS without a row here run as they come."""
    no_model = None if given.model else "give --model"
    no_reference = (
        no_model if given.reference else "it needs a second model of one family: --reference"
    )
    no_rollouts = no_model if given.rollouts else "it plays episodes from every step: --rollouts"
    no_samples = no_model if given.samples else "it samples responses at every step: --samples"
    local = {"model": str(given.model)}
    pair = local | {"reference_model": str(given.reference), "precision": given.precision}

    def scored(name: str, selector: str, **settings: Any) -> Row:
        return Row(name, selector, settings, "subset", unless=no_model, is_read=True)

    known = [
        Row("all", "all", unless="it chooses every step"),
        Row("annotated", "annotated", only="expert"),
        Row("complement", "complement", unless="it is the complement of another selection"),
        Row("rejection", "rejection", unless="it asks a model, and labels of its kind are missing"),
        Row("vote", "vote", unless="it combines other selections"),
        Row("learned", "learned"),
        Row("oracle", "oracle", unless="it asks a model: see the rows with layers"),
        scored("perplexity", "perplexity"),
        *(scored(f"perplexity, {band}", "perplexity", band=band) for band in ("mid", "low")),
        scored("entropy", "entropy"),
        *(
            scored(f"entropy, {low:g} to {high:g}", "entropy", band=[low, high])
            for low, high in BANDS
        ),
        scored("hindsight", "hindsight", assume="success"),
        Row("excess-loss", "excess-loss", pair, "subset", unless=no_reference),
        Row("pivot", "pivot", local | SAMPLING, "samples", "oracle", unless=no_samples),
        Row("rollout-value", "rollout-value", local, "rollouts", "expert", unless=no_rollouts),
    ]
    named = {row.selector for row in known}
    known = [row for row in known if row.selector in SELECTORS]
    rest = [Row(name, name) for name in SELECTORS if name not in named]
    wanted = [row for row in (*rest, *known) if not given.only or row.selector in given.only]
    return sorted(wanted, key=lambda row: (SIZES.index(row.size), row.name))


def choose(
    row: Row,
    data: Labeled,
    trajectories: Sequence[Trajectory],
    folder: Path,
    readings: Readings | None,
) -> Chosen:
    """What a selector chooses."""
    if row.selector == "learned":
        return choose_by_learned(data, trajectories, folder)
    if row.is_read and readings is not None:
        scores = readings.scores(row.selector, row.settings, trajectories)
        return {
            one.id: frozenset(best_indices(scores[one.id], budget_of(one)))
            for one in trajectories
            if one.id in scores
        }
    run = data.part(str(len(trajectories)), trajectories)
    values = {"selector": {"name": row.selector, **row.settings}}
    select_steps(check_config(SelectConfig, values, where=row.name), run, folder / "selection")
    return indices_in(folder / "selection", run)


def name_of(row: str, trajectories: Sequence[Trajectory]) -> str:
    return f"{row}-{len(trajectories)}".replace(" ", "-").replace(",", "")


def indices_in(selection: Path, run: Path) -> Chosen:
    """The chosen steps, without trajectories that have a problem."""
    found = read_selections(selection, run)
    return {id_: one.indices for id_, one in found.items() if one.problem is None}


def choose_by_learned(data: Labeled, trajectories: Sequence[Trajectory], folder: Path) -> Chosen:
    """Each fold of the tasks is chosen by a selector that was trained on the others."""
    chosen: dict[str, frozenset[int]] = {}
    for fold in sorted({fold_of(one) for one in trajectories}):
        others = [one for one in trajectories if fold_of(one) != fold]
        held_out = [one for one in trajectories if fold_of(one) == fold]
        place = folder / f"fold-{fold}"
        train = data.part(f"without-fold-{fold}", others)
        test = data.part(f"fold-{fold}", held_out)
        given = [labels_of(data, one) for one in others]
        write_selections(given, train, place / "labels", sentence="the labeled steps")
        settings = SelectTrainConfig(held_out=HELD_OUT)
        train_selector(settings, train, place / "labels", place / "learned")
        learned = {"name": "learned", "model": str(place / "learned"), "allow_chance": True}
        config = check_config(SelectConfig, {"selector": learned}, where="learned")
        select_steps(config, test, place / "selection")
        chosen |= indices_in(place / "selection", test)
    return chosen


def labels_of(data: Labeled, trajectory: Trajectory) -> Selection:
    steps = sorted(data.labels[trajectory.id])
    return Selection(
        trajectory_id=trajectory.id,
        selector="labels",
        num_steps=len(trajectory.steps),
        budget=max(len(steps), budget_of(trajectory)),
        critical_steps=tuple(CriticalStep(index=index) for index in steps),
    )


def measure(chosen: Chosen, data: Labeled, labels: Chosen | None = None) -> dict[str, Any]:
    """Agreement with the labels, and with what a control by position reaches there."""
    labels = data.labels if labels is None else labels
    both = [one for one in data.trajectories if one.id in chosen and one.id in labels]
    rows = [
        measures_of(chosen[one.id], labels[one.id], data.by_position[one.id], len(one.steps))
        for one in both
    ]
    units = sum_by_unit(np.array(rows, dtype=np.float64), [*map(task_of, both)])

    def beyond(sums: Floats) -> Floats:
        return kappa_of(sums, BOTH, EXPECTED, MEAN) - kappa_of(sums, BOTH_AT, EXPECTED_AT, MEAN_AT)

    statistics = {
        "kappa": lambda sums: kappa_of(sums, BOTH, EXPECTED, MEAN),
        "jaccard": lambda sums: divide(sums[..., JACCARD], sums[..., HAS_JACCARD]),
        "chance_jaccard": lambda sums: divide(sums[..., CHANCE_JACCARD], sums[..., HAS_JACCARD]),
        "beyond_position": beyond,
    }
    found = [estimate_from_sums(units, statistic) for statistic in statistics.values()]
    return {"trajectories": len(both), "tasks": len(units)} | {
        name: [one.value, one.low, one.high] for name, one in zip(statistics, found, strict=True)
    }


def measures_of(
    chosen: frozenset[int], labeled: frozenset[int], control: frozenset[int], num_steps: int
) -> list[float]:
    def counts(other: frozenset[int]) -> list[float]:
        both, first, second = len(other & labeled), len(other), len(labeled)
        return [both, first * second / num_steps, (first + second) / 2]

    either = len(chosen | labeled)
    by_chance = expected_jaccard(len(chosen), len(labeled), num_steps) if either else 0.0
    jaccard = len(chosen & labeled) / either if either else 0.0
    return [*counts(chosen), jaccard, by_chance, bool(either), *counts(control)]


def kappa_of(sums: Floats, both: int, expected: int, mean: int) -> Floats:
    return divide(sums[..., both] - sums[..., expected], sums[..., mean] - sums[..., expected])


def measure_rows(
    given: argparse.Namespace, data: Sequence[Labeled], keep: Callable[[dict[str, Any]], None]
) -> None:
    """Measure all rows on all data, one after another."""
    readings = (
        Readings(given.model, given.precision, given.work / "readings") if given.model else None
    )
    for one in data:
        keep({"data": one.name, "row": POSITION} | measure(one.by_position, one))
        if one.second and (ids := one.second.keys() & one.labels.keys()):
            second = {id_: indices_of(one.second[id_]) for id_ in ids}
            keep({"data": one.name, "row": "second reader"} | measure(second, one))
    for row, one in ((row, one) for row in rows_of(given) for one in data):
        if not one.name.startswith(row.only):
            continue
        is_expert = one.name.startswith("expert")
        subset = given.expert_subset if is_expert else given.subset
        size = {
            "all": len(one.trajectories),
            "subset": subset,
            "samples": given.samples,
            "rollouts": given.rollouts,
        }[row.size]
        trajectories = one.drawn(size, given.seed)
        result: dict[str, Any] = {"data": one.name, "row": row.name}
        started = time.process_time()
        folder = one.folder / "rows" / name_of(row.name, trajectories)
        try:
            if row.unless is not None:
                result["not_measured"] = row.unless
            elif chosen := choose(row, one, trajectories, folder, readings):
                result |= measure(chosen, one) | {"given": len(trajectories)}
            else:
                result["not_measured"] = f"it chooses nothing in {len(trajectories)} trajectories"
        except AtlasError as error:
            reason = str(error)
            # The page names no folder of this machine.
            result["not_measured"] = (
                reason.replace(str(given.model), "the model") if given.model else reason
            )
        keep(result | {"seconds": round(time.process_time() - started, 1)})


def indices_of(answer: Mapping[str, Any]) -> frozenset[int]:
    return frozenset(step["index"] for step in answer["critical_steps"])


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Tables for each kind of labels, a row per selector; then what was not measured, and why."""
    lines = [TABLES, ""]
    for kind in dict.fromkeys(one["data"].partition(":")[0] for one in results):
        part = [
            one
            for one in results
            if one["data"].startswith(kind) and "kappa" in one and "cost_usd" not in one
        ]
        for title, cell in (("kappa", kappa_cell), ("kappa beyond position; Jaccard", beyond_cell)):
            lines += [*table(f"{kind} labels, {title}", part, cell), ""]
    if any("cost_usd" in one for one in results):
        lines += [*layers_table([one for one in results if "cost_usd" in one]), ""]
    return "\n".join([*lines, *not_measured_table(results)]) + "\n"


def not_measured_table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each row that was not measured, on which labels, and why."""
    known = {one["row"] for one in results if "kappa" in one and "cost_usd" not in one}
    where: dict[tuple[str, str], list[str]] = {}
    for one in results:
        if "not_measured" in one:
            where.setdefault((one["row"], one["not_measured"]), []).append(one["data"])
    return [
        "| not measured | on | why |",
        "|---|---|---|",
        *(
            f"| {row} | {', '.join(data) if row in known else 'all'} | {reason.split('. ')[0]} |"
            for (row, reason), data in where.items()
        ),
    ]


def write_page(page: Path, tables: str) -> None:
    """Replace the tables of the page, which are everything from their heading on."""
    text, heading, _ = page.read_text(encoding="utf-8").partition(f"{TABLES}\n")
    if not heading:
        raise SystemExit(f"{page} has no heading '{TABLES}', expected one where the tables begin")
    page.write_text(text + tables, encoding="utf-8")


def table(
    title: str, results: Sequence[Mapping[str, Any]], cell: Callable[[Mapping[str, Any]], str]
) -> list[str]:
    worlds = list(dict.fromkeys(one["data"] for one in results))
    lines = [f"| {title} | {' | '.join(one.partition(':')[2] for one in worlds)} |"]
    lines += ["|---" * (1 + len(worlds)) + "|"]
    for name in dict.fromkeys(one["row"] for one in results):
        cells = {one["data"]: cell(one) for one in results if one["row"] == name}
        lines.append(f"| {name} | {' | '.join(cells.get(one, '') for one in worlds)} |")
    return lines


def kappa_cell(result: Mapping[str, Any]) -> str:
    count, given = result["trajectories"], result.get("given")
    of = f" of {given}" if given not in (None, count) else ""
    return f"{shown_estimate(result['kappa'], '.2f')}, n {count}{of}"


def beyond_cell(result: Mapping[str, Any]) -> str:
    beyond = shown_estimate(result["beyond_position"], "+.2f")
    return f"{beyond}; {result['jaccard'][0]:.2f} (chance {result['chance_jaccard'][0]:.2f})"


def shown_estimate(estimate: Sequence[float | None], form: str) -> str:
    value, low, high = estimate
    limits = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
    return f"{value:{form}}{limits}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=Path, required=True, help="the folder of labels")
    parser.add_argument("--trajectories", type=Path, required=True, help="AgentTraj's files")
    parser.add_argument("--work", type=Path, required=True, help="where run folders are kept")
    parser.add_argument("--worlds", nargs="*", default=["babyai", "textcraft", "maze", "sql"])
    parser.add_argument("--episodes", type=int, default=100, help="of each expert")
    parser.add_argument("--model", type=Path, default=None, help="a model folder")
    parser.add_argument("--reference", type=Path, default=None, help="for excess-loss")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--subset", type=int, default=8, help="trajectories a world with a model")
    parser.add_argument("--expert-subset", type=int, default=4, help="the same, of experts")
    parser.add_argument("--samples", type=int, default=2, help="as --subset, for sampling rows")
    parser.add_argument("--rollouts", type=int, default=0, help="the same, for rollout-value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="selectors to measure")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    parser.add_argument("--page", type=Path, default=None, help="the page to write; needs all rows")
    given = parser.parse_args()
    if given.page and given.only:
        parser.error("--page needs all rows, and --only leaves some out")
    given.work.mkdir(parents=True, exist_ok=True)
    data = read_oracle_labels(given.labels, given.trajectories, given.work)
    data += play_experts(given.worlds, given.episodes, given.seed, given.work)
    results: list[dict[str, Any]] = []

    def keep(result: dict[str, Any]) -> None:
        results.append(result)
        told = result["not_measured"] if "not_measured" in result else kappa_cell(result)
        print(f"{result['data']:18} {result['row']:40} {told}", flush=True)
        if given.out is not None:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            content = {"benchmark": "selector_agreement", "rows": results}
            given.out.write_text(json.dumps(content, indent=2) + "\n")

    measure_rows(given, data, keep)
    if not given.only or "oracle" in given.only:
        measure_layers(given.work, data, measure, keep)
    tables = markdown(results)
    print(tables)
    if given.page:
        write_page(given.page, tables)


if __name__ == "__main__":
    main()
