"""A layer of a key-value cache that grows in place and can copy rows of other layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

# Columns allocated in advance: about one observation and one answer.
_ROOM = 128


class GrowingLayer(DynamicLayer):
    """A cache layer that writes to preallocated space instead of copying all at each token."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._length = 0

    def adopt(self, sources: Sequence[tuple[Any, int, torch.Tensor] | None], width: int) -> None:
        """Copy rows of other layers, aligned to the right.

        Args:
            sources: for each new row the layer, the row in it and the columns to keep; None: an
                empty row.
        """
        model = next(source[0] for source in sources if source is not None)
        keys, values = self._make_room(model, len(sources), width)
        for row, source in enumerate(sources):
            if source is not None:
                layer, old_row, columns = source
                start = width - len(columns)
                keys[row, :, start:width] = layer.keys[old_row][:, columns]
                values[row, :, start:width] = layer.values[old_row][:, columns]

    def take_rows(self, layer: Any, rows: torch.Tensor) -> None:
        """Copy whole rows of another layer."""
        width = layer.keys.shape[2]
        keys, values = self._make_room(layer, len(rows), width)
        keys[:, :, :width] = layer.keys[rows]
        values[:, :, :width] = layer.values[rows]

    def _make_room(self, model: Any, batch: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Allocate empty rows of `width` columns plus extra space, like those of another layer."""
        self.dtype, self.device, self.is_initialized = model.keys.dtype, model.keys.device, True
        keys, values = (
            states.new_zeros((batch, states.shape[1], width + _ROOM, states.shape[3]))
            for states in (model.keys, model.values)
        )
        self._room = (keys, values)
        self._set_length(width)
        return self._room

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values [B, heads, L, size]; returns all of them, as DynamicLayer does."""
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        end = self._length + key_states.shape[2]
        if self._room is None or end > self._room[0].shape[2]:
            self._room = (self._enlarged(0, key_states, end), self._enlarged(1, value_states, end))
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, self._length : end] = states
        self._set_length(end)
        return self.keys, self.values

    def _enlarged(self, which: int, states: torch.Tensor, end: int) -> torch.Tensor:
        larger = states.new_zeros((states.shape[0], states.shape[1], end + _ROOM, states.shape[3]))
        if self._room is not None:
            larger[:, :, : self._length] = self._room[which][:, :, : self._length]
        return larger

    def _set_length(self, length: int) -> None:
        assert self._room is not None
        self._length = length
        self.keys, self.values = self._room[0][:, :, :length], self._room[1][:, :, :length]
