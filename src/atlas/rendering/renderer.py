"""Text to tokens, in one place only, with the step that owns each token.

A trajectory is written out once by the tokenizer's own chat template and tokenised once; the span of each response is
known by construction (what the template adds when that one message is added), never found by searching for strings.
So an observation that spells out role headers owns nothing. Templates that rewrite history (thinking stripped from
earlier turns) are noticed by the same comparison and give one example per step, its history as seen at inference.

What the generation prompt writes is context, also where it opens `<think>`: at inference the model is given it. What follows
(the thinking, its closing tag, the answer, tool calls, the end of turn) is the response.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import ModelError
from atlas.records import Message, Trajectory
from atlas.rendering.chat_messages import fold_system, thinking_before, to_chat_dict
from atlas.rendering.truncation import Truncation, cut_observations
from atlas.rendering.turn_shape import TurnShape, read_turn_shape

NO_STEP = -1


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One sequence of tokens with their owners.

    Attributes:
        token_ids: shape [T], int32.
        step_of_token: shape [T], int32; the step whose response (end of turn included) holds the token, or -1.
        steps: the steps that own tokens here.
        dropped_steps: steps that should be here but did not fit whole into the token limit.
        unwritten_thinking: steps of `steps` that came with thinking which the template does not write out.
        cut_observations: steps whose observation gave way to a marker.
    """

    trajectory_id: str
    token_ids: NDArray[np.int32]
    step_of_token: NDArray[np.int32]
    steps: tuple[int, ...]
    dropped_steps: tuple[int, ...] = ()
    unwritten_thinking: tuple[int, ...] = ()
    cut_observations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Span:
    """Characters [start, end) of the rendered text that hold the response of `step`, its end of turn included."""

    step: int
    start: int
    end: int
    lacks_thinking: bool


class Renderer:
    """Renders conversations with one tokenizer's chat template.

    Args:
        tokenizer: a fast Hugging Face tokenizer with a chat template.
        name: how the tokenizer is called in error messages.

    Raises:
        ModelError: there is no chat template, no offset mapping, or the template cannot end a turn.
    """

    def __init__(self, tokenizer: Any, name: str = "the model") -> None:
        self.tokenizer = tokenizer
        self.name = name
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"{name} has no chat template, so it is not known how to write a conversation for it. "
                "Give an instruct model, or set tokenizer.chat_template and save it with the model."
            )
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"{name} has a slow tokenizer, which cannot say which characters a token covers. Give one with a tokenizer.json."
            )

    def render(
        self,
        messages: Sequence[Message],
        *,
        open_turn: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The text of a conversation; `open_turn` adds the header after which the model answers.

        `tools` are the schemas that the template may write out; one that knows no tools leaves them out.
        """
        if self.folds_system and any(message.role == "system" for message in messages):
            messages = fold_system(messages)
        try:
            return self._apply(messages, open_turn, tools)
        except (
            Exception
        ) as error:  # templates raise whatever they like: jinja errors, TypeError, ValueError
            roles = ", ".join(message.role for message in messages[:6])
            raise ModelError(
                f"the chat template of {self.name} refuses a conversation ({roles}{', …' if len(messages) > 6 else ''}): {error}"
            ) from error

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how conversations are written for this model, a sentence each."""
        if not self.folds_system:
            return ()
        return (
            f"{self.name} has no system turn: system text is written before the first user turn's, in training and in evaluation.",
        )

    @cached_property
    def folds_system(self) -> bool:
        """Whether system text is written before the first user turn's, because the template has no system turn.

        It then refuses one, or leaves its text out once an answer follows (Mistral v0.3 writes it into the last user turn only).
        """
        chat = [Message(role="user", content="Which?"), Message(role="assistant", content="This.")]
        try:
            self._apply(chat, False, ())
        except Exception:  # it refuses more than a system turn: render says what
            return False
        try:
            return "Xyzzy" not in self._apply(
                [Message(role="system", content="Xyzzy"), *chat], False, ()
            )
        except Exception:  # whatever it raises
            return True

    def _apply(
        self, messages: Sequence[Message], open_turn: bool, tools: Sequence[Mapping[str, Any]]
    ) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                [to_chat_dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=open_turn,
            )
        )

    def encode(self, text: str) -> list[int]:
        """The tokens of rendered text; the template wrote the special tokens itself, so none are added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def tokenize_trajectory(
        self,
        trajectory: Trajectory,
        max_tokens: int | None = None,
        steps: Collection[int] | None = None,
        truncation: Truncation = "drop_tail",
        others: Collection[int] = (),
    ) -> list[TokenizedExample]:
        """The trajectory as tokens with owners: one example, or one per step where the template rewrites history.

        Args:
            max_tokens: longer sequences lose their tail; steps that no longer fit whole become `dropped_steps`.
            steps: the steps that matter (all, if None); only they and `others` get an example of their own where one is needed.
            truncation: whether observations give way first, so that fewer of the steps that matter are dropped.
            others: steps that no observation gives way to: what they are changes no token before the last step that matters.

        Raises:
            ModelError: the template places a response where it cannot be located.
        """
        matter = frozenset(range(len(trajectory.steps)) if steps is None else steps)
        wanted = sorted(matter.union(others))
        if not wanted:
            return []
        owned = list(trajectory.owned_messages())
        messages = [message for message, _ in owned]
        position = {step: index for index, (_, step) in enumerate(owned) if step != NO_STEP}
        tools = trajectory.tools
        text = self.render(messages, tools=tools)
        spans = [
            self._span(messages, position[step], step, tools)
            for step in range(len(trajectory.steps))
        ]
        if all(text.startswith(prefix) for prefix, _ in spans):
            examples = [
                self._example(trajectory.id, text, [span for _, span in spans], wanted, max_tokens)
            ]
        else:
            examples = [
                self._example(trajectory.id, *_alone(spans[step]), [step], max_tokens)
                for step in wanted
            ]
        if max_tokens is None or truncation == "drop_tail":
            return examples
        return [
            made
            for example in examples
            for made in (
                self._with_cuts(trajectory, example, max_tokens, matter)
                if matter.intersection(example.dropped_steps)
                else [example]
            )
        ]

    def _with_cuts(
        self,
        trajectory: Trajectory,
        example: TokenizedExample,
        max_tokens: int,
        matter: frozenset[int],
    ) -> list[TokenizedExample]:
        """The example again, observations left out so that steps that matter and that it dropped fit.

        More than one where the template rewrites history now: Qwen3's takes the marker for a question where it knew a tool's result.
        """

        def tokens_through(shortened: Trajectory, step: int) -> int:
            owned = list(shortened.owned_messages())
            index = next(index for index, (_, owner) in enumerate(owned) if owner == step)
            text, span = self._span([message for message, _ in owned], index, step, shortened.tools)
            return len(self.encode(text[: span.end]))

        wanted = {*example.steps, *example.dropped_steps}
        kept = sorted(wanted & matter)
        shortened, cut = cut_observations(
            trajectory, kept, max_tokens, tokens_through, lambda text: len(self.encode(text))
        )
        if not cut:
            return [example]
        return [
            replace(made, cut_observations=cut)
            for made in self.tokenize_trajectory(shortened, max_tokens, wanted)
        ]

    def opening_ids(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """The tokens of a conversation up to where the model answers."""
        return self.encode(self.render(messages, open_turn=True, tools=tools))

    def continuation_ids(
        self,
        messages: Sequence[Message],
        new: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int] | None:
        """The tokens between the end of turn of the last of `messages` and the model's next turn, after `new` arrived.

        None where the template rewrites history when messages are added, or has left out some of what was said (thinking): the
        whole conversation must be encoded again.
        """
        if (
            self._shape.thinking_opener
        ):  # it opened the last response, and is not written before it any more
            return None
        before = self._render_closed(messages, tools)
        after = self.render([*messages, *new], open_turn=True, tools=tools)
        if not after.startswith(before) or messages[-1].content.strip() not in before:
            return None
        return self.encode(self._shape.tail + after[len(before) :])

    @property
    def end_of_turn(self) -> tuple[int, ...]:
        """The tokens that close a response, for instance `<|im_end|>`."""
        return self._shape.end_of_turn

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which generation stops."""
        eos = self.tokenizer.eos_token_id
        return frozenset(self.end_of_turn[-1:]) | (frozenset() if eos is None else {int(eos)})

    @cached_property
    def _shape(self) -> TurnShape:
        return read_turn_shape(
            lambda messages, open_turn: self.render(messages, open_turn=open_turn),
            self.tokenizer,
            self.name,
        )

    def _render_closed(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """The text up to and including the last of `messages`, without what stands at the end of a whole conversation only."""
        return self.render(messages, tools=tools).removesuffix(self._shape.finale)

    def _span(
        self, messages: Sequence[Message], index: int, step: int, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[str, _Span]:
        """The text up to and including the response at `index`, and where in it the response lies."""
        opened = self.render(messages[:index], open_turn=True, tools=tools)
        text = self._render_closed(messages[: index + 1], tools)
        opener = self._shape.thinking_opener
        header = opened.removesuffix(opener)
        if opener and header != opened and not text.startswith(opened) and text.startswith(header):
            written = text[
                len(header) :
            ]  # the template opens thinking for the model and writes none of it down
            text = opened + thinking_before(messages[index], written) + written
        if not text.startswith(opened):
            raise ModelError(
                f"the chat template of {self.name} rewrites what came before step {step}, so its tokens cannot be located."
            )
        tail = self._shape.tail
        end = len(text) - len(tail) if text.endswith(tail) else len(text)
        lacks_thinking = (messages[index].reasoning or "").strip() not in text[len(opened) : end]
        return text, _Span(step, len(opened), end, lacks_thinking)

    def _example(
        self,
        trajectory_id: str,
        text: str,
        spans: Sequence[_Span],
        wanted: Collection[int],
        max_tokens: int | None,
    ) -> TokenizedExample:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        token_ids = np.asarray(encoded["input_ids"], dtype=np.int32)
        offsets = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        owner = np.full(len(token_ids), NO_STEP, dtype=np.int32)
        dropped = []
        for span in spans:
            # A token that straddles the header and the response belongs to the header: the model never emits it alone.
            inside = (
                (offsets[:, 0] >= span.start)
                & (offsets[:, 1] <= span.end)
                & (offsets[:, 1] > offsets[:, 0])
            )
            if (
                max_tokens is not None
                and inside.any()
                and int(np.flatnonzero(inside)[-1]) >= max_tokens
            ):
                if span.step in wanted:
                    dropped.append(span.step)
                continue
            owner[inside] = span.step
        if max_tokens is not None:
            token_ids, owner = token_ids[:max_tokens], owner[:max_tokens]
        kept = tuple(sorted(set(owner[owner != NO_STEP].tolist()) & set(wanted)))
        unwritten = tuple(span.step for span in spans if span.lacks_thinking and span.step in kept)
        return TokenizedExample(trajectory_id, token_ids, owner, kept, tuple(dropped), unwritten)


def _alone(rendered: tuple[str, _Span]) -> tuple[str, list[_Span]]:
    text, span = rendered
    return text, [span]
