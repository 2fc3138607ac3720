"""The package as it is installed: its extras, and the wheel in an empty environment."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas import __version__
from atlas.extras import EXTRAS as MODULES
from atlas.extras import OPTIONAL, missing
from atlas.shipped import shipped

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "recipes" / "demo" / "trajectories.jsonl"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def packages_of(extra: str) -> set[str]:
    """The packages of an extra, those of the extras that it names included."""
    found = set()
    for requirement in EXTRAS[extra]:
        name, _, inner = re.match(r"([\w-]+)(\[([\w,-]+)\])?", requirement).groups()
        if name == PROJECT["name"]:
            for other in inner.split(","):
                found |= packages_of(other)
        else:
            found.add(name)
    return found


def missing_packages() -> Iterator[tuple[str, str, str]]:
    """(place, package, extra) of every literal `DependencyError("package", "extra")`."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "DependencyError":
                given = [value.value for value in node.args if isinstance(value, ast.Constant)]
                if len(given) == 2:
                    yield f"{path.name}:{node.lineno}", given[0], given[1]


def test_every_missing_package_is_named_with_an_extra_that_holds_it() -> None:
    found = list(missing_packages())
    assert found
    for place, package, extra in found:
        assert extra in EXTRAS, f"{place}: no extra is called '{extra}'"
        assert package in packages_of(extra), f"{place}: extra '{extra}' has no '{package}'"


def test_the_table_of_modules_fits_the_extras() -> None:
    assert set(MODULES) | {"all", "worlds"} == set(EXTRAS)
    for extra, modules in (*MODULES.items(), *((extra, (one,)) for one, extra in OPTIONAL.items())):
        for module in modules:
            package = missing(module, extra).args[0]
            # minigrid brings gymnasium, transformers brings tokenizers, scikit-learn brings scipy.
            if module not in ("gymnasium", "tokenizers"):
                assert package in packages_of(extra), f"{extra}: {module}"


def test_what_the_docs_name_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for source, target in included.items():
        assert (ROOT / source).is_dir()
        assert target == f"atlas/{source}"
    for path in ("recipes/demo/babyai.yaml", "recipes/base/model", "recipes/demo/none.yaml"):
        found = shipped(Path(path))
        assert (found == Path(path)) == (Path(path).exists() or not (ROOT / path).exists())


def test_a_server_with_an_address_needs_aiohttp_only() -> None:
    assert packages_of("endpoint") == {"aiohttp"}


def test_the_extra_all_holds_every_other_one_but_those_that_are_large() -> None:
    large = {"qlora", "alfworld", "textworld", "jericho", "web", "tau2", "verifiers"}
    large |= {"ray", "skills"}
    others = set().union(*(packages_of(extra) for extra in EXTRAS.keys() - large - {"all"}))
    assert packages_of("all") == others


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `atlas` of an environment that has the wheel without any extra."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    log = [{**row, "task_id": f"{row['task_id']}-{copy}"} for row in rows for copy in range(3)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    for name, command in {
        "import": ["import", folder / "log.jsonl"],
        "rules": ["select", "--trajectories", folder / "import", "--selector", "rules"],
        "random": ["select", "--trajectories", folder / "import", "--selector", "random"],
    }.items():
        done = atlas(folder, *command, "--out", folder / name)
        assert done.returncode == 0, done.stderr
    (folder / "log.json").write_text(json.dumps({"version": 2, "eval": {}, "samples": []}))
    (folder / "rows.parquet").write_bytes(b"PAR1")
    return folder


def atlas(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [folder / "venv" / "bin" / "atlas", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"HOME": "/"})


@pytest.mark.slow
def test_the_wheel_holds_the_command_line(installed: Path) -> None:
    done = atlas(installed, "--help")
    assert done.returncode == 0, done.stderr
    for command in ("collect", "import", "select", "train", "evaluate", "report", "run"):
        assert command in done.stdout


@pytest.mark.slow
def test_the_wheel_holds_types_templates_and_a_version(installed: Path) -> None:
    (package,) = installed.glob("venv/lib/python*/site-packages/atlas")
    assert (package / "py.typed").exists()
    assert list(package.rglob("*.j2"))
    assert len(list(package.rglob("*-calls.jinja"))) == 5
    assert atlas(installed, "--version").stdout.strip() == f"atlas {__version__}"


@pytest.mark.slow
def test_the_wheel_holds_what_the_docs_name(installed: Path, tmp_path: Path) -> None:
    command = [installed / "venv" / "bin" / "atlas", "import", "recipes/demo/trajectories.jsonl"]
    done = subprocess.run(
        [*map(str, command), "--out", "runs/t"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": "/"},
    )
    assert done.returncode == 0, done.stderr
    (package,) = installed.glob("venv/lib/python*/site-packages/atlas")
    assert (package / "recipes" / "demo" / "babyai.yaml").exists()
    assert (package / "recipes" / "base" / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_selection_is_shown_without_any_extra(installed: Path) -> None:
    done = atlas(installed, "show", installed / "import", "--selection", installed / "rules")
    assert done.returncode == 0, done.stderr
    assert "kitchen-1" in done.stdout


ORACLE = "select --trajectories IN/import --selector oracle --out IN/o"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("collect --env babyai --out IN/o", "babyai"),
        (f"{ORACLE} model=m endpoint.base_url=http://127.0.0.1:9/v1", "endpoint"),
        (f"{ORACLE} model=openai/gpt-4o", "providers"),
        ("select --trajectories IN/import --selector diversity --out IN/o", "select"),
        ("select-train --trajectories IN/import --selection IN/rules --out IN/o", "select"),
        ("compare-selections IN/rules IN/random --out IN/o", "report"),
        ("import IN/rows.parquet --out IN/o", "import"),
        ("import IN/log.json --format inspect --out IN/o", "inspect"),
        (
            "train --trajectories IN/import --selection IN/rules"
            " --model recipes/base/model --out IN/o",
            "train",
        ),
        (
            "train --trajectories IN/none --selection IN/rules --model m --out IN/o --dry-run",
            "train",
        ),
        ("select --trajectories IN/import --selector perplexity --out IN/o", "train"),
        ("evaluate --model recipes/base/model --env babyai --out IN/o", "babyai"),
        ("run recipes/demo/babyai.yaml --out IN/o", "babyai"),
        (
            "export --trajectories IN/import --selection IN/rules --to verl --out IN/o.parquet",
            "import",
        ),
    ],
)
def test_what_needs_an_extra_names_it(installed: Path, command: str, extra: str) -> None:
    done = atlas(installed, *command.replace("IN", str(installed)).split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"pip install 'atlas-tuning[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
