"""A filter that knows which ids an index certainly does not have, so that new documents need no look-up in the table.

A scalable Bloom filter (Almeida et al., 2007): layers of bits, each twice as large as the one before; six positions an
id and 48 bits an id keep false alarms below one in fifty thousand. Those only cost a look-up, of a millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_FIRST = 1 << 17  # bits of the first layer
_BITS_PER_ID = 48
_PROBES = 6
_BIT = np.left_shift(np.uint8(1), np.arange(8, dtype=np.uint8))


class IdFilter:
    """The ids of one index; more may be added, none is ever removed."""

    def __init__(self) -> None:
        self._layers: list[Any] = [np.zeros(_FIRST // 8, dtype=np.uint8)]
        self._room = _FIRST // _BITS_PER_ID

    @staticmethod
    def positions(ids: Sequence[str]) -> Any:
        """Return where ids lie, for `add` and `possible`: one row of numbers each probe."""
        hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids)).view(np.uint64)
        step = (hashes >> np.uint64(32)) | np.uint64(1)
        return hashes + np.arange(_PROBES, dtype=np.uint64)[:, None] * step

    def add(self, ids: Sequence[str], positions: Any = None) -> None:
        """Remember ids, whose positions may be known already."""
        if not ids:
            return
        while self._room < len(ids):
            bits = self._layers[-1].size * 16
            self._layers.append(np.zeros(bits // 8, dtype=np.uint8))
            self._room = bits // _BITS_PER_ID
        self._room -= len(ids)
        layer = self._layers[-1]
        place = ((self.positions(ids) if positions is None else positions) & np.uint64(layer.size * 8 - 1)).ravel()
        np.bitwise_or.at(layer, (place >> np.uint64(3)).view(np.int64), _BIT[(place & np.uint64(7)).view(np.int64)])

    def possible(self, ids: Sequence[str], positions: Any = None) -> list[str]:
        """Return those ids that may have been added; the others certainly were not."""
        if not ids:
            return []
        known = self.positions(ids) if positions is None else positions
        found: set[int] = set()
        for layer in self._layers:
            mask, left = np.uint64(layer.size * 8 - 1), np.arange(len(ids))
            for probe in known:  # few are left after the first
                place = probe[left] & mask
                set_bits = layer[(place >> np.uint64(3)).view(np.int64)] & _BIT[(place & np.uint64(7)).view(np.int64)]
                left = left[set_bits != 0]
                if not left.size:
                    break
            found.update(left.tolist())
        return [ids[number] for number in sorted(found)]
