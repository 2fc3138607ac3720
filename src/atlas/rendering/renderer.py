"""Renders conversations to tokens, each with the step that owns it. No other module does this.

A trajectory is rendered once by the tokenizer's own chat template and tokenized once. The span of a
response is the text that the template adds for this message. It is not found by a text search, so
an observation that contains role headers cannot be mistaken for a response. The same comparison
detects templates that rewrite history (for example, by stripping earlier thinking). Then there is
one example per step, with the history as the model sees it at inference.

The generation prompt belongs to the context, even if it opens `<think>`, because at inference it is
given to the model. The response is what follows: thinking, its closing tag, answer, tool calls and
end of turn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

from atlas.errors import ModelError
from atlas.records import Message, Trajectory
from atlas.rendering.chat_messages import fold_system, thinking_before, write_chat_message
from atlas.rendering.chat_templates.stock import fitting_template
from atlas.rendering.token_ownership import NO_STEP, ResponseSpan, TokenizedExample, own_tokens
from atlas.rendering.truncation import Truncation, cut_observations
from atlas.rendering.turn_shape import TurnShape, read_turn_shape
from atlas.rendering.unwritten import Part, UnwrittenParts


def _needs_tools(message: Message) -> bool:
    return message.role == "tool" or bool(message.tool_calls)


class Renderer:
    """Renders conversations with one tokenizer's chat template.

    Args:
        tokenizer: a fast Hugging Face tokenizer with a chat template.
        name: the name of the tokenizer in error messages.

    Raises:
        ModelError: the tokenizer lacks a chat template or an offset mapping.
    """

    def __init__(self, tokenizer: Any, name: str = "the model") -> None:
        self.tokenizer = tokenizer
        self.name = name
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"{name} has no chat template, so no conversation can be written for it. "
                "Give an instruct model, or set tokenizer.chat_template and save it with the model."
            )
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"{name} has a slow tokenizer, which cannot say which characters a token covers. "
                "Give one with a tokenizer.json."
            )

    def render(
        self,
        messages: Sequence[Message],
        *,
        open_turn: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The text of a conversation.

        Args:
            open_turn: whether to add the header after which the model answers.
            tools: tool schemas; a template without tool support ignores them.

        Raises:
            ModelError: the template refuses the conversation.
        """
        if self.folds_system and any(message.role == "system" for message in messages):
            messages = fold_system(messages)
        try:
            return self._apply(messages, open_turn, tools)
        except Exception as error:
            # Templates raise jinja errors, TypeError, ValueError and more.
            roles = ", ".join(message.role for message in messages[:6])
            roles += ", …" if messages[6:] else ""
            raise ModelError(
                f"the chat template of {self.name} refuses a conversation ({roles}): {error}"
                + (self._advice if any(map(_needs_tools, messages)) else "")
            ) from error

    @cached_property
    def _advice(self) -> str:
        """The end of the message where a conversation with tools is refused."""
        name = fitting_template(self.tokenizer)
        return f". chat_template={name} writes tool calls and results (docs/chat-templates.md)."

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how this model's template writes conversations."""
        if not self.folds_system:
            return ()
        return (
            f"{self.name} has no system turn: system text is written before the first user turn's, "
            "in training and in evaluation.",
        )

    @cached_property
    def folds_system(self) -> bool:
        """Whether system text is moved to user turns, because the template lacks system turns.

        Such a template refuses system turns, or drops their text when an answer follows. Mistral
        v0.3 writes it only into the last user turn.
        """
        chat = [Message(role="user", content="Which?"), Message(role="assistant", content="This.")]
        try:
            self._apply(chat, False, ())
        except Exception:
            # The template refuses more than the system turn; `render` will report the reason.
            return False
        system = Message(role="system", content="Xyzzy")
        try:
            return system.content not in self._apply([system, *chat], False, ())
        except Exception:
            return True

    def _apply(
        self, messages: Sequence[Message], open_turn: bool, tools: Sequence[Mapping[str, Any]]
    ) -> str:
        text = self.tokenizer.apply_chat_template(
            [write_chat_message(message) for message in messages],
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=open_turn,
        )
        return str(text)

    def encode(self, text: str) -> list[int]:
        """The tokens of rendered text, without added special tokens: the template wrote them."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def tokenize_trajectory(
        self,
        trajectory: Trajectory,
        max_tokens: int | None = None,
        steps: Collection[int] | None = None,
        truncation: Truncation = "drop_tail",
        others: Collection[int] = (),
    ) -> list[TokenizedExample]:
        """Tokenize a trajectory, with the owner of each token.

        One example, or one per step if the template rewrites history.

        Args:
            max_tokens: longer sequences are cut off; steps that do not fit completely become
                `dropped_steps`.
            steps: the wanted steps (None: all). With one example per step, only they and `others`
                get an example.
            truncation: whether observations are cut first, so that more wanted steps fit.
            others: more steps to include; no observation is cut for them. They change no token
                before the last wanted step.

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
        rendered = [self._span(messages, index, step, tools) for step, index in position.items()]
        if all(text.startswith(prefix) for prefix, _ in rendered):
            sources = [(text, [span for _, span in rendered], wanted)]
        else:
            sources = [(rendered[step][0], [rendered[step][1]], [step]) for step in wanted]
        unwritten = self._unwritten(owned, tools, sources)
        examples = [
            own_tokens(self.tokenizer, trajectory.id, *source, max_tokens, unwritten)
            for source in sources
        ]
        if max_tokens is None or truncation == "drop_tail":
            return examples
        cut = [self._with_cuts(trajectory, example, max_tokens, matter) for example in examples]
        return list(chain.from_iterable(cut))

    def _unwritten(
        self,
        owned: Sequence[tuple[Message, int]],
        tools: Sequence[Mapping[str, Any]],
        sources: Sequence[tuple[str, Sequence[ResponseSpan], Collection[int]]],
    ) -> dict[int, tuple[Part, ...]]:
        """What the template does not write of the steps in `sources`, and (-1) around them."""
        messages = [message for message, _ in owned]
        place = {step: index for index, (_, step) in enumerate(owned) if step != NO_STEP}
        lost = {
            span.step: self.parts.of_response(
                messages[place[span.step]],
                text[span.start : span.end],
                tools,
                lambda last=place[span.step]: messages[:last],  # type: ignore[misc]
            )
            for text, spans, _ in sources
            for span in spans
        }
        text, spans, _ = sources[-1]
        lost[NO_STEP] = self.parts.of_context(owned[: place[spans[-1].step]], text, tools)
        return {step: parts for step, parts in lost.items() if parts}

    @cached_property
    def parts(self) -> UnwrittenParts:
        """Tells which parts of a message the template leaves out."""

        def write_response(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
            text, span = self._span(messages, len(messages) - 1, 0, tools)
            return text[span.start : span.end]

        return UnwrittenParts(
            write_response,
            lambda messages, tools: self.render(messages, open_turn=True, tools=tools),
        )

    def _with_cuts(
        self,
        trajectory: Trajectory,
        example: TokenizedExample,
        max_tokens: int,
        matter: frozenset[int],
    ) -> list[TokenizedExample]:
        """Make the example again, with observations cut so that dropped steps fit.

        There may be several examples, if the template now rewrites history: Qwen3's template takes
        the marker for a user's question in place of a tool result.
        """
        if not matter.intersection(example.dropped_steps):
            return [example]

        def tokens_through(shortened: Trajectory, step: int) -> int:
            owned = list(shortened.owned_messages())
            index = next(index for index, (_, owner) in enumerate(owned) if owner == step)
            text, span = self._span([message for message, _ in owned], index, step, shortened.tools)
            return len(self.encode(text[: span.end]))

        wanted = {*example.steps, *example.dropped_steps}
        kept = sorted(wanted & matter)
        sizes = tokens_through, lambda text: len(self.encode(text))
        shortened, cut = cut_observations(trajectory, kept, max_tokens, *sizes)
        if not cut:
            return [example]
        examples = self.tokenize_trajectory(shortened, max_tokens, wanted)
        return [replace(made, cut_observations=cut) for made in examples]

    def opening_ids(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """The tokens of a conversation up to the model's answer."""
        return self.encode(self.render(messages, open_turn=True, tools=tools))

    def continuation_ids(
        self,
        messages: Sequence[Message],
        new: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int] | None:
        """The tokens from the end of turn of the last of `messages` to the model's next turn.

        Args:
            new: the messages between these two turns.

        Returns:
            None if the whole conversation must be encoded again: the template rewrites history
            when messages are added, or it omitted some of what was said (thinking).
        """
        if self._shape.thinking_opener:
            # The opener was before the last response, but the template does not write it there any
            # more.
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
        """The token ids at which generation stops."""
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
        """The text up to the last of `messages`, without the text that ends a conversation."""
        return self.render(messages, tools=tools).removesuffix(self._shape.finale)

    def _span(
        self, messages: Sequence[Message], index: int, step: int, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[str, ResponseSpan]:
        """The text up to the end of the response at `index`, and the response's span in it."""
        opened = self.render(messages[:index], open_turn=True, tools=tools)
        text = self._render_closed(messages[: index + 1], tools)
        opener = self._shape.thinking_opener
        header = opened.removesuffix(opener)
        if opener and header != opened and not text.startswith(opened) and text.startswith(header):
            # The template opens thinking for the model but does not write it.
            written = text[len(header) :]
            text = opened + thinking_before(messages[index], written) + written
        if not text.startswith(opened):
            raise ModelError(
                f"the chat template of {self.name} rewrites what came before step {step}, so its "
                "tokens cannot be located. Give a model whose template does not."
            )
        tail = self._shape.tail
        end = len(text) - len(tail) if text.endswith(tail) else len(text)
        return text, ResponseSpan(step, len(opened), end)
