"""The rows of the benchmark `selector_agreement` that ask an oracle, alone or after layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from label_server import disturbed, serve_labels, shown
from selector_data import Labeled

from atlas.config import check_config
from atlas.records import Trajectory
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.readers import read_selections
from atlas.store.run_folders import Manifest

# USD per million tokens. They are examples.
PRICES = """\
strong: {input: 2.5, output: 10}
second: {input: 0.15, output: 0.6}
worse: {input: 0.15, output: 0.6}
"""
# The share of the second reader's steps that the worse judge replaces by others.
REPLACED = 0.5
# The values of `agreement`; a random check is the control.
AGREEMENTS = {"rules": (0.3, 0.5, 1.0), "random": (0.5,)}
# The strong model by itself: about all trajectories, and about those that were read twice.
ALONE, READ_TWICE = "oracle", "strong model only"
Measure = Callable[[Mapping[str, frozenset[int]], Labeled], dict[str, Any]]


def measure_layers(
    work: Path,
    data: Sequence[Labeled],
    measure: Measure,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Ask the loopback oracle, by itself and with layers before it, and measure what it chooses."""
    prices = work / "prices.yaml"
    prices.write_text(PRICES)
    for one in (one for one in data if one.answers):
        twice = [each for each in one.trajectories if each.id in one.second]
        with serve_labels(models_of(one)) as url:
            asking = {"endpoint": {"base_url": url}, "prices": str(prices)}

            def run(
                name: str,
                trajectories: Sequence[Trajectory],
                settings: Mapping[str, Any],
                one: Labeled = one,
                asking: Mapping[str, Any] = asking,
            ) -> None:
                where = one.part(f"asked-{len(trajectories)}", trajectories)
                values = {"selector": {"name": "oracle", **asking, **settings}}
                out = one.folder / "layers" / name.replace(" ", "-").replace(",", "")
                manifest = select_steps(check_config(SelectConfig, values, name), where, out)
                found = read_selections(out, where)
                chosen = {id_: each.indices for id_, each in found.items()}
                keep({"data": one.name, "row": name} | measure(chosen, one) | priced(manifest))

            run(ALONE, one.trajectories, {"model": "strong"})
            if twice:
                run(READ_TWICE, twice, {"model": "strong"})
                where = one.part(f"asked-{len(twice)}", twice)
                for name, settings in ways(one, where, url):
                    run(name, twice, settings)


def models_of(data: Labeled) -> dict[str, dict[str, Any]]:
    """What each model of the loopback oracle answers, by what a question shows."""
    known = {each.id: each for each in data.trajectories}
    texts = {id_: shown(each) for id_, each in known.items()}
    read = {id_: answer for id_, answer in data.second.items() if id_ in known}
    return {
        "strong": {texts[id_]: data.answers[id_] for id_ in known},
        "second": {texts[id_]: answer for id_, answer in read.items()},
        "worse": {
            texts[id_]: disturbed(answer, known[id_], REPLACED) for id_, answer in read.items()
        },
    }


def ways(data: Labeled, where: Path, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The small judges by themselves, and as a layer with either check."""
    drawn = data.folder / "layers" / "random"
    select_steps(check_config(SelectConfig, {"selector": "random"}, "random"), where, drawn)
    checks = {"rules": {}, "random": {"checked_by": str(drawn)}}
    for small in ("second", "worse"):
        yield f"{small} judge only", {"model": small}
        layers = {"model": "strong", "small": {"model": small, "endpoint": {"base_url": url}}}
        for check, checked in checks.items():
            for least in AGREEMENTS[check]:
                name = f"{check}, {small} judge, agreement {least:g}"
                yield name, layers | checked | {"agreement": least}


def layers_table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is left to the strong model, what it costs, and how near it comes to its labels.

    The last column is what the same share of trajectories would give, drawn at random: the kappa of
    the small judge, and that share of what is missing to 1.
    """
    lines = ["| labels | layers | to the strong model | cost | kappa | if drawn at random |"]
    lines.append("|---" * 6 + "|")
    by_itself = {(one["data"], one["row"]): one["kappa"][0] for one in results}
    whole = {one["data"]: one["cost_usd"] for one in results if one["row"] == READ_TWICE}
    for one in results:
        if one["row"] == ALONE:
            continue
        layers = one.get("layers")
        asked = drawn = ""
        if layers:
            num_strong, num_all = layers[-1]["decided"], one["trajectories"]
            small = by_itself[one["data"], f"{layers[1]['layer']} judge only"]
            asked = f"{num_strong} of {num_all}"
            drawn = f"{small + (1 - small) * num_strong / num_all:.2f}"
        share = f"{one['cost_usd'] / whole[one['data']]:.0%}"
        kappa, low, high = one["kappa"]
        limits = "" if low is None else f" [{low:.2f}, {high:.2f}]"
        world = one["data"].partition(":")[2]
        lines.append(
            f"| {world} | {one['row']} | {asked} | {share} | {kappa:.2f}{limits} | {drawn} |"
        )
    return lines


def priced(manifest: Manifest) -> dict[str, Any]:
    """What the layers decided and cost."""
    summary = manifest.summary
    return {key: summary[key] for key in ("cost_usd", "layers") if key in summary}
