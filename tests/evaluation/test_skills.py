"""Base skills: the items of the package, and lm-evaluation-harness where it is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from atlas.errors import ConfigError, DependencyError, RunError
from atlas.evaluation.evaluate_skills import OWN_TASKS, SkillItem, SkillsConfig, evaluate_skills
from atlas.extras import require_extras
from atlas.store.record_files import read_records
from recipes.skills import make_skills

FOLDER = Path(make_skills.__file__).parent


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def test_the_items_are_those_that_the_script_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_skills, "FOLDER", tmp_path)
    make_skills.main()
    for name in OWN_TASKS:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (FOLDER / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("name", OWN_TASKS)
def test_each_item_has_one_right_answer_and_no_place_is_right_most_often(name: str) -> None:
    items = rows(name)
    assert len(items) == make_skills.NUM_ITEMS
    for item in items:
        choices = item["choices"]
        assert isinstance(choices, list)
        assert len(set(choices)) == len(choices)
    answers = [item["answer"] for item in items]
    num_choices = max(len(item["choices"]) for item in items)  # type: ignore[arg-type]
    assert (
        max(answers.count(place) for place in range(num_choices)) < 1.6 * len(items) / num_choices
    )


def test_without_the_harness_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(DependencyError, match="skills"):
        require_extras(SkillsConfig(model="m").needed_extras())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_is_asked_and_compared_with_a_baseline(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval", reason="the extra 'skills' is not installed")
    shutil.copytree(tiny_model_folder, tmp_path / "other")
    one = SkillsConfig(model=str(tiny_model_folder), tasks=("grammar", "order"), limit=5)
    manifest = evaluate_skills(one, tmp_path / "one")
    assert manifest.summary["items"] == 10
    items = list(read_records(tmp_path / "one" / "items.jsonl", SkillItem))
    assert {item.task for item in items} == {"grammar", "order"}
    again = one.model_copy(update={"baseline": str(tmp_path / "one")})
    evaluate_skills(again, tmp_path / "again")
    metrics = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert metrics["grammar"]["difference"]["value"] == 0
    fewer = again.model_copy(update={"limit": 4})
    with pytest.raises(RunError, match="cannot be compared"):
        evaluate_skills(fewer, tmp_path / "fewer")
    unknown = one.model_copy(update={"tasks": ("no_such_task",)})
    with pytest.raises(ConfigError, match="no_such_task"):
        evaluate_skills(unknown, tmp_path / "unknown")
