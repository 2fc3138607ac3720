"""Encodes a conversation in the pieces in which a model meets it.

At inference a model is given the tokens of a prompt, and then generates. No token can cover the end
of the prompt and the beginning of the answer. If prompt and answer were encoded as one text, white
space at the end of the prompt could merge with the first word of the answer: a token that the model
never sees, and that belongs to no step. So the prompt, each response and each text between two
responses are encoded separately, here and for the players alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

# Texts with a token boundary after them, in the order in which they are tried: the token that ends
# a turn, a character that no vocabulary merges with others, and common ones.
_ANCHORS = ("\ue000", "x", ".", "\n", "0")
_PROBES = ("x", " x", "\nx", "\n\nx", "x x")
# A long text is encoded in slices of about this many characters, so that encoding can stop early.
_SLICE = 1 << 15
# Maximum number of tokens at the cut of a text that may differ from those of the whole text.
_MARGIN = 256


class PieceEncoder:
    """Encodes the pieces of conversations with one tokenizer.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        end_id: the special token that ends a response.
    """

    def __init__(self, tokenizer: Any, end_id: int) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder[end_id]
        self._end_id = end_id
        self._end_text = str(added.content)
        self._can_slice = not added.lstrip

    def opening(self, text: str, limit: int | None = None) -> list[int]:
        """The tokens of a prompt, encoded as one text; at least `limit` of a longer prompt.

        Tokenizers encode the text before and after a special token separately, so slices that begin
        with one have the tokens of the whole.
        """
        if limit is None or len(text) <= _SLICE:
            return self._encode([text])[0]
        ids: list[int] = []
        for piece in self._slices(text):
            ids += self._beginning(piece, limit - len(ids))
            if len(ids) >= limit:
                break
        return ids

    def _beginning(self, text: str, limit: int) -> list[int]:
        """The tokens of a text; of a long text, those of a beginning with more than `limit` tokens.

        The last tokens before a cut may differ from those of the whole text. They are beyond the
        limit, or in a text that does not fit, so they carry no loss.
        """
        length = _SLICE + 4 * limit
        while length < len(text):
            ids = self._encode([text[:length]])[0]
            if len(ids) >= limit + _MARGIN:
                return ids
            length *= 2
        return self._encode([text])[0]

    def share(self, text: str, limit: int) -> bool:
        """Whether all prompts that begin with `text` have the same first `limit` tokens."""
        end = text.rfind(self._end_text)
        return end > 0 and self._can_slice and len(self.opening(text[:end], limit)) >= limit

    def after_response(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """The tokens of texts that follow a response; at least `limit` of longer ones."""
        continued = [self._end_text + text for text in texts]
        if any(len(text) > _SLICE for text in texts):
            encoded = [self.opening(text, limit) for text in continued]
        else:
            encoded = self._encode(continued)
        return [
            ids[1:] if ids[:1] == [self._end_id] else self.opening(text, limit)
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def responses(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of responses as they continue a prompt.

        Many tokenizers add a space at the beginning of a text. So a response is encoded after a
        short text that ends at a token boundary, and the tokens of that text are left out.
        """
        found: list[list[int] | None] = [None] * len(texts)
        for anchor, anchor_ids in self._anchors:
            missing = [place for place, ids in enumerate(found) if ids is None]
            if not missing:
                break
            encoded = self._encode([anchor + texts[place] for place in missing])
            for place, ids in zip(missing, encoded, strict=True):
                if ids[: len(anchor_ids)] == anchor_ids:
                    found[place] = ids[len(anchor_ids) :]
        return [
            self._encode([text])[0] if ids is None else ids
            for text, ids in zip(texts, found, strict=True)
        ]

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """The anchors after which this tokenizer writes most probes as they are."""
        anchors = [self._end_text, *_ANCHORS]
        encoded = dict(zip(anchors, self._encode(anchors), strict=True))

        def num_right(anchor: str) -> int:
            ids = encoded[anchor]
            before = self._decode(ids)
            made = self._encode([anchor + probe for probe in _PROBES])
            return sum(
                one[: len(ids)] == ids and self._decode(one) == before + probe
                for probe, one in zip(_PROBES, made, strict=True)
            )

        scores = {anchor: num_right(anchor) for anchor in anchors}
        best = max(scores.values())
        return [(anchor, encoded[anchor]) for anchor in anchors if scores[anchor] == best]

    def _slices(self, text: str) -> Iterator[str]:
        start = 0
        while self._can_slice and start < len(text):
            end = text.find(self._end_text, start + _SLICE)
            if end < 0:
                break
            yield text[start:end]
            start = end
        yield text[start:]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self._tokenizer(list(texts), add_special_tokens=False)["input_ids"])

    def _decode(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )
