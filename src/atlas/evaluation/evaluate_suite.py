"""Evaluate on a suite: model + suite -> an evaluation of each entry, and the figures of the suite.

OUT/ENTRY/          the run folder of each entry, as `evaluate_agent` writes it
OUT/metrics.json    per entry, per ring, and macro averages over worlds
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from atlas.config import StrPath, check_config
from atlas.environments.split_tasks import find_absent, refuse_absent
from atlas.environments.suite import GivenSuite, Suite, SuiteEntry
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_with
from atlas.evaluation.metrics import EpisodeMetrics
from atlas.evaluation.open_player import OpenPlayer
from atlas.evaluation.play_config import PlayConfig
from atlas.evaluation.suite_metrics import SuiteMetrics, summarize_suite
from atlas.kinds import config_class
from atlas.models.players import PLAYER
from atlas.records import Problem, Usage
from atlas.store.record_files import read_records, write_text
from atlas.store.run_folders import Manifest, is_finished, start_run

COMMAND = "evaluate --suite"
# What players call the maximum tokens of an answer.
ANSWER_LENGTHS = ("max_new_tokens", "max_tokens")


class EvaluateSuiteConfig(PlayConfig):
    """Which model plays which suite, and how it answers."""

    suite: GivenSuite = Field(
        description="the name of a suite of the package, a path, or a mapping of entries; "
        "{from: NAME, …} changes a suite"
    )
    skip_missing: bool = Field(
        default=False,
        description="leave out the entries that cannot be played here (a package, a server or a "
        "file is missing), instead of stopping",
    )
    limit: int | None = Field(
        default=None, ge=1, description="play the first tasks of each entry only, at most this many"
    )
    max_answer_tokens: int | None = Field(
        default=None,
        ge=1,
        description="maximum tokens of one answer in every entry, in place of those of the suite",
    )

    def of_entry(self, name: str, entry: SuiteEntry) -> EvaluateConfig:
        """The settings of the evaluation of one entry.

        Raises:
            ConfigError: the entry has settings that the player does not have.
        """
        player = PLAYER.written(self.player) | entry.player
        if (longest := self.max_answer_tokens or entry.max_answer_tokens) is not None:
            known = config_class(PLAYER.find(self.player.name)).model_fields
            player |= dict.fromkeys((key for key in ANSWER_LENGTHS if key in known), longest)
        values = {key: getattr(self, key) for key in ("limit", *PlayConfig.model_fields)}
        values |= {"environment": entry.environment, "player": player}
        values |= {"split": entry.split, "episodes": entry.episodes}
        return check_config(EvaluateConfig, values, f"suite: entries.{name}")


def evaluate_suite(config: EvaluateSuiteConfig, out: StrPath) -> Manifest:
    """Play the tasks of every entry of a suite with one model, which is loaded once.

    Entries that are finished are not played again.

    Raises:
        ConfigError: an entry cannot be played here (unless `skip_missing`), or has settings that
            its environment or the player does not have.
        ModelError: the model cannot be loaded or asked, or has no usable chat template.
    """
    out = Path(out)
    entries = {name: config.of_entry(name, entry) for name, entry in config.suite.entries.items()}
    with OpenPlayer(config.player.name, config.model, config.player_seed) as player:
        inputs = {"model": player.describe(out)}
        with start_run(out, COMMAND, config, inputs) as run:
            if run.finished:
                return run.manifest
            finished = [name for name in entries if is_finished(run.path / name, "evaluate")]
            absent = leave_out(config, finished)
            manifests: dict[str, Manifest] = {}
            for name, entry in entries.items():
                if name not in absent:
                    manifests[name] = evaluate_with(player, entry, run.path / name)
            metrics = _measure(config.suite, run.path, manifests, absent)
            write_text(run.path / "metrics.json", metrics.model_dump_json(indent=2) + "\n")
            left_out = {name: f"was left out: {reason}" for name, reason in absent.items()}
            left_out |= _without_score(run.path, manifests)
            run.write_problems(
                Problem(where=COMMAND, item=name, reason=f"entry '{name}' {reason}")
                for name, reason in left_out.items()
            )
            return run.finish(_summary(metrics, manifests, config))


def leave_out(config: EvaluateSuiteConfig, finished: Sequence[str] = ()) -> dict[str, str]:
    """The entries of the suite that are left out here, with the reason.

    Args:
        finished: entries that need no check.

    Raises:
        ConfigError: there are such entries, and they may not be left out; or none is left.
    """
    absent = find_absent(config.suite, config.limits, config.seed, finished)
    refuse_absent(config.suite, absent, config.skip_missing)
    return absent


def _without_score(out: Path, manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """The entries that were played but are in no average, with the most common reason."""
    found = {}
    for name, manifest in manifests.items():
        if not manifest.summary["num_valid"]:
            reasons = Counter(
                problem.reason for problem in read_records(out / name / "problems.jsonl", Problem)
            )
            [(reason, count)] = reasons.most_common(1)
            found[name] = (
                f"is in no average, because none of its {manifest.summary['num_episodes']:,} "
                f"episodes can be scored; the most common reason ({count:,} times): {reason}"
            )
    return found


def _measure(
    suite: Suite, out: Path, manifests: Mapping[str, Manifest], absent: Mapping[str, str]
) -> SuiteMetrics:
    metrics = {
        name: EpisodeMetrics.model_validate_json((out / name / "metrics.json").read_bytes())
        for name in manifests
    }
    return summarize_suite(suite.title, suite.entries, metrics, absent)


def _summary(
    metrics: SuiteMetrics, manifests: Mapping[str, Manifest], config: EvaluateSuiteConfig
) -> dict[str, Any]:
    """What the manifest says: the counts and macro averages, what was paid, and remarks."""
    summary: dict[str, Any] = metrics.total.model_dump(mode="json")
    summary["rings"] = {
        ring: figures.success_rate.model_dump() for ring, figures in metrics.rings.items()
    }
    summaries = [manifest.summary for manifest in manifests.values()]
    usages = [Usage(**each["usage"]) for each in summaries if "usage" in each]
    if usages:
        summary["usage"] = sum(usages, Usage()).model_dump()
    if metrics.cost_usd is not None:
        summary["cost_usd"] = metrics.cost_usd
    if notes := {name: m.summary["notes"] for name, m in manifests.items() if "notes" in m.summary}:
        summary["notes"] = notes
    if config.limit is not None:
        summary["limit"] = f"the first {config.limit:,} tasks of each entry"
    return summary
