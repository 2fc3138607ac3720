"""What the page of a trajectory shows, as frozen records; templates decide nothing."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.records import CriticalKind, OutcomeStatus
from atlas.viewing.web.pages.step_marks import ColumnView, Disagreement, MarkView
from atlas.viewing.web.pages.text_view import TextView


@dataclass(frozen=True, slots=True)
class ArgumentView:
    """One argument of a call. `is_block`: it has several lines, or is long."""

    name: str
    text: TextView
    is_block: bool


@dataclass(frozen=True, slots=True)
class CallView:
    """A tool call; `arguments` is empty where they are not a JSON object, then `raw` has them.

    `result` is the anchor of its result, "" if it has none.
    """

    anchor: str
    name: str
    arguments: tuple[ArgumentView, ...]
    raw: TextView | None
    result: str
    has_no_result: bool = False


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message of the environment.

    `call` is the anchor of the call that it answers, `call_step` the step of that call, and `name`
    the tool that answers.
    """

    anchor: str
    role: str
    title: str
    name: str
    text: TextView
    reasoning: TextView | None = None
    calls: tuple[CallView, ...] = ()
    call: str = ""
    call_step: int | None = None


@dataclass(frozen=True, slots=True)
class StepView:
    """One step: what was seen, thought and done, and what each column says about it.

    `after` follows the action in the response. `carried_out` is given where the environment carried
    out something else than the action that is shown. `is_message`: the action is words to the user.
    """

    index: int
    anchor: str
    observation: tuple[MessageView, ...]
    reasoning: tuple[TextView, ...]
    thought: TextView | None
    action: TextView | None
    after: TextView | None
    carried_out: TextView | None
    calls: tuple[CallView, ...]
    is_message: bool
    is_critical: bool
    kinds: tuple[CriticalKind, ...]
    marks: tuple[MarkView, ...]
    disagreement: str
    remarks: tuple[str, ...]
    reward: str
    is_invalid: bool


@dataclass(frozen=True, slots=True)
class StripCell:
    """A step in the strip at the side: its color is that of `kind`, its letters those of all."""

    index: int
    anchor: str
    kind: str
    letters: str
    words: str
    is_critical: bool
    disagrees: bool
    is_invalid: bool

    @property
    def title(self) -> str:
        return f"step {self.index}: {self.words}"


@dataclass(frozen=True, slots=True)
class Fact:
    """A line about the whole trajectory."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class KindCount:
    """How many steps have a kind: an entry of the legend."""

    kind: str
    name: str
    letter: str
    num: int


@dataclass(frozen=True, slots=True)
class TrajectoryView:
    """All that the page of a trajectory shows."""

    id: str
    title: str
    goal: str
    status: OutcomeStatus
    outcome: str
    outcome_reason: str
    facts: tuple[Fact, ...]
    tools: tuple[str, ...]
    prompt: tuple[MessageView, ...]
    steps: tuple[StepView, ...]
    final: tuple[MessageView, ...]
    columns: tuple[ColumnView, ...]
    disagreements: tuple[Disagreement, ...]
    strip: tuple[StripCell, ...]
    legend: tuple[KindCount, ...]
    num_critical: int

    @property
    def num_columns(self) -> int:
        return len(self.columns)
