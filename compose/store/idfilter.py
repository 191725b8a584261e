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


class IdFilter:
    """The ids of one index; more may be added, none is ever removed."""

    def __init__(self) -> None:
        self._layers: list[Any] = [np.zeros(_FIRST // 8, dtype=np.uint8)]
        self._room = _FIRST // _BITS_PER_ID

    def _positions(self, ids: Sequence[str]) -> Any:
        hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids)).view(np.uint64)
        step = (hashes >> np.uint64(32)) | np.uint64(1)
        return [hashes + np.uint64(probe) * step for probe in range(_PROBES)]

    def add(self, ids: Sequence[str]) -> None:
        """Remember ids."""
        if not ids:
            return
        while self._room < len(ids):
            bits = self._layers[-1].size * 16
            self._layers.append(np.zeros(bits // 8, dtype=np.uint8))
            self._room = bits // _BITS_PER_ID
        self._room -= len(ids)
        layer = self._layers[-1]
        for position in self._positions(ids):
            place = position & np.uint64(layer.size * 8 - 1)
            np.bitwise_or.at(layer, place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8))

    def possible(self, ids: Sequence[str]) -> list[str]:
        """Return those ids that may have been added; the others certainly were not."""
        if not ids:
            return []
        positions = self._positions(ids)
        found = np.zeros(len(ids), dtype=bool)
        for layer in self._layers:
            everywhere = np.ones(len(ids), dtype=bool)
            for position in positions:
                place = position & np.uint64(layer.size * 8 - 1)
                everywhere &= (layer[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8)) & 1 == 1
            found |= everywhere
        return [ids[number] for number in np.flatnonzero(found).tolist()]
