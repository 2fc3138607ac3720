"""How the steps of each arm were chosen, in plain words: above all whether a language model named them or the expert itself."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.reporting.arms import Arm, RunFolder
from atlas.reporting.wording import clean, join_words

ORIGINS: dict[str, str] = {
    "all": "every step, nothing was selected",
    "annotated": "the steps that the expert's own annotations mark as critical",
    "oracle": "the steps that a language model ({model}) named as critical after reading the transcript",
    "random": "steps drawn at random",
    "complement": "steps drawn at random from those that the selection of {other} left",
    "rules": "steps picked by fixed rules, without a model",
    "errors": "every step but those that ended in an error",
    "rejection": "every step but those that a language model ({model}) judged bad",
    "perplexity": "the steps that {model} finds most (or, as set, least) surprising",
    "entropy": "the steps where {model} is least certain what to say",
    "excess-loss": "the steps whose loss under {model} exceeds that under a reference model most",
    "rollout-value": "the steps that raise the success of rollouts by {model} most",
    "diversity": "steps that are like the goal and unlike each other, without a model",
    "learned": "the steps that a small model, distilled from other labels, finds most likely critical",
    "vote": "the steps that several selections agree on",
}


def describe_origins(arms: Sequence[Arm]) -> tuple[str, ...]:
    """First who named the critical steps, over all arms; then a line for each trained arm."""
    lines: list[str] = []
    selectors: set[str] = set()
    models: set[str] = set()
    for arm in arms:
        if not arm.trainings:
            continue
        data = arm.trainings[0].data
        folders = [
            folder
            for folder in (data and data.selection_folder, data and data.complement_of)
            if folder
        ]
        selectors.update(_selector(folder) for folder in folders)
        models.update(
            clean(str(folder.manifest.config.get("model")))
            for folder in folders
            if _selector(folder) == "oracle"
        )
        lines.append(f"{clean(arm.config.label or arm.name)}: {_describe(folders)}.")
    return (*_who(selectors, sorted(models)), *lines)


def _describe(folders: Sequence[RunFolder]) -> str:
    if not folders:
        return ORIGINS["all"]
    selector = _selector(folders[0])
    template = ORIGINS.get(selector)
    if template is None:
        return f"steps chosen by the selector '{clean(selector)}'"
    other = f"'{clean(_selector(folders[1]))}'" if len(folders) > 1 else "another run"
    return template.format(model=clean(str(folders[0].manifest.config.get("model"))), other=other)


def _who(selectors: set[str], models: list[str]) -> list[str]:
    if models:
        return [f"Critical steps were named by an LLM oracle: {join_words(models)}."]
    if "annotated" in selectors:
        return [
            "No LLM oracle was used. What counts as critical here comes from the expert's own annotations, written while it acted and "
            "with knowledge of the environment's inside. The paper asks a language model that sees the transcript alone "
            "(arXiv 2503.02197), so this report does not show how well such an oracle would have chosen."
        ]
    return ["No LLM oracle was used."]


def _selector(folder: RunFolder) -> str:
    return str(folder.manifest.config.get("selector"))
