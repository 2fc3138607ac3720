"""Write docs/settings.md from the Config classes: python docs/make_settings.py"""

from __future__ import annotations

from pathlib import Path

from atlas.config import Config
from atlas.evaluation.evaluate_agent import EvaluateConfig
from atlas.experiments.plan_experiment import ExperimentConfig
from atlas.exporting.export_selection import ExportConfig
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.selections.compare_selections import CompareConfig
from atlas.selection.config import SelectConfig
from atlas.selection.learned.train_selector import SelectTrainConfig
from atlas.training.config import EngineConfig, LoraConfig, TrainConfig
from atlas.trajectories.collect_experts import CollectConfig
from atlas.trajectories.import_trajectories import ImportConfig

TABLES: tuple[tuple[str, type[Config]], ...] = (
    ("collect", CollectConfig),
    ("import", ImportConfig),
    ("select", SelectConfig),
    ("select-train", SelectTrainConfig),
    ("compare-selections", CompareConfig),
    ("export", ExportConfig),
    ("train", TrainConfig),
    ("train: lora", LoraConfig),
    ("train: engine", EngineConfig),
    ("evaluate", EvaluateConfig),
    ("report", ReportConfig),
    ("report: arms", ArmConfig),
    ("report: arms: runs", ArmRun),
    ("demo", ExperimentConfig),
)


def settings_page() -> str:
    """The page as Markdown: one table per stage, in the order of the fields."""
    lines = [
        "# Settings",
        "",
        "Made from the code by `python docs/make_settings.py`; a test checks that it is up to date.",
    ]
    for name, config in TABLES:
        lines += [
            "",
            f"## {name}",
            "",
            " ".join((config.__doc__ or "").split()),
            "",
            "| setting | default | what it is |",
            "|---|---|---|",
        ]
        for field, info in config.model_fields.items():
            default = (
                "required"
                if info.is_required()
                else f"`{_default(info.get_default(call_default_factory=True))}`"
            )
            lines.append(
                f"| `{field}` | {default} | {(info.description or '').replace('|', '/')} |"
            )
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    if value in ({}, ()):
        return "none"
    return "none" if value is None else str(value)


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page(), encoding="utf-8")
