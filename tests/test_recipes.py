"""Recipes of strangers and mistakes in recipes: one sentence each, within limits, no traceback."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas.config import Config, check_config, load_config
from atlas.errors import AtlasError, ConfigError
from tests.shipped_recipes import all_recipes, kinds_of

CONFIGS: tuple[type[Config], ...] = tuple(
    getattr(atlas, name)
    for name in atlas.__all__
    if name.endswith("Config") and issubclass(getattr(atlas, name), Config)
)
FIELDS = [(config, name) for config in CONFIGS for name in config.model_fields]
# Of each type that YAML has, and texts that no terminal may see.
WRONG = (
    "null",
    "true",
    "3",
    "-1",
    "1e308",
    ".nan",
    "-.inf",
    "''",
    "' '",
    '"\\0"',
    '"\\e[31m"',
    "'x'",
    "[]",
    "['']",
    "[1]",
    "[[x]]",
    "{}",
    "{1: 2}",
    "{null: {a: null}}",
    "{name: ''}",
    "{name: 1}",
    "{name: oracle, model: [1]}",
    "2020-01-01",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    f"[{', '.join(['x'] * 500)}]",
    "x" * 5000,
)
HOSTILE = {
    "deep lists": "a: " + "[" * 20_000,
    "deep mappings": "a: " + "{a: " * 20_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1_000)),
    "alias bomb": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    "merge bomb": "a0: &a0 {k: x, l: x, m: x, n: x}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
    "many keys": "".join(f"k{n}: 1\n" for n in range(60_000)),
    "many anchors": "".join(f"k{n}: &a{n} x\n" for n in range(50_000)),
    "many values": f"a: [{'x, ' * 200_000}]",
    "alias of itself": "a: &a [*a]",
    "50 MB": "a: " + "x" * 50_000_000,
    "huge integer": f"a: 0x{'f' * 100_000}",
    "half of a surrogate pair": 'a: "\\ud800"',
    "not UTF-8": "a: \udcff",
    "control character": "a: \x1b",
    "a tag": "!!python/object/apply:os.system ['true']",
}


def refusal_of(config: type[Config], recipe: Path) -> list[str]:
    """The sentences in which a recipe is refused; none if it is read."""
    try:
        load_config(config, recipe)
    except AtlasError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_recipe_is_refused_quickly(name: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_bytes(HOSTILE[name].encode("utf-8", "surrogateescape"))
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(atlas.SelectConfig, recipe)
    assert time.process_time() - start < 3
    assert str(caught.value).startswith(f"recipe {recipe} cannot be read: ")
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "50 MB"])
def test_a_hostile_setting_is_refused_too(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(atlas.SelectConfig, None, [f"ratio={HOSTILE[name].partition(': ')[2] or '['}"])
    assert len(str(caught.value)) < 1_000


def test_anchors_and_merges_within_the_limits_are_read(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("ratio: &r 0.2\nselector: {name: random}\nmin_steps: 1\n", encoding="utf-8")
    assert load_config(atlas.SelectConfig, recipe).ratio == 0.2
    (tmp_path / "e.yaml").write_text(
        "arms:\n  all: &all {selector: all, train: {epochs: 2}}\n  two: {<<: *all, ratio: 0.5}\n"
        "train: {model: m}\n"
    )
    config = load_config(atlas.ExperimentConfig, tmp_path / "e.yaml")
    assert config.arms["two"] == {"selector": "all", "train": {"epochs": 2}, "ratio": 0.5}


def required(config: type[Config]) -> dict[str, Any]:
    known = {"arms": {"all": {"selector": "all"}}, "train": {"model": "m"}}
    return {
        name: known.get(name, "x")
        for name, field in config.model_fields.items()
        if field.is_required()
    }


@pytest.mark.parametrize(
    ("config", "field"), FIELDS, ids=[f"{config.__name__}.{name}" for config, name in FIELDS]
)
def test_a_value_of_a_wrong_type_is_a_sentence_or_a_value(
    config: type[Config], field: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "r.yaml"
    for wrong in WRONG:
        others = {name: value for name, value in required(config).items() if name != field}
        recipe.write_text(yaml.safe_dump(others) + f"{field}: {wrong}\n", encoding="utf-8")
        lines = refusal_of(config, recipe)
        assert len(lines) <= 11, wrong
        assert all(0 < len(line) < 600 for line in lines), (wrong, lines)


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(CONFIGS),
    st.dictionaries(
        st.sampled_from(sorted({name for _, name in FIELDS})) | st.text(max_size=8),
        YAML_VALUES,
        max_size=4,
    ),
)
def test_any_recipe_is_a_config_or_an_atlas_error(
    config: type[Config], values: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder:
        recipe = Path(folder) / "r.yaml"
        recipe.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        refusal_of(config, recipe)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (config, name)
        for config, name in FIELDS
        if "str" in str(config.model_fields[name].annotation)
        and "dict" not in str(config.model_fields[name].annotation)
    ],
    ids=str,
)
def test_an_empty_text_is_no_name(config: type[Config], field: str) -> None:
    for empty in ("''", "['']"):
        with pytest.raises(ConfigError):
            load_config(config, None, [f"{field}={empty}"], required(config))


@pytest.mark.parametrize(
    ("config", "field"), FIELDS, ids=[f"{config.__name__}.{name}" for config, name in FIELDS]
)
@pytest.mark.parametrize("number", [2**63, -(2**63), 10**70])
def test_no_setting_holds_an_integer_that_a_run_cannot(
    config: type[Config], field: str, number: int
) -> None:
    values = required(config) | {field: number}
    with contextlib.suppress(AtlasError):
        kept = getattr(check_config(config, values, "recipe"), field)
        assert kept != number or isinstance(kept, float)


def test_the_largest_limit_is_a_limit(tmp_path: Path) -> None:
    log = tmp_path / "x.jsonl"
    log.write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    huge = load_config(atlas.ImportConfig, None, [f"limit={2**63 - 1}"], {"paths": [str(log)]})
    atlas.import_trajectories(huge, tmp_path / "t")
    config = load_config(atlas.SelectConfig, None, [f"limit={2**63 - 1}"], {"selector": "random"})
    assert atlas.select_steps(config, tmp_path / "t", tmp_path / "s").summary["trajectories"] == 1


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda path: path.stem)
def test_a_shipped_recipe_is_of_one_kind_so_that_its_test_reads_it(recipe: Path) -> None:
    assert len(kinds_of(recipe)) == 1
