"""The docs say what the code does: pages are up to date, commands parse, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

import atlas
from atlas.auditing.audit_files import AuditConfig
from atlas.cli import app
from atlas.config import check_config, load_config
from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.experiments.config import ExperimentConfig
from atlas.serving.serve_environment import ServeConfig
from atlas.shipped import shipped
from atlas.trajectories.formats.base import FORMATS
from tests.extending_rows import ROWS, write_examples
from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "recipes" / "base" / "README.md",
    *DOCS,
]
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
# Which Config checks the settings of a command, and which option names the kind.
CONFIGS = {
    "collect": (atlas.CollectConfig, {"--env": "environment"}),
    "collect --suite": (atlas.CollectSuiteConfig, {"--suite": "suite"}),
    "evaluate --suite": (atlas.EvaluateSuiteConfig, {"--model": "model", "--suite": "suite"}),
    "evaluate --skills": (atlas.SkillsConfig, {"--model": "model"}),
    "select": (atlas.SelectConfig, {"--selector": "selector"}),
    "select-train": (atlas.SelectTrainConfig, {}),
    "audit": (AuditConfig, {"--as": "trainer"}),
    "train": (atlas.TrainConfig, {"--model": "model", "--objective": "objective"}),
    "evaluate": (
        atlas.EvaluateConfig,
        {"--model": "model", "--env": "environment", "--player": "player"},
    ),
    "serve": (ServeConfig, {"--env": "environment"}),
}
# Placeholders in the examples of settings: "key=value".
PLACEHOLDERS = ("key=value", "KEY=VALUE", "=FILE", "=RUN", "=NAME")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands_in(page: Path) -> Iterator[list[str]]:
    """The words of every command on a page, also of those that a launcher starts."""
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^(?:`|\$ |.* -m )?(atlas [a-z].*?)(?:`|$)", text, re.MULTILINE):
        yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("name", ["settings", "dialects"])
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    script = ROOT / "docs" / f"make_{name}.py"
    module = load_script(script)
    page = getattr(module, f"{name}_page")()
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == page, (
        f"run: python docs/make_{name}.py"
    )


def test_every_command_has_a_page_that_begins_with_it() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "commands").glob("*.md")}
    assert pages == set(COMMANDS)
    for name in pages:
        text = (ROOT / "docs" / "commands" / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# atlas {name}\n\n```sh\natlas {name} "), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_the_docs_exists_with_its_options(page: Path) -> None:
    for name, *rest in commands_in(page):
        assert name in COMMANDS, f"{page.name}: {name}"
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        for word in rest:
            assert not word.startswith("--") or word in known, f"{page.name}: {name}: {word}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_lists_its_options_and_no_others(name: str) -> None:
    page = (ROOT / "docs" / "commands" / f"{name}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`-.*?) \|", page.partition("## Options")[2], flags=re.MULTILINE)
    listed = re.findall(r"`(--[a-z-]+)", " ".join(rows))
    known = [one.opts[0] for one in COMMANDS[name].params if one.param_type_name == "option"]
    assert sorted(set(listed)) == sorted(known)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_setting_of_a_command_in_the_docs_is_accepted(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, *rest in commands_in(page):
        if name not in CONFIGS or "…" in rest:
            continue
        flag = next((flag for flag in ("--suite", "--skills") if flag in rest), "")
        config, options = CONFIGS[f"{name} {flag}".strip()]
        given: dict[str, object] = {
            options[option]: value for option, value in pairwise(rest) if option in options
        }
        if "--base-url" in rest:
            given = {"model": "m", "player": "endpoint"} | given
        if "suite" in given:
            # The name of a suite is checked; its environments may need another version.
            assert shipped(Path(f"recipes/suites/{given['suite']}.yaml")).exists()
            given["suite"] = {"entries": {"maze": {"environment": "babyai"}}}
        settings = [word for word in rest if "=" in word and not word.startswith("-")]
        if not any(placeholder in word for word in settings for placeholder in PLACEHOLDERS):
            load_config(config, None, settings, given)


def test_the_recipe_on_the_page_of_run_is_valid() -> None:
    import yaml

    text = (ROOT / "docs" / "commands" / "run.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    config = check_config(ExperimentConfig, yaml.safe_load(recipe), "run.md")
    check_config(atlas.CollectConfig, config.collect, "collect")
    for settings in config.arms.values():
        selector = settings["selector"]
        if selector != "critical":
            check_config(atlas.SelectConfig, {"selector": selector}, "arms")


def test_the_examples_of_extending_keep_the_laws_of_their_kind() -> None:
    suite_of_row = {
        "longest": "test_selectors.py",
        "turns": "test_formats.py",
        "corridor": "test_environments.py",
        "drawers": "test_environments.py",
        "flags": "test_dialects.py",
        "constant": "test_players.py",
        "focal": "test_objectives.py",
    }
    assert set(suite_of_row) == set(ROWS)
    # One process for all of them: most of its time is its start.
    options = ["-p", "tests.extending_rows", "-o", "addopts=", "-vv", "-k", " or ".join(ROWS)]
    suites = [f"tests/conformance/{suite}" for suite in sorted(set(suite_of_row.values()))]
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *suites],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout
    passed = [line for line in done.stdout.splitlines() if " PASSED" in line]
    for row, suite in suite_of_row.items():
        assert [line for line in passed if suite in line and row in line], (row, suite)


def test_the_world_with_tools_of_extending_is_collected_from_every_split(tmp_path: Path) -> None:
    write_examples(tmp_path)
    path = f"{ROOT / 'src'}{os.pathsep}{tmp_path}"
    given = ["collect", "--env", "my_lab.drawers:DrawersEnvironment", "episodes=40"]
    for split in ("train", "held_in_test", "held_out_test"):
        out = tmp_path / split
        done = subprocess.run(
            [sys.executable, "-m", "atlas", *given, f"split={split}", "--out", str(out)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert done.returncode == 0, done.stderr
        steps = [step for one in atlas.read_trajectories(out) for step in one.steps]
        assert all(step.response.tool_calls for step in steps)
        marked = sum(step.annotation is not None and step.annotation.is_marked for step in steps)
        assert 0.1 < marked / len(steps) < 0.45


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_of_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors_of(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_heading_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")
    ):
        other = page.parent / target if target else page
        assert anchor in anchors_of(other), f"{page.name}: {target}#{anchor}"


def test_every_format_of_import_has_a_row_and_a_heading() -> None:
    table = (ROOT / "docs" / "commands" / "import.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| `(\w+)` \|", table.partition("## Formats")[2].partition("## Options")[0], re.MULTILINE
    )
    assert sorted(listed) == sorted(FORMATS)
    page = ROOT / "docs" / "import-formats.md"
    assert set(FORMATS) <= anchors_of(page)
    contents = page.read_text(encoding="utf-8").partition("## ")[0]
    assert set(FORMATS) == set(re.findall(r"\[`(\w+)`\]\(#", contents))


# The headings of the page of an environment, in this order; a page may have others between them.
HEADINGS = (
    "Install",
    "Splits",
    "Episode",
    "Limits and success",
    "Expert",
    "What was run",
    "Pitfalls",
)
# Pages on what several environments share.
SHARED_PAGES = {"agenttraj", "java"}


def test_every_environment_has_a_page_and_a_row_with_its_extra_turns_and_expert() -> None:
    folder = ROOT / "docs" / "environments"
    assert {page.stem for page in folder.glob("*.md")} == {*ENVIRONMENTS, *SHARED_PAGES}
    text = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| \[`([\w-]+)`\]\(environments/([\w-]+)\.md\) \| (.+) \|$", text, re.MULTILINE
    )
    assert sorted(name for name, _, _ in rows) == sorted(ENVIRONMENTS)
    for name, page, cells in rows:
        assert name == page
        _, extra, _, turns, expert = (cell.strip() for cell in cells.split("|"))
        world = ENVIRONMENT.find(name)
        needed = world.Config.model_construct().needed_extras()
        assert extra.strip("`") == "".join(needed), name
        limit = world.Config.model_fields["max_steps"].default
        assert turns == str(limit) or limit is None, name
        assert bool(expert) == hasattr(world, "expert"), name


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_pages_of_environments_are_alike(name: str) -> None:
    text = (ROOT / "docs" / "environments" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n\n")
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == list(HEADINGS)


def test_every_table_has_a_header_row() -> None:
    for page in PAGES:
        lines = re.sub(
            r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL
        ).splitlines()
        for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
            if line.startswith("|") and not before.lstrip().startswith("|"):
                assert re.fullmatch(r"\|[-| :]+\|", after), f"{name_of(page)}: {line}"


def test_the_number_of_formats_in_the_docs_is_that_of_the_table() -> None:
    for name in ("commands/import.md", "quickstart.md", "plain-version.md"):
        text = " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())
        assert re.findall(r"\b(\d+) formats", text) == [str(len(FORMATS))], name


def paragraphs_of(page: Path) -> Iterator[str]:
    """Paragraphs and list items; code and tables are none."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in text.split("\n\n"):
        for part in re.split(r"\n(?= *(?:[-*]|\d+\.) )", block):
            if not part.lstrip().startswith(("|", "#")):
                yield part


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_paragraph_is_longer_than_90_words(page: Path) -> None:
    for paragraph in paragraphs_of(page):
        num_words = len(paragraph.split())
        assert num_words <= 90, f"{page.name}: {num_words} words: {paragraph[:80]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_has_lines_of_at_most_100_columns(page: Path) -> None:
    for paragraph in paragraphs_of(page):
        for line in paragraph.splitlines():
            assert len(line) <= 100 or "](" in line or "|" in line, f"{page.name}: {line}"


def test_every_page_that_the_source_names_exists() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{path.name}: {page}"
