"""The recipes of the paper, planned and priced with tiny stand-ins for their models and data."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("minigrid", reason="the babyai extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")

from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.config import load_config
from atlas.errors import ProgramError
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import plan_experiment
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes" / "paper"
# Worlds that need files or servers that a stand-in cannot have.
PLAYED = {"entries": {"maze": {"environment": {"name": "maze"}, "ring": "held_in", "episodes": 2}}}


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model, trajectories and selections under the recipes' names."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "smollm2").symlink_to(tiny_model_folder)
    given = [make_trajectory(4, f"t{index}") for index in range(6)]
    write_trajectories(tmp_path / "data" / "labeled", given)
    for number in range(5):
        (tmp_path / "data" / f"fold-{number}").mkdir()
    answer = {"plan": "", "critical_steps": [{"index": 1, "kind": "critical_action"}]}
    lines = [json.dumps({"id": one.id, "answer": answer}) for one in given]
    (tmp_path / "data" / "oracle.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(model: str) -> list[str]:
    """Stand-ins for what a recipe names; base skills would need another package."""
    suite = f"suite={json.dumps(PLAYED)}"
    return [f"train.model={model}", suite, "trajectories=data/labeled", "skills=null"]


def dry_run(recipe: str, given: Sequence[str]) -> str:
    arguments = ["run", str(RECIPES / recipe), "--out", "out", "--dry-run", *given]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    # A terminal may break lines.
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("recipe", "trainings", "epochs"), [("smollm2.yaml", 36, 2), ("smollm2-babyai.yaml", 9, 1)]
)
def test_the_dry_run_of_the_real_model_counts_trainings_tokens_episodes_and_hours(
    folder: Path, recipe: str, trainings: int, epochs: int
) -> None:
    said = dry_run(
        recipe, [*settings("models/smollm2"), "speed.train_tokens=36", "speed.answer_tokens=1"]
    )
    assert "questions to" not in said
    episodes = re.search(r"play: (\d+) episodes are left", said)
    assert episodes is not None
    assert int(episodes[1]) == 2 * (trainings + 1)
    tokens = re.search(
        rf"training: {trainings} are left, each with ([\d,]+) .*?in all ([\d,]+)", said
    )
    assert tokens is not None
    of_data, of_trainings = (int(number.replace(",", "")) for number in tokens.groups())
    assert of_trainings == trainings * epochs * of_data > 0
    hours = of_trainings / 36 / 3600
    assert f"training: about {hours:,.1f} hours, at 36 tokens per second" in said
    assert not (folder / "out").exists()


def test_the_dry_run_of_the_papers_setting_prices_the_oracle_and_counts_device_hours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    (folder / "prices.yaml").write_text("openai/gpt-4o: {input: 2.5, output: 10}\n")
    given = [
        *settings("models/smollm2"),
        "oracle.prices=prices.yaml",
        "arms.perplexity.selector.model=models/smollm2",
    ]
    said = dry_run("llama-8b.yaml", given)
    # Random steps and their like are not asked about, and all seeds share the answers.
    assert said.count("questions to") == 1
    assert re.search(r"6 questions to openai/gpt-4o, .*: about 0\.\d\d USD", said)
    assert re.search(r"training: 21 are left", said)
    assert re.search(r"training: about [\d.]+ hours of a device, [\d.]+ on 4, at 2,600", said)
    assert "together: about" in said
    # A laptop tells the cost, too. The run itself would stop before its first stage.
    assert "WARNING: missing here. evaluate: base on the suite: the program 'vllm'" in said
    result = CliRunner().invoke(app, ["run", str(RECIPES / "llama-8b.yaml"), *given])
    assert isinstance(result.exception, ProgramError)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("recipe", ["smollm2.yaml", "llama-8b.yaml"])
def test_the_arms_of_the_primary_comparison_are_trained_first_seed_by_seed(
    folder: Path, recipe: str
) -> None:
    given = [
        *settings("models/smollm2"),
        "arms.perplexity.selector.model=models/smollm2",
    ]
    config = load_config(ExperimentConfig, RECIPES / recipe, given, {})
    assert config.primary is not None
    early = {"critical", "random", "all"}
    order = config.order_of_trainings()
    num_early = sum(len(config.seeds_of(arm)) for arm in early)
    assert {arm for arm, _ in order[:num_early]} == early
    assert not {arm for arm, _ in order[num_early:]} & early
    assert [seed for _, seed in order[:6]] == [0, 0, 0, 1, 1, 1]
    planned = [stage.title for stage in plan_experiment(config, folder / "out", recipe).stages]
    trained = [title for title in planned if title.startswith("train")]
    assert trained[:3] == ["train: critical", "train: random", "train: all"]
    assert len(trained) == len(order)
