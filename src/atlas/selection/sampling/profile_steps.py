"""Profiles the steps of an expert with samples of a model: `trajectory -> agreement per step`.

The model sees the history up to the step as it would see it when it acts. All samples of all steps
of a trajectory are asked for at the same time, so that a local model computes a history once for
its samples, and only what is new in it for the next step.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from atlas.errors import ConfigError, EndpointError
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Trajectory, Usage
from atlas.selection.agreement.actions import NO_ACTION, action_form, read_action
from atlas.selection.agreement.base import ActionAgreement, ChecksTrajectory, Verdict
from atlas.selection.sampling.sample_book import SampleBook
from atlas.selection.sampling.sampler import Sampler
from atlas.selection.sampling.samples import (
    SampleVerdict,
    StepAgreement,
    StepSample,
    measure_agreement,
    sample_key,
    step_key,
)


class StepProfiler:
    """Samples responses and compares them with the expert's.

    Args:
        book: where samples are kept; None: nowhere.
        on_sample: called with the usage of each new sample.
    """

    def __init__(
        self,
        sampler: Sampler,
        agreement: ActionAgreement,
        num_samples: int,
        book: SampleBook | None,
        on_sample: Callable[[Usage], None],
    ) -> None:
        self._sampler = sampler
        self._agreement = agreement
        self._num_samples = num_samples
        self._book = book
        self._on_sample = on_sample

    async def profile(self, trajectory: Trajectory) -> list[StepAgreement]:
        """The agreement at each step.

        Raises:
            EndpointError: a sample or a judgment is missing; those that came are kept.
            ModelError: the model cannot be used.
        """
        # Once a question got no answer, no more are asked about this trajectory.
        failures: list[EndpointError] = []
        steps = (
            self._profile_step(trajectory, step, history, failures)
            for step, history in enumerate(histories(trajectory))
        )
        try:
            return await _all(steps)
        finally:
            if isinstance(self._agreement, ChecksTrajectory):
                self._agreement.release(trajectory)

    async def _profile_step(
        self,
        trajectory: Trajectory,
        step: int,
        history: Sequence[Message],
        failures: list[EndpointError],
    ) -> StepAgreement:
        book = self._book
        if book is not None and (known := book.agreement(step_key(trajectory.id, step))):
            return known
        samples = await _all(
            self._sample(trajectory, step, number, history, failures)
            for number in range(self._num_samples)
        )
        verdicts = await self._compare(trajectory, step, samples)
        expert = trajectory.steps[step].response
        form = action_form(expert)
        rows = tuple(
            SampleVerdict(
                sample=sample.sample,
                action=str(read_action(sample.message, form) or ""),
                agrees=verdict.agrees,
                reason=verdict.reason,
            )
            for sample, verdict in zip(samples, verdicts, strict=True)
        )
        measured = measure_agreement(rows)
        reasons = Counter(row.reason for row in rows)
        agreement = StepAgreement(
            trajectory_id=trajectory.id,
            step=step,
            expert=str(read_action(expert, form) or ""),
            mean=None if measured is None else measured[0],
            variance=None if measured is None else measured[1],
            reason=reasons.most_common(1)[0][0] if measured is None else None,
            samples=rows,
        )
        if book is not None:
            book.keep_agreement(agreement)
        return agreement

    async def _sample(
        self,
        trajectory: Trajectory,
        step: int,
        number: int,
        history: Sequence[Message],
        failures: list[EndpointError],
    ) -> StepSample:
        key = sample_key(trajectory.id, step, number)
        book = self._book
        if book is not None and (known := book.sample(key)):
            return known
        async with self._sampler.place:
            if failures:
                raise failures[0]
            answer = await self._sampler.ask(key, history, trajectory.tools)
        self._on_sample(answer.usage)
        if answer.finish == "broken":
            failures.append(EndpointError(f"step {step}: {answer.reason}"))
            raise failures[0]
        sample = StepSample(
            trajectory_id=trajectory.id,
            step=step,
            sample=number,
            message=_recordable(answer.message),
            finish=answer.finish,
            reason=answer.reason,
            usage=_tokens(answer),
        )
        if book is not None:
            book.keep_sample(sample)
        return sample

    async def _compare(
        self, trajectory: Trajectory, step: int, samples: Sequence[StepSample]
    ) -> list[Verdict]:
        """A verdict on each sample. One that was cut off, or is empty, does not agree."""
        verdicts = [_without_comparison(sample) for sample in samples]
        responses = [
            sample.message
            for sample, verdict in zip(samples, verdicts, strict=True)
            if verdict is None
        ]
        if not responses:
            return [verdict for verdict in verdicts if verdict is not None]
        compared: Any = self._agreement.compare(trajectory, step, responses)
        found = list(await compared if inspect.isawaitable(compared) else compared)
        if len(found) != len(responses) or not all(isinstance(one, Verdict) for one in found):
            raise ConfigError(
                f"agreement {type(self._agreement).__name__}: compare returned {found!r:.80}, "
                f"expected {len(responses)} verdicts (atlas.selection.agreement.base.Verdict)."
            )
        left = iter(found)
        return [next(left) if verdict is None else verdict for verdict in verdicts]


def histories(trajectory: Trajectory) -> Iterator[tuple[Message, ...]]:
    """What the model reads before each step: the prompt, and everything up to the observation."""
    history = trajectory.prompt
    for step in trajectory.steps:
        history = (*history, *step.observation)
        yield history
        history = (*history, step.response)


async def _all(work: Any) -> list[Any]:
    """The results in order. All end before an error is raised, since answers are paid for."""
    found = await asyncio.gather(*work, return_exceptions=True)
    errors = [one for one in found if isinstance(one, BaseException)]
    if errors:
        raise next((one for one in errors if not isinstance(one, EndpointError)), errors[0])
    return found


def _without_comparison(sample: StepSample) -> Verdict | None:
    """The verdict on a sample that cannot be compared; None for the others."""
    if sample.finish == "length":
        return Verdict(False, f"it was cut off after {sample.usage.output_tokens:,} tokens")
    if sample.finish != "stop":
        return Verdict(None, sample.reason or sample.finish)
    is_empty = not sample.message.content.strip() and not sample.message.tool_calls
    return Verdict(False, NO_ACTION) if is_empty else None


def _tokens(answer: PlayerAnswer) -> Usage:
    """The usage without what only a payment has."""
    return Usage(**{name: getattr(answer.usage, name) for name in Usage.model_fields})


def _recordable(message: Message) -> Message:
    """The message without lone surrogates, which an endpoint may send and no file can hold."""

    def clean(text: str | None) -> Any:
        return text and text.encode("utf-8", "replace").decode()

    calls = tuple(
        call.model_copy(
            update={
                "id": clean(call.id),
                "name": clean(call.name),
                "arguments": clean(call.arguments),
            }
        )
        for call in message.tool_calls
    )
    return message.model_copy(
        update={
            "content": clean(message.content),
            "reasoning": clean(message.reasoning),
            "tool_calls": calls,
        }
    )
