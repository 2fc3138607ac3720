"""How the steps of each arm were chosen, as recorded in the selection runs."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.presenting.wording import MAX_TEXT, join_words
from atlas.reporting.arms import Arm
from atlas.terminal.visible_text import one_line


def describe_origins(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Whether a model named the critical steps of any arm, then a line for each trained arm.

    Empty if nothing was trained here.
    """
    if not any(arm.trainings for arm in arms):
        return ()
    lines: list[str] = []
    models: set[str] = set()
    for arm in arms:
        if not arm.trainings:
            continue
        data = arm.trainings[0].data
        # How the selection was made and, for a complement, how the other selection was made.
        folders = filter(None, (data.selection_folder, data.complement_of)) if data else ()
        chosen = [folder.manifest.summary["chosen_by"] for folder in folders]
        asking = (one for one in chosen if one["asks_a_model"])
        models.update(one_line(one["model"] or one["selector"]) for one in asking)
        sentence = chosen[0]["sentence"] if chosen else "every step, nothing was selected"
        lines.append(f"{arm.label}: {one_line(sentence, MAX_TEXT).removesuffix('.')}.")
    return (_who(sorted(models)), *lines)


def _who(models: list[str]) -> str:
    how = "the section on the selected steps says how each arm chose"
    if models:
        return f"Steps were chosen with a language model ({join_words(models)}); {how}."
    return (
        f"No LLM oracle was used; {how}. The paper asks a language model that sees only the "
        "transcript (arXiv 2503.02197), so this report does not show how well such an oracle would "
        "have chosen."
    )
