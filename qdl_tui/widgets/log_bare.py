"""A stretch of a log without its colours, as it stands on the screen, and the way back to its bytes."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from functools import cached_property

_ESCAPE = b"\x1b["
COLOUR = re.compile(rb"\x1b\[[0-9;:]{0,64}m")
LONGEST = 67
"""Bytes of the longest colour."""


class Bare:
    """What a search looks into: `er\\x1b[31mror` is found as `error`.

    Args:
        data: The bytes as they stand in the file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.text = COLOUR.sub(b"", data) if _ESCAPE in data else data  # Most logs have no colours.

    @cached_property
    def _gaps(self) -> tuple[array[int], array[int], array[int]]:
        """Where colours stand in the data and in the text, and how much was removed up to each one's end.

        Four times the work of taking them out: only for a stretch in which something was found.
        """
        raw, bare, removed, so_far = array("q"), array("q"), array("q"), 0
        for gap in COLOUR.finditer(self._data):
            start, stop = gap.span()
            raw.append(start)
            bare.append(start - so_far)
            so_far += stop - start
            removed.append(so_far)
        return raw, bare, removed

    def place(self, offset: int) -> int:
        """Where in `text` a byte of the data stands; one inside a colour stands after it."""
        raw, bare, removed = self._gaps
        gaps = bisect_left(raw, offset)
        return max(bare[gaps - 1], offset - removed[gaps - 1]) if gaps else offset

    def offset(self, place: int) -> int:
        """The byte of the data that stands at a place in `text`."""
        _, bare, removed = self._gaps
        gaps = bisect_right(bare, place)
        return place + removed[gaps - 1] if gaps else place
