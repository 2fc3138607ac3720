"""Without any extra, each command with each kind works or names the extra that it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.exporting.dialects.base import DIALECTS
from atlas.extras import EXTRAS, OPTIONAL
from atlas.kinds import config_class
from atlas.models.players import PLAYERS
from atlas.selection.selectors.base import SELECTORS
from atlas.trajectories.formats.base import FORMATS

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "recipes" / "demo" / "trajectories.jsonl"
RECIPE = ROOT / "recipes" / "demo" / "babyai.yaml"
MODEL = ROOT / "recipes" / "base" / "model"

# Runs all commands in one interpreter that has no package of any extra.
DRIVER = """
import contextlib, io, json, sys
blocked = set(json.loads(sys.argv[1]))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked or name in blocked:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocker())
from atlas.cli import main
for command in json.loads(sys.argv[2]):
    said, code = io.StringIO(), 0
    sys.argv = ["atlas", *command]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main()
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        code = repr(error)
    print(json.dumps([command, code, said.getvalue()]))
"""
IN, OUT = "--trajectories IN/import", "--out IN/OUT"
SELECTED = f"{IN} --selection IN/rules"
ASKS = "model=m endpoint.base_url=http://127.0.0.1:9/v1 endpoint.max_retries=0"
# The settings with which a selector is asked, and the extra that it then needs.
SELECTIONS: dict[str, dict[str, str | None]] = {
    "all": {"": None},
    "annotated": {f"labels={SAMPLE.parent}/none.jsonl": None, "": None},
    "complement": {"of=IN/rules": None, "": None},
    "dependency": {"": None},
    "diversity": {"": "select", f"embedding_model={MODEL}": "train"},
    "entropy": {f"model={MODEL}": "train", ASKS: "endpoint", "": "train"},
    "errors": {"": None},
    "excess-loss": {f"model={MODEL} reference_model={MODEL}": "train", "": "train"},
    "hindsight": {f"model={MODEL}": "train", ASKS: "endpoint", "": "train"},
    "learned": {"model=IN/none": "select", "": "select"},
    "oracle": {ASKS: "endpoint", "model=openai/gpt-4o": "providers", "": "providers"},
    "perplexity": {
        f"model={MODEL}": "train",
        ASKS: "endpoint",
        "": "train",
        "model=no/such": "train",
    },
    "pivot": {
        f"model={MODEL}": "train",
        f"{ASKS.replace('endpoint.', 'player.endpoint.')} player.name=endpoint": "endpoint",
        "model=openai/x player.name=endpoint": "providers",
        f"model={MODEL} agreement.name=judge": "train",
    },
    "random": {"": None},
    "rejection": {ASKS: "endpoint", "model=anthropic/x": "providers"},
    "rollout-value": {f"model={MODEL}": "train"},
    "rules": {"": None},
    "vote": {"of=[IN/rules,IN/random]": None},
}
DIALECT_NEEDS = {"parquet": "import", "verl": "import", "trl": "train"}
FORMAT_NEEDS = {"inspect": "inspect"}


def commands() -> Iterator[tuple[str, str | None]]:
    """(command, extra): None where the command works, or fails for another reason."""
    yield from selecting()
    yield from exporting_and_importing()
    yield from tuning()


def selecting() -> Iterator[tuple[str, str | None]]:
    for name in SELECTORS:
        for given, extra in SELECTIONS[name].items():
            yield f"select {IN} --selector {name} {OUT} {given}", extra
            # The run folder is not looked at before.
            if extra is not None:
                yield f"select --trajectories IN/none --selector {name} {OUT} {given}", extra
    yield f"select {IN} --selector oracle {OUT} {ASKS} --dry-run", None
    yield f"select-train {SELECTED} {OUT}", "select"
    yield f"select-train {SELECTED} {OUT} encoder={MODEL}", "select"
    yield f"compare-selections IN/rules IN/random {OUT}", "report"
    yield f"compare-selections IN/rules IN/random {OUT} plot=false", "report"
    yield f"compare-selections IN/rules IN/random {OUT} plot=false --tokenizer {MODEL}", "report"


def exporting_and_importing() -> Iterator[tuple[str, str | None]]:
    for name in DIALECTS:
        ending = "parquet" if name in ("parquet", "verl") else "jsonl"
        ending = "json" if name == "llamafactory" else ending
        yield f"export {SELECTED} --to {name} {OUT}.{ending}", DIALECT_NEEDS.get(name)
        yield f"export --to {name} --explain", None
    yield f"export {SELECTED} --to openai {OUT}.jsonl --check --tokenizer {MODEL}", "train"
    for name in FORMATS:
        yield f"import IN/log.json --format {name} {OUT}", FORMAT_NEEDS.get(name)
    yield f"import IN/rows.parquet {OUT}", "import"
    yield f"import IN/rows.zst {OUT}", "import"
    yield f"import {SAMPLE} --tokenizer {MODEL} {OUT}", "train"


def tuning() -> Iterator[tuple[str, str | None]]:
    for model in (MODEL, "no/such", "IN/none"):
        for flag in ("", "--dry-run", "lora.rank=4", "lora.quantize=4bit"):
            yield f"train {SELECTED} --model {model} {OUT} {flag}", "train"
    yield f"train --trajectories IN/none --selection IN/none {OUT} --dry-run", "train"
    for env in ENVIRONMENTS:
        config = config_class(ENVIRONMENT.find(env)).model_construct()
        extra = next(iter(config.needed_extras()), None)
        for player in PLAYERS if extra else ():
            yield f"collect --env {env} {OUT}", extra
            yield f"evaluate --env {env} --player {player} --model m {OUT}", extra
    yield f"evaluate --env no.such:World --model m {OUT}", "train"
    yield "serve --env babyai port=0", "openenv"
    yield f"report {OUT}", "report"
    yield "plan", "report"
    yield f"run {RECIPE} {OUT}", "babyai"
    yield "show IN/import --selection IN/rules", None
    yield f"show IN/import --trajectory kitchen --tokens --tokenizer {MODEL}", "train"
    yield "label IN/import --out IN/labels.jsonl", None
    for name in ("select", "train", ""):
        yield f"settings {name}", None


def run_all(given: list[str], folder: Path) -> list[Any]:
    blocked = sorted({name for names in EXTRAS.values() for name in names} | set(OPTIONAL))
    split = [
        [part.replace("IN", str(folder)).replace("OUT", f"o{number}") for part in one.split()]
        for number, one in enumerate(given)
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(blocked), json.dumps(split)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extras")
    (folder / "log.json").write_text(json.dumps({"version": 2, "eval": {}, "samples": []}))
    (folder / "rows.parquet").write_bytes(b"PAR1")
    (folder / "rows.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    made = run_all(
        [
            f"import {SAMPLE} --out IN/import",
            f"select {IN} --selector rules --out IN/rules",
            f"select {IN} --selector random --out IN/random",
        ],
        folder,
    )
    assert [code for _, code, _ in made] == [0, 0, 0], made
    return folder


def test_every_selector_is_in_the_table() -> None:
    assert set(SELECTIONS) == set(SELECTORS)


def test_each_command_with_each_kind_works_or_names_its_extra(folder: Path) -> None:
    expected = list(commands())
    faults = []
    for (command, extra), (_, code, said) in zip(
        expected, run_all([command for command, _ in expected], folder), strict=True
    ):
        is_named = f"pip install 'atlas-tuning[{extra}]'" in said
        is_right = code == 2 and is_named if extra else code in (0, 1, 2) and "pip" not in said
        if not is_right or "Traceback" in said or said.count("\n") > 4:
            faults.append(f"{command}\n    expected {extra}, got {code}: {said}")
    assert not faults, "\n".join(faults)
