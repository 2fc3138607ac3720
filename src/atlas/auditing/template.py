"""A tokenizer and its chat template as trainers use them: on raw messages, not on records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jinja2
import jinja2.nodes
import numpy as np
from numpy.typing import NDArray

from atlas.auditing.layout import Chat, Ends, Layout, lay_out
from atlas.auditing.rows import RefusedRowError
from atlas.auditing.supervision import Unwritten
from atlas.errors import ModelError, first_line
from atlas.rendering.renderer import Renderer
from atlas.rendering.template_clock import pin_day

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_GENERATION_TAGS = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
ASKED = [{"role": "user", "content": "Which?"}]


class LaidOut:
    """A rendered conversation: text, tokens, and what each token is."""

    def __init__(
        self, text: str, ids: Sequence[int], offsets: NDArray[np.int64], layout: Layout
    ) -> None:
        self.text = text
        self.ids = np.asarray(ids, dtype=np.int32)
        self.starts = offsets[:, 0] if len(offsets) else np.zeros(0, dtype=np.int64)
        self.stops = offsets[:, 1] if len(offsets) else np.zeros(0, dtype=np.int64)
        self.layout = layout
        self.codes, self.owners = layout.of_tokens(self.starts)

    @property
    def unwritten(self) -> tuple[Unwritten, ...]:
        return self.layout.unwritten


class Template:
    """Renders and encodes raw messages with one tokenizer.

    Args:
        renderer: of the same tokenizer; it knows what ends a turn.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.tokenizer = renderer.tokenizer
        self.name = renderer.name

    def render(
        self,
        messages: Chat,
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        open_turn: bool = False,
    ) -> str:
        """The text of messages.

        Raises:
            RefusedRowError: the template refuses them.
        """
        try:
            return self._apply(messages, tools, open_turn=open_turn)
        except Exception as error:
            # Templates raise jinja errors, TypeError, ValueError and more.
            said = f"{type(error).__name__}: {first_line(error):.200}"
            reason = f"the chat template refuses it: {said}"
            raise RefusedRowError(reason) from None

    def _apply(self, messages: Chat, tools: Sequence[Mapping[str, Any]], open_turn: bool) -> str:
        given = [dict(tool) for tool in tools] or None
        template, variables = pin_day(self._template(bool(given)), self.renderer.day)
        text = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=given,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=open_turn,
            **variables,
        )
        return str(text)

    def _template(self, has_tools: bool) -> str:
        templates = self.tokenizer.chat_template
        if isinstance(templates, dict):
            return str(self.tokenizer.get_chat_template(tools=[{}] if has_tools else None))
        return str(templates)

    def lay_out(self, messages: Chat, tools: Sequence[Mapping[str, Any]] = ()) -> LaidOut:
        """A conversation with the owner of each token.

        Raises:
            RefusedRowError: the template refuses it.
        """
        text = self.render(messages, tools)
        layout = lay_out(
            lambda chat: self._apply(chat, tools, open_turn=False), messages, text, self.ends
        )
        ids, offsets = self.encode(text)
        return LaidOut(text, ids, offsets, layout)

    def fields_of(self, variable: str) -> set[str]:
        """The names that the template reads from a variable, at any depth."""
        tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(
            _GENERATION_TAGS.sub("", self._template(has_tools=True))
        )
        fields = set()
        for node in tree.find_all((jinja2.nodes.Getattr, jinja2.nodes.Getitem)):
            base: Any = node
            while isinstance(base, jinja2.nodes.Getattr | jinja2.nodes.Getitem):
                base = base.node
            if not isinstance(base, jinja2.nodes.Name) or base.name != variable:
                continue
            name = node.attr if isinstance(node, jinja2.nodes.Getattr) else _constant(node)
            if isinstance(name, str):
                fields.add(name)
        return fields

    def generated(
        self, messages: Chat, tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[tuple[int, int]]:
        """The characters [start, end) that the template marks as the model's.

        Raises:
            RefusedRowError: the template refuses the messages.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        given = [dict(tool) for tool in tools] or None
        template, variables = pin_day(self._template(bool(given)), self.renderer.day)
        special = {
            name: token for name, token in self.tokenizer.special_tokens_map.items() if token
        }
        try:
            _, spans = render_jinja_template(
                conversations=[[dict(message) for message in messages]],
                tools=given,
                chat_template=template,
                return_assistant_tokens_mask=True,
                add_generation_prompt=False,
                **{**special, **variables},
            )
        except Exception as error:
            # Templates raise jinja errors, TypeError, ValueError and more.
            raise RefusedRowError(f"the chat template refuses it: {error!s:.200}") from None
        return [(int(start), int(end)) for start, end in spans[0]]

    def encode(self, text: str) -> tuple[list[int], NDArray[np.int64]]:
        """The tokens of a text, without added special ones, and their first and last characters."""
        # The same as the tokenizer's own call, which takes half as long again.
        encoded = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        offsets = np.asarray(encoded.offsets, dtype=np.int64).reshape(-1, 2)
        return list(encoded.ids), offsets

    def ids(self, text: str) -> list[int]:
        """The tokens of a text only."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def has_generation_marks(self) -> bool:
        """Whether the template says itself which text is the model's."""
        return GENERATION.search(self._template(has_tools=False)) is not None

    @cached_property
    def ends(self) -> Ends:
        """What closes a turn and opens the model's."""
        return Ends(self.end_texts, self.header)

    @cached_property
    def end_texts(self) -> tuple[str, ...]:
        """What closes a turn; the end of a sequence, if the template closes none."""
        try:
            found = [self.tokenizer.decode(list(end)) for end in self.renderer.ends]
        except ModelError:
            found = []
        found.append(self.tokenizer.eos_token)
        return tuple(dict.fromkeys(text for text in found if text))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which a model stops."""
        try:
            return self.renderer.stop_ids
        except ModelError:
            end = self.tokenizer.eos_token_id
            return frozenset(() if end is None else (int(end),))

    @cached_property
    def header(self) -> str:
        """The generation prompt; empty if the template has none."""
        try:
            asked = self._apply(ASKED, (), open_turn=False)
            opened = self._apply(ASKED, (), open_turn=True)
        except Exception:
            # The rows will say what the template refuses.
            return ""
        return opened[len(asked) :] if opened.startswith(asked) else ""

    @cached_property
    def folds_system(self) -> bool:
        """Whether the template has no system turn."""
        return self.renderer.folds_system


def _constant(node: jinja2.nodes.Node) -> object:
    """The constant by which an item is read."""
    return (
        node.arg.value
        if isinstance(node, jinja2.nodes.Getitem) and isinstance(node.arg, jinja2.nodes.Const)
        else None
    )
