"""Renders conversations to tokens, each with the step that owns it. No other module does this.

A conversation is rendered by the tokenizer's own chat template. The span of a response is the text
that the template adds for this message. It is not found by a text search, so an observation that
contains role headers cannot be mistaken for a response. The same comparison detects templates that
rewrite history (for example, by stripping earlier thinking). Then there are several examples, each
with the history as the model sees it at inference.

The generation prompt belongs to the context, even if it opens `<think>`, because at inference it is
given to the model. The response is what follows: thinking, its closing tag, answer, tool calls and
end of turn. Prompts and responses are encoded separately, as the players do (piece_tokens.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import Any

from atlas.errors import ModelError
from atlas.records import Message, Trajectory
from atlas.rendering.chat_messages import (
    END_OF_THINKING,
    CallForm,
    choose_call_form,
    fold_system,
    has_thinking_inside,
    take_thinking_apart,
    write_chat_message,
)
from atlas.rendering.chat_templates.stock import fitting_template
from atlas.rendering.conversation_turns import ConversationTurns, Writer
from atlas.rendering.piece_tokens import PieceEncoder
from atlas.rendering.prompt_ends import response_after
from atlas.rendering.template_clock import pin_day, refuse_random
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from atlas.rendering.truncation import MARKER, Truncation, cut_observations
from atlas.rendering.turn_examples import TurnExamples
from atlas.rendering.turn_shape import TurnShape, read_end_of_call, read_turn_shape
from atlas.rendering.unwritten import UnwrittenParts
from atlas.rendering.unwritten_of_turns import add_unwritten


def _needs_tools(message: Message) -> bool:
    return message.role == "tool" or bool(message.tool_calls)


# A text of this many characters has far more tokens than the marker of a cut observation.
_GLANCE = 4096


class Renderer:
    """Renders conversations with one tokenizer's chat template.

    Args:
        tokenizer: a fast Hugging Face tokenizer with a chat template.
        name: the name of the tokenizer in error messages.
        day: the date that a template writes as today's; None: today.

    Raises:
        ModelError: the tokenizer lacks a chat template or an offset mapping, or the template writes
            random text.
    """

    def __init__(self, tokenizer: Any, name: str = "the model", day: date | None = None) -> None:
        self.tokenizer = tokenizer
        self.name = name
        self.day = day or date.today()
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
        templates = tokenizer.chat_template
        for template in templates.values() if isinstance(templates, dict) else [templates]:
            refuse_random(template, name)

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
        if any(map(has_thinking_inside, messages)) and self._takes_thinking_apart:
            messages = [take_thinking_apart(message) for message in messages]
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

    @cached_property
    def _takes_thinking_apart(self) -> bool:
        """Whether thinking inside the text of a response is given to the template in its field.

        The prompt of such a template opens thinking, and its history is without thinking. What a
        model generates then has the history of a recorded response.
        """
        question = Message(role="user", content="Which?")
        answer = Message(role="assistant", content=f"Xyzzy\n{END_OF_THINKING}\n\nThis.")
        try:
            opens = self._shape.thinking
            return bool(opens) and "Xyzzy" not in self._apply(
                [question, answer, question], False, ()
            )
        except Exception:
            # `render` will report the reason.
            return False

    @cached_property
    def _call_form(self) -> CallForm:
        return choose_call_form(lambda chat, form: self._apply(chat, False, (), form))

    def _apply(
        self,
        messages: Sequence[Message],
        open_turn: bool,
        tools: Sequence[Mapping[str, Any]],
        form: CallForm | None = None,
    ) -> str:
        if form is None:
            has_calls = any(message.tool_calls for message in messages)
            form = self._call_form if has_calls else CallForm()
        given = [dict(tool) for tool in tools] or None
        template, variables = pin_day(self.tokenizer.get_chat_template(tools=given), self.day)
        text = self.tokenizer.apply_chat_template(
            [write_chat_message(message, form) for message in messages],
            tools=given,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=open_turn,
            **variables,
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
        examples = self._build(trajectory, wanted, max_tokens)
        if max_tokens is None or truncation == "drop_tail":
            return examples
        cut: list[TokenizedExample] = []
        for number, example in enumerate(examples):
            made = self._with_cuts(trajectory, example, max_tokens, matter)
            cut += made
            if matter.intersection(example.dropped_steps) and made[0] is example:
                # Later steps are longer still.
                return cut + examples[number + 1 :]
        return cut

    def _build(
        self, trajectory: Trajectory, wanted: Collection[int], max_tokens: int | None
    ) -> list[TokenizedExample]:
        turns = self._turns(trajectory)
        made = self._turn_examples(trajectory, turns, max_tokens)
        examples = made.build(wanted)
        return add_unwritten(self.parts, trajectory, turns, made, examples)

    def _turns(self, trajectory: Trajectory) -> ConversationTurns:
        owned = list(trajectory.owned_messages())
        positions = [index for index, (_, step) in enumerate(owned) if step != NO_STEP]
        messages = [message for message, _ in owned]
        return ConversationTurns(self._writer, messages, positions, trajectory.tools)

    def _turn_examples(
        self, trajectory: Trajectory, turns: ConversationTurns, max_tokens: int | None
    ) -> TurnExamples:
        return TurnExamples(
            trajectory.id,
            turns,
            len(trajectory.steps),
            lambda: self.render(trajectory.messages, tools=trajectory.tools),
            self._encoder,
            max_tokens,
        )

    @cached_property
    def parts(self) -> UnwrittenParts:
        """Tells which parts of a message the template leaves out."""
        return UnwrittenParts(self._writer.response, self._writer.opened)

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

        def fits(shortened: Trajectory, step: int) -> bool:
            upto = shortened.model_copy(update={"steps": shortened.steps[: step + 1]})
            return self._turn_examples(upto, self._turns(upto), max_tokens).fits(step)

        wanted = {*example.steps, *example.dropped_steps}
        kept = sorted(wanted & matter)
        shortened, cut = cut_observations(trajectory, kept, fits, self._is_longer_than_marker)
        if not cut:
            return [example]
        examples = self.tokenize_trajectory(shortened, max_tokens, wanted)
        return [replace(made, cut_observations=cut) for made in examples]

    def _is_longer_than_marker(self, text: str) -> bool:
        shortest = len(self.encode(MARKER))
        # For a long text, its beginning shows this.
        return len(self.encode(text[:_GLANCE])) > 2 * shortest or len(self.encode(text)) > shortest

    def opening_ids(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """The tokens of a conversation up to the model's answer."""
        return self._encoder.opening(self.render(messages, open_turn=True, tools=tools))

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
        opened = self.render(messages[:-1], open_turn=True, tools=tools)
        try:
            before, _ = self._answered(opened, messages, tools)
        except ModelError:
            return None
        after = self.render([*messages, *new], open_turn=True, tools=tools)
        if not after.startswith(before) or messages[-1].content.strip() not in before:
            return None
        return self._encoder.after_response([after[len(before) :]])[0]

    @property
    def end_of_turn(self) -> tuple[int, ...]:
        """The tokens that close a response, for instance `<|im_end|>`."""
        return self._shape.end_of_turn

    @property
    def ends(self) -> tuple[tuple[int, ...], ...]:
        """The tokens that close a response, then those after a call, if they differ."""
        call = () if self._end_of_call is None else (self._end_of_call,)
        return tuple(dict.fromkeys(end for end in (self.end_of_turn, call) if end))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The token ids at which generation stops."""
        ids = {self.end_of_turn[-1], self.tokenizer.eos_token_id, self._end_of_call}
        return frozenset(int(index) for index in ids if index is not None)

    @cached_property
    def _end_of_call(self) -> int | None:
        """The special token that ends a turn with a call: gpt-oss and Gemma-4 have their own."""
        return read_end_of_call(self._writer, self.tokenizer)

    @cached_property
    def _shape(self) -> TurnShape:
        return read_turn_shape(
            lambda messages, open_turn: self.render(messages, open_turn=open_turn),
            self.tokenizer,
            self.name,
        )

    @cached_property
    def _encoder(self) -> PieceEncoder:
        return PieceEncoder(self.tokenizer, self.end_of_turn[-1])

    @cached_property
    def _writer(self) -> Writer:
        return Writer(
            lambda messages, tools: self.render(messages, open_turn=True, tools=tools),
            self._answered,
        )

    @cached_property
    def _markup(self) -> tuple[str, ...]:
        return tuple(token.content for token in self.tokenizer.added_tokens_decoder.values())

    def _answered(
        self, opened: str, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[str, str]:
        """The text up to the end of the last of `messages`, a response, and what follows it.

        Args:
            opened: the text up to this response, which is kept as it is.
        """
        # What ends a whole conversation does not belong to a turn.
        text = self.render(messages, tools=tools).removesuffix(self._shape.finale)
        if not text.startswith(opened):
            written = response_after(opened, text, messages[-1], self._shape.opener, self._markup)
            if written is None:
                raise ModelError(
                    f"the chat template of {self.name} rewrites what came before a response, so "
                    "its tokens cannot be located. Give a model whose template does not."
                )
            text = opened + written
        tail = self._shape.tail
        end = len(text) - len(tail) if text.endswith(tail) else len(text)
        return text[:end], text[end:]
