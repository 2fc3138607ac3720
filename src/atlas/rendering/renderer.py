"""Text to tokens, in one place only, with the step that owns each token.

A trajectory is written out once by the tokenizer's own chat template and tokenised once; the span of each response is
known by construction (what the template adds when that one message is added), never found by searching for strings.
So an observation that spells out role headers owns nothing. Templates that rewrite history (thinking stripped from
earlier turns) are noticed by the same comparison and give one example per step, its history as seen at inference.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import ModelError
from atlas.records import Message, Trajectory

NO_STEP = -1


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One sequence of tokens with their owners.

    Attributes:
        token_ids: shape [T], int32.
        step_of_token: shape [T], int32; the step whose response (end of turn included) holds the token, or -1.
        steps: the steps that own tokens here.
        dropped_steps: steps that should be here but did not fit whole into the token limit.
    """

    trajectory_id: str
    token_ids: NDArray[np.int32]
    step_of_token: NDArray[np.int32]
    steps: tuple[int, ...]
    dropped_steps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Span:
    """Characters [start, end) of the rendered text that hold the response of `step`, its end of turn included."""

    step: int
    start: int
    end: int


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

    def render(self, messages: Sequence[Message], *, open_turn: bool = False, tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The text of a conversation; `open_turn` adds the header after which the model answers.

        `tools` are the schemas that the template may write out; one that knows no tools leaves them out.
        """
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [to_chat_dict(message) for message in messages],
                    tools=[dict(tool) for tool in tools] or None,
                    tokenize=False,
                    add_generation_prompt=open_turn,
                )
            )
        except Exception as error:  # templates raise whatever they like: jinja errors, TypeError, ValueError
            roles = ", ".join(message.role for message in messages[:6])
            raise ModelError(
                f"the chat template of {self.name} refuses a conversation ({roles}{', …' if len(messages) > 6 else ''}): {error}"
            ) from error

    def encode(self, text: str) -> list[int]:
        """The tokens of rendered text; the template wrote the special tokens itself, so none are added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def tokenize_trajectory(
        self, trajectory: Trajectory, max_tokens: int | None = None, steps: Collection[int] | None = None
    ) -> list[TokenizedExample]:
        """The trajectory as tokens with owners: one example, or one per step where the template rewrites history.

        Args:
            max_tokens: longer sequences lose their tail; steps that no longer fit whole become `dropped_steps`.
            steps: the steps that matter (all, if None); only they get an example of their own where one is needed.

        Raises:
            ModelError: the template places a response where it cannot be located.
        """
        wanted = range(len(trajectory.steps)) if steps is None else sorted(steps)
        if not wanted:
            return []
        owned = list(trajectory.owned_messages())
        messages = [message for message, _ in owned]
        position = {step: index for index, (_, step) in enumerate(owned) if step != NO_STEP}
        tools = trajectory.tools
        text = self.render(messages, tools=tools)
        spans = [self._span(messages, position[step], step, tools) for step in range(len(trajectory.steps))]
        if all(text.startswith(prefix) for prefix, _ in spans):
            return [self._example(trajectory.id, text, [span for _, span in spans], wanted, max_tokens)]
        return [self._example(trajectory.id, *_alone(spans[step]), [step], max_tokens) for step in wanted]

    def opening_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation up to where the model answers."""
        return self.encode(self.render(messages, open_turn=True))

    def continuation_ids(self, messages: Sequence[Message], new: Sequence[Message]) -> list[int] | None:
        """The tokens between the end of turn of the last of `messages` and the model's next turn, after `new` arrived.

        None where the template rewrites history when messages are added: the whole conversation must be encoded again.
        """
        before = self.render(messages)
        after = self.render([*messages, *new], open_turn=True)
        if not after.startswith(before):
            return None
        return self.encode(self.turn_tail + after[len(before) :])

    @cached_property
    def end_of_turn(self) -> tuple[int, ...]:
        """The tokens that close a response, for instance `<|im_end|>`."""
        return tuple(self._after_response[0])

    @cached_property
    def turn_tail(self) -> str:
        """What the template writes between the end of turn and the next message (ChatML's newline)."""
        return self._after_response[1]

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which generation stops."""
        eos = self.tokenizer.eos_token_id
        return frozenset(self.end_of_turn[-1:]) | (frozenset() if eos is None else {int(eos)})

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return frozenset(added) | frozenset(self.tokenizer.all_special_ids)

    @cached_property
    def _after_response(self) -> tuple[list[int], str]:
        """(tokens of the end of turn, text after it), read off a two-message conversation."""
        question, answer = Message(role="user", content="a"), Message(role="assistant", content="b")
        opened, closed = self.render([question], open_turn=True), self.render([question, answer])
        if not closed.startswith(opened) or "b" not in closed[len(opened) :]:
            raise ModelError(f"the chat template of {self.name} does not continue its own generation prompt with the response.")
        closing = closed[len(opened) :].split("b", 1)[1]
        encoded = self.tokenizer(closing, add_special_tokens=False, return_offsets_mapping=True)
        special = [index for index, token in enumerate(encoded["input_ids"]) if token in self._special_ids]
        if not special:
            raise ModelError(
                f"the chat template of {self.name} closes a turn without a special token ({closing!r}), so a tuned model would never "
                "learn to stop. Use a template that ends each turn with one, such as <|im_end|>."
            )
        last = special[-1]
        return list(encoded["input_ids"][: last + 1]), closing[encoded["offset_mapping"][last][1] :]

    def _span(self, messages: Sequence[Message], index: int, step: int, tools: Sequence[Mapping[str, Any]]) -> tuple[str, _Span]:
        """The text up to and including the response at `index`, and where in it the response lies."""
        before = self.render(messages[:index], open_turn=True, tools=tools)
        text = self.render(messages[: index + 1], tools=tools)
        if not text.startswith(before):
            raise ModelError(f"the chat template of {self.name} rewrites what came before step {step}, so its tokens cannot be located.")
        end = len(text) - len(self.turn_tail) if text.endswith(self.turn_tail) else len(text)
        return text, _Span(step, len(before), end)

    def _example(
        self, trajectory_id: str, text: str, spans: Sequence[_Span], wanted: Collection[int], max_tokens: int | None
    ) -> TokenizedExample:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        token_ids = np.asarray(encoded["input_ids"], dtype=np.int32)
        offsets = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        owner = np.full(len(token_ids), NO_STEP, dtype=np.int32)
        dropped = []
        for span in spans:
            # A token that straddles the header and the response belongs to the header: the model never emits it alone.
            inside = (offsets[:, 0] >= span.start) & (offsets[:, 1] <= span.end) & (offsets[:, 1] > offsets[:, 0])
            if max_tokens is not None and inside.any() and int(np.flatnonzero(inside)[-1]) >= max_tokens:
                if span.step in wanted:
                    dropped.append(span.step)
                continue
            owner[inside] = span.step
        if max_tokens is not None:
            token_ids, owner = token_ids[:max_tokens], owner[:max_tokens]
        kept = tuple(sorted(set(owner[owner != NO_STEP].tolist()) & set(wanted)))
        return TokenizedExample(trajectory_id, token_ids, owner, kept, tuple(dropped))


def to_chat_dict(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: optional fields absent rather than None, arguments as an object."""
    chat: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        chat["reasoning_content"] = message.reasoning
    if message.tool_calls:
        chat["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": _arguments(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        chat["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        chat["name"] = message.name
    return chat


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # a model wrote broken JSON: show it as it was


def _alone(rendered: tuple[str, _Span]) -> tuple[str, list[_Span]]:
    text, span = rendered
    return text, [span]
