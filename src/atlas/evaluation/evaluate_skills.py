"""Base skills: does a model still answer standard questions after it was tuned as an agent?

    model -> accuracy per task, with intervals; with a baseline, the paired difference

The questions are asked by lm-evaluation-harness (extra `skills`). Four small sets come with the
package and need no network. Any task of the harness can be named; its data comes from the hub.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY, Config, StrPath
from atlas.errors import AtlasError, ConfigError, DependencyError, RunError
from atlas.models.local.load import load_model, load_tokenizer, locate_model, model_input
from atlas.models.local.precision import Precision, default_device, dtype_name
from atlas.records import Record
from atlas.shipped import shipped
from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import wilson_interval
from atlas.store.record_files import read_records, write_records, write_text
from atlas.store.run_folders import Manifest, read_manifest, run_input, start_run

COMMAND = "evaluate --skills"
SKILLS_FOLDER = Path("recipes/skills")
# The tasks whose items come with the package, and which score is used where several are given.
OWN_TASKS = ("grammar", "arithmetic", "order", "opposites")
SCORES = ("acc_norm", "acc", "exact_match")


class SkillsConfig(Config):
    """Which standard tasks are asked of a model."""

    model: Annotated[str, BY_CONTENT] = Field(
        description="a hub id, a model folder, or a run folder of train"
    )
    tasks: tuple[str, ...] = Field(
        default=OWN_TASKS,
        min_length=1,
        description="tasks: grammar, arithmetic, order and opposites come with the package; other "
        "names are tasks of lm-evaluation-harness, such as arc_easy or hellaswag",
    )
    limit: int | None = Field(
        default=None, ge=1, description="the first items of each task only, at most this many"
    )
    num_fewshot: int | None = Field(
        default=None, ge=0, description="examples before each question; if none, as the task says"
    )
    baseline: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="a run folder of another model with the same tasks, such as the untuned one: "
        "the differences are reported item by item",
    )
    precision: Precision = Field(
        default="auto",
        description="fp32, bf16, or auto (bf16 on a GPU that supports it, else fp32)",
    )
    batch_size: Annotated[int, SPEED_ONLY] = Field(
        default=16, ge=1, description="number of texts that are scored at a time"
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("train", "skills")


class SkillItem(Record):
    """The score of one item: 1 right, 0 wrong, or a share."""

    task: str
    item: int
    score: float


class SkillMetrics(Record):
    """The accuracy on one task; `difference` is to the baseline, on the same items.

    `p_value` is that of McNemar's exact test. Both are about these two checkpoints: whether another
    training would do the same is not asked.
    """

    num_items: int
    score_name: str
    accuracy: Estimate
    difference: Estimate | None = None
    p_value: float | None = None


def evaluate_skills(config: SkillsConfig, out: StrPath) -> Manifest:
    """Ask all tasks into the run folder `out`: items.jsonl and metrics.json.

    Raises:
        ConfigError: a task is unknown, its data cannot be loaded, or the baseline has other items.
        ModelError: the model cannot be loaded.
    """
    out = Path(out)
    inputs = {"model": model_input(config.model, out)}
    if config.baseline is not None:
        inputs["baseline"] = run_input(Path(config.baseline), out, (COMMAND,))
    with start_run(out, COMMAND, config, inputs) as run:
        if run.finished:
            return run.manifest
        items_path = run.path / "items.jsonl"
        names: dict[str, str] = {}
        items = list(_ask(config, names))
        write_records(items_path, items)
        metrics = {task: _measure(items, task, names[task], config.baseline) for task in names}
        lines = {task: one.model_dump(mode="json") for task, one in metrics.items()}
        write_text(run.path / "metrics.json", json.dumps(lines, indent=2) + "\n")
        run.write_problems(())
        known = [one.accuracy.value for one in metrics.values() if one.accuracy.value is not None]
        summary: dict[str, Any] = {
            "tasks": len(metrics),
            "items": len(items),
            "mean_accuracy": sum(known) / len(known) if known else None,
            "accuracy": {task: one.accuracy.value for task, one in metrics.items()},
        }
        if config.baseline is not None:
            summary["difference"] = {
                task: one.difference.value for task, one in metrics.items() if one.difference
            }
        return run.finish(summary)


def _ask(config: SkillsConfig, names: dict[str, str]) -> Sequence[SkillItem]:
    """The score of each item; `names` gets the score that each task uses."""
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise DependencyError("lm-eval", "skills") from None
    place = locate_model(config.model)
    model = load_model(place, dtype_name(config.precision))
    asked = HFLM(
        pretrained=model,
        tokenizer=load_tokenizer(place),
        batch_size=config.batch_size,
        device=default_device(),
    )
    tasks = [_own_task(name) if name in OWN_TASKS else name for name in config.tasks]
    try:
        found = lm_eval.simple_evaluate(
            model=asked,
            tasks=tasks,
            limit=config.limit,
            num_fewshot=config.num_fewshot,
            log_samples=True,
            bootstrap_iters=0,
            task_manager=TaskManager(),
            verbosity="ERROR",
        )
    except AtlasError:
        raise
    except Exception as error:
        raise ConfigError(
            f"tasks={','.join(config.tasks)}: lm-evaluation-harness cannot ask them: "
            f"{type(error).__name__}: {error}. A task of the harness needs its data from the hub; "
            f"these need no network: {', '.join(OWN_TASKS)}."
        ) from error
    items = []
    for task, samples in found["samples"].items():
        name = next((score for score in SCORES if score in samples[0]), None)
        if name is None:
            raise ConfigError(
                f"task '{task}' has none of the scores {', '.join(SCORES)}. Choose another task."
            )
        names[task] = name
        items += [
            SkillItem(task=task, item=sample["doc_id"], score=float(sample[name]))
            for sample in samples
        ]
    return sorted(items, key=lambda one: (one.task, one.item))


def _own_task(name: str) -> dict[str, Any]:
    """A task of the package, as the harness reads it."""
    path = shipped(SKILLS_FOLDER / f"{name}.jsonl")
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path.resolve())}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def _measure(
    items: Sequence[SkillItem], task: str, score_name: str, baseline: str | None
) -> SkillMetrics:
    own = {one.item: one.score for one in items if one.task == task}
    measured = SkillMetrics(
        num_items=len(own),
        score_name=score_name,
        accuracy=wilson_interval(sum(own.values()), len(own)),
    )
    if baseline is None:
        return measured
    read_manifest(baseline, (COMMAND,))
    known = read_records(Path(baseline) / "items.jsonl", SkillItem)
    before = {one.item: one.score for one in known if one.task == task}
    if before.keys() != own.keys():
        raise RunError(
            f"{baseline} has {len(before)} items of task '{task}', this run has {len(own)}, so "
            "they cannot be compared. Ask both models with the same tasks and limit."
        )
    paired = checkpoint_difference(list(own.values()), [before[item] for item in own])
    return measured.model_copy(update={"difference": paired.difference, "p_value": paired.p_exact})
