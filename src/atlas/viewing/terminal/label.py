"""Label: `trajectories + a person -> a file of labels`.

A trajectory is shown as in `atlas show`; then the person labels each step with one key. Labels of
experts and other annotators are hidden. Every answer is written to disk at once, and the next
session continues at the same step.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from pydantic import Field
from rich.console import Console

from atlas.config import Config
from atlas.errors import ConfigError
from atlas.records import Label, LabelType, Trajectory
from atlas.store.readers import read_trajectories
from atlas.terminal.visible_text import one_line, print_text
from atlas.viewing.terminal.keyboard import END, Keyboard, terminal_keyboard
from atlas.viewing.terminal.label_book import LabelBook
from atlas.viewing.terminal.show import find_trajectory, print_step, print_trajectory

TYPES: dict[str, LabelType] = {
    "p": "plan_creation",
    "o": "critical_observation",
    "a": "critical_action",
    "s": "self_correction",
    "c": "critical",
    "n": "none",
}
QUESTION = (
    "[p]lan creation  critical [o]bservation  critical [a]ction  [s]elf correction\n"
    "[c]ritical, another kind  [n]ot critical  [w]rite a note first\n"
    "[v]iew the whole step  [b]ack  s[k]ip this trajectory  [q]uit"
)
CONFIRMATION = "[y]es, keep it  [b]ack  s[k]ip this trajectory  [q]uit"
SKIP, QUIT = "k", ("q", END)


class LabelConfig(Config):
    """Who labels."""

    annotator: str = Field(
        default="unnamed",
        description="the name of the person who labels; it distinguishes the labels of several "
        "people",
    )


def label_trajectories(
    console: Console,
    run: Path,
    out: Path,
    annotator: str,
    id_prefix: str | None = None,
    keyboard: Keyboard | None = None,
) -> int:
    """Ask about the trajectories of `run` that `annotator` has not labeled in `out` yet.

    Returns the number of finished trajectories. With `id_prefix`, only the trajectory whose id
    begins with it is labeled. Answers come from the terminal if no `keyboard` is given.

    Raises:
        ConfigError: standard input is not a terminal, `annotator` is empty, or `out` is not a
            .jsonl file in an existing folder.
        DataError: `out` holds something other than labels, or labels of other steps, or the
            trajectory does not exist.
        RunError: `run` is not a finished run with trajectories, or another process writes `out`.
    """
    if not annotator.strip():
        raise ConfigError(
            "annotator is empty: it distinguishes the labels of several people. Give a name."
        )
    asked = read_trajectories(run)
    if id_prefix is not None:
        asked = iter([find_trajectory(asked, id_prefix, run)])
    answers = terminal_keyboard(console) if keyboard is None else nullcontext(keyboard)
    num_finished = 0
    with LabelBook(out, annotator.strip()) as book, answers as keys:
        for trajectory in asked:
            if not trajectory.steps or book.is_finished(trajectory.id):
                continue
            pressed = _label(console, trajectory, book, keys)
            if pressed in QUIT:
                break
            num_finished += pressed != SKIP
    return num_finished


def _label(console: Console, trajectory: Trajectory, book: LabelBook, keys: Keyboard) -> str:
    """Label one trajectory; returns the key that ended it: "y", `SKIP` or one of `QUIT`."""
    labels = book.drafts(trajectory)
    console.rule()
    print_trajectory(console, trajectory, None)
    console.rule()
    note: str | None = None
    shown = -1
    while True:
        index = len(labels)
        if index == len(trajectory.steps):
            _say(console, f"\n{_summary(labels)}. {CONFIRMATION}")
            known = {"y", "b", SKIP, *QUIT}
        else:
            if index != shown:
                print_step(console, index, trajectory.steps[index])
                _say(console, f"step {index} of 0 to {len(trajectory.steps) - 1}:\n{QUESTION}")
                shown = index
            known = {*TYPES, "w", "v", "b", SKIP, *QUIT}
        # The next valid key.
        key = next(key for key in iter(keys.key, None) if key in known)
        if key in TYPES:
            _say(console, f"step {index}: {TYPES[key].replace('_', ' ')}")
            book.add(trajectory, index, TYPES[key], note)
            note = None
        elif key == "w":
            note = keys.line("note: ").strip() or None
        elif key == "v":
            print_step(console, index, trajectory.steps[index], whole=True)
        elif key != "b":
            if key == "y":
                book.finish(trajectory)
            return key
        elif labels:
            book.drop_last(trajectory)
        labels = book.drafts(trajectory)


def _summary(labels: list[Label]) -> str:
    given = [(label.step, label.type.replace("_", " ")) for label in labels if label.type != "none"]
    critical = one_line(", ".join(f"{step} ({kind})" for step, kind in given), 400)
    share = f"{len(given)} of {len(labels)} steps, {len(given) / len(labels):.0%}"
    return f"critical: {critical or 'no step'} ({share})"


def _say(console: Console, text: str) -> None:
    print_text(console, text, "bold cyan")
