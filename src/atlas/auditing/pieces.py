"""Joins texts that a trainer encodes one by one, with what each of their tokens is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.auditing.supervision import Supervision, Unwritten, array
from atlas.auditing.template import Template


@dataclass(frozen=True, slots=True)
class Text:
    """A text of one message and one kind (`code_of`)."""

    text: str
    message: int
    code: int


class Pieces:
    """Tokens in the order in which they are added. Texts that are added together are encoded so."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self.ids: list[int] = []
        self.mask: list[bool] = []
        self._codes: list[NDArray[np.uint8]] = []
        self._owners: list[NDArray[np.int32]] = []

    def add(self, texts: Sequence[Text], supervised: bool) -> int:
        """Encode the joined texts; returns the number of their tokens."""
        joined = "".join(one.text for one in texts)
        if not joined:
            return 0
        ids, offsets = self._template.encode(joined)
        starts = np.cumsum([0, *(len(one.text) for one in texts[:-1])])
        place = np.searchsorted(starts, offsets[:, 0], side="right") - 1
        # An empty text has the start of the next one, which is found.
        codes = array([one.code for one in texts], np.uint8)
        owners = array([one.message for one in texts], np.int32)
        self._append(ids, codes[place], owners[place], supervised)
        return len(ids)

    def add_ids(self, ids: Sequence[int], message: int, code: int, supervised: bool) -> None:
        """Add tokens as they are."""
        codes = np.full(len(ids), code, dtype=np.uint8)
        self._append(ids, codes, np.full(len(ids), message, dtype=np.int32), supervised)

    def _append(
        self,
        ids: Sequence[int],
        codes: NDArray[np.uint8],
        owners: NDArray[np.int32],
        supervised: bool,
    ) -> None:
        self.ids += ids
        self.mask += [supervised] * len(ids)
        self._codes.append(codes)
        self._owners.append(owners)

    def supervision(
        self,
        kept: NDArray[np.bool_],
        roles: Sequence[str],
        unwritten: Sequence[Unwritten] = (),
        dropped: str | None = None,
    ) -> Supervision:
        """All tokens, cut to `kept`."""
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, dtype=np.uint8)
        owners = np.concatenate(self._owners) if self._owners else np.zeros(0, dtype=np.int32)
        return Supervision(
            array(self.ids, np.int32),
            array(self.mask, np.bool_),
            kept,
            codes,
            owners,
            tuple(roles),
            tuple(unwritten),
            dropped,
        )
