"""Counts what a chat template leaves out of many trajectories, for summaries and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from atlas.rendering.chat_templates.stock import STOCK, fitting_template
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from atlas.rendering.unwritten import WORDS, Part, name_parts, says_nothing

# As many tokens show of most responses that they say something.
NUM_FIRST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class UnwrittenCount:
    """What was not written of some trajectories; a sum adds up.

    Attributes:
        num_steps: the steps that were looked at.
        of_steps: how many of them lack a part.
        of_contexts: how many trajectories lack a part of what stands before their steps, or of a
            step that was not looked at.
        empty: (trajectory, step) of steps of which only the end of turn is written.
    """

    num_trajectories: int = 0
    num_steps: int = 0
    of_steps: Counter[Part] = field(default_factory=Counter)
    of_contexts: Counter[Part] = field(default_factory=Counter)
    empty: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: UnwrittenCount) -> UnwrittenCount:
        return UnwrittenCount(
            self.num_trajectories + other.num_trajectories,
            self.num_steps + other.num_steps,
            self.of_steps + other.of_steps,
            self.of_contexts + other.of_contexts,
            self.empty + other.empty,
        )

    def as_summary(self) -> dict[str, int]:
        """The counts for a manifest: steps by part, trajectories by part, and empty steps."""
        summary = {f"{part}_of_steps": number for part, number in self.of_steps.items()}
        summary |= {f"{part}_in_contexts": number for part, number in self.of_contexts.items()}
        return summary | ({"empty_steps": len(self.empty)} if self.empty else {})

    def notes(self, renderer: Renderer, steps: str = "steps") -> list[str]:
        """Sentences on what is not written, with the next step; none if nothing is missing.

        Args:
            steps: what the steps are called, such as "selected steps".
        """
        lost = [
            f"the {WORDS[part]} of {number:,} of {self.num_steps:,} {steps}"
            for part, number in self.of_steps.most_common()
        ]
        lost += [
            f"the {WORDS[part]} in the context of {number:,} of {self.num_trajectories:,} "
            "trajectories"
            for part, number in self.of_contexts.most_common()
        ]
        if not lost and not self.empty:
            return []
        said = []
        if lost:
            said.append(f"the chat template of {renderer.name} does not write {'; '.join(lost)}")
        if self.empty:
            said.append(
                f"{len(self.empty):,} of {self.num_steps:,} {steps} are rendered as an end of turn "
                f"only, the first: {name_step(self.empty[0])}"
            )
        return [f"{'. '.join(said)}. {advise(renderer, self)}"]


def count_unwritten(
    examples: Sequence[TokenizedExample], renderer: Renderer, steps: Collection[int]
) -> UnwrittenCount:
    """What is not written of one trajectory, given its examples.

    Args:
        steps: the steps to look at, for example the selected ones.
    """
    of_steps: dict[int, set[Part]] = {}
    others: set[Part] = set()
    for example in examples:
        for step, parts in example.unwritten.items():
            if step in steps:
                of_steps.setdefault(step, set()).update(parts)
            elif step == NO_STEP or len(examples) == 1:
                others.update(parts)
    empty = tuple(
        (example.trajectory_id, step)
        for example in examples
        for step in example.steps
        if step in steps and renders_empty(example, step, renderer)
    )
    counted = Counter(part for parts in of_steps.values() for part in parts)
    return UnwrittenCount(1, len(steps), counted, Counter(others), empty)


def renders_empty(example: TokenizedExample, step: int, renderer: Renderer) -> bool:
    """Whether only the end of turn is written of a step (and perhaps an empty think block)."""
    said = tuple(example.token_ids[example.step_of_token == step].tolist())
    end = next((end for end in renderer.ends if said[-len(end) :] == end), ())
    said = said[: len(said) - len(end)]
    beginning = str(renderer.tokenizer.decode(said[:NUM_FIRST_TOKENS])).lstrip()
    if beginning and not beginning.startswith("<"):
        # It is neither white space nor a think tag, so a long text need not be decoded.
        return False
    return says_nothing(str(renderer.tokenizer.decode(said)))


def name_step(place: tuple[str, int]) -> str:
    """A step of a trajectory, for messages."""
    return f"step {place[1]} of trajectory {place[0]}"


def refuse_empty_steps(unwritten: UnwrittenCount, renderer: Renderer, steps: str) -> str:
    """The message of the error that stops a run with empty steps."""
    return (
        f"{len(unwritten.empty):,} of {unwritten.num_steps:,} {steps} are rendered as an end of "
        f"turn only, the first: {name_step(unwritten.empty[0])}. A model would learn to say "
        f"nothing there. {advise(renderer, unwritten)} If the steps are empty in the data, leave "
        "them out of the selection, or allow them with allow_empty_steps=true."
    )


def advise(renderer: Renderer, unwritten: UnwrittenCount) -> str:
    """The next step where a template leaves something out."""
    if not unwritten.of_steps and not unwritten.of_contexts:
        return "The data hold nothing there."
    name = fitting_template(renderer.tokenizer)
    lost = {*unwritten.of_steps, *unwritten.of_contexts}
    if STOCK[name].wraps_own:
        # It leaves thinking to the model's own template.
        lost.discard("reasoning")
    if not lost:
        return "Set chat_template to a file that writes it (docs/chat-templates.md)."
    return (
        f"chat_template={name} writes {name_parts(lost)}: set it, or a file "
        "(docs/chat-templates.md)."
    )
