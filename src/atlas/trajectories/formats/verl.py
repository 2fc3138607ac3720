"""Generations that verl and SkyRL dump: `{"input": text, "output": text, "score": …, "step": …}`.

Prompt and answer are rendered texts. They are taken apart at the turn markers of known chat
templates (see turn_markers.py); a text that cannot be taken apart in exactly one way is a problem.
Contents stay verbatim: calls and results that a template writes into a text remain text. What the
model wrote begins with the open assistant turn at the end of the input; every assistant turn from
there on is a step. In a data set for which verl generated answers (`prompt` with messages,
`responses` with texts), each response is a trajectory. verl reports `acc` as accuracy; a score by
itself does not define success.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Message, Outcome
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import details_of_row, is_number, task_of_row
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.messages import Turn, read_turns
from atlas.trajectories.formats.rollouts import (
    CUT_BY_LENGTH,
    History,
    RewardConfig,
    outcome_without_rule,
)
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.formats.turn_markers import turns_of_rollout

# Of verl, and of SkyRL.
TEXT_KEYS = (("input", "output"), ("input_prompt", "output_response"))
GENERATED_KEYS = ("prompt", "responses")


class VerlFormat(RowFormat):
    """Reads dumped generations of verl and SkyRL, JSON Lines."""

    Config = RewardConfig
    config: RewardConfig
    metadata = ("step", "acc", "gts", "env_extras", "reward_model", "extra_info")
    parsed = tuple(key for keys in TEXT_KEYS for key in keys)

    def matches(self, row: Any) -> bool:
        match row:
            case {"input": str(), "output": str(), "score": _, **others}:
                return not others.keys().isdisjoint(("gts", "step"))
            case {"input_prompt": str(), "output_response": str(), "score": _}:
                return True
            case {"prompt": [{"role": _}, *_], "responses": [str(), *_]}:
                return "messages" not in row
        return False

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        if "responses" in object_or_empty(row.value):
            yield from _generated(row)
        else:
            yield self._dumped(row)

    def _dumped(self, row: SourceRow) -> Reading:
        fields = object_or_empty(row.value)
        seen, said = _texts(fields)
        spoken = turns_of_rollout(seen, said)
        history = History()
        history.add([Turn(Message(role=role, content=text)) for role, text in spoken.given], False)
        history.add([Turn(Message(role=role, content=text)) for role, text in spoken.made], True)
        turns, start = history.parts()
        used = ("score", *(key for keys in TEXT_KEYS for key in keys))
        made = build_reading(
            turns,
            start,
            task=task_of_row(fields, f"verl-{row.content_hash}", item_keys=()),
            digest=row.content_hash,
            outcome=self._outcome(fields),
            source=row.source("verl", details_of_row(fields, used)),
        )
        cut = [(len(made.trajectory.steps) - 1, CUT_BY_LENGTH)] if spoken.is_cut else []
        return Reading(made.trajectory, [*made.remarks, *cut])

    def _outcome(self, fields: Mapping[str, Any]) -> Outcome:
        score, accuracy = fields.get("score"), fields.get("acc")
        if isinstance(score, list):
            # SkyRL may give a reward for each token.
            if not all(map(is_number, score)):
                raise BadRowError(f"score is {score!r:.60}, expected numbers")
            score = sum(score)
        ending = "length" if fields.get("stop_reason") == "length" else None
        if accuracy in (0, 1) and self.config.success_at is None:
            if score is not None and not is_number(score):
                raise BadRowError(f"score is {score!r:.60}, expected a number")
            return Outcome(
                status="success" if accuracy else "failure",
                score=None if score is None else float(score),
                reason="acc, which verl reports as accuracy",
            )
        return outcome_without_rule(score, self.config, "verl without acc", ending=ending)


def _generated(row: SourceRow) -> Iterator[Reading]:
    """A trajectory for each response; verl scores them elsewhere."""
    prompt, responses = row.value.get("prompt"), row.value["responses"]
    if not isinstance(prompt, list) or not isinstance(responses, list):
        raise BadRowError("no messages under 'prompt' and texts under 'responses'")
    details = details_of_row(row.value, GENERATED_KEYS)
    for number, response in enumerate(responses):
        if not isinstance(response, str):
            raise BadRowError(f"response {number} is {response!r:.60}, expected a text")
        history = History()
        history.add(read_turns(prompt), are_made=False)
        history.add([Turn(Message(role="assistant", content=response))], are_made=True)
        turns, start = history.parts()
        yield build_reading(
            turns,
            start,
            task=task_of_row(row.value, f"verl-{row.content_hash}", item_keys=()),
            digest=f"{row.content_hash}-{number}",
            outcome=Outcome(status="unknown", reason="verl scores generated data elsewhere"),
            source=row.source("verl", {**details, "response": number}),
        )


def _texts(fields: Mapping[str, Any]) -> tuple[str, str]:
    for seen_key, said_key in TEXT_KEYS:
        seen, said = fields.get(seen_key), fields.get(said_key)
        if isinstance(seen, str) and isinstance(said, str):
            return seen, said
    raise BadRowError("no texts under 'input' and 'output', expected a generation of verl")
