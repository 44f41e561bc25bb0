"""A stretch of a log without its colours, as it stands on the screen, and the way back to its bytes."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right

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
        self.text = data
        self._raw, self._bare, self._removed = array("q"), array("q"), array("q")
        if _ESCAPE in data:  # Most logs have no colours, and pay nothing.
            self._strip(data)

    def _strip(self, data: bytes) -> None:
        pieces, end, removed = [], 0, 0
        for gap in COLOUR.finditer(data):
            start, stop = gap.span()
            pieces.append(data[end:start])
            self._raw.append(start)
            self._bare.append(start - removed)
            removed += stop - start
            self._removed.append(removed)
            end = stop
        self.text = b"".join([*pieces, data[end:]])

    def place(self, offset: int) -> int:
        """Where in `text` a byte of the data stands; one inside a colour stands after it."""
        gaps = bisect_left(self._raw, offset)
        return max(self._bare[gaps - 1], offset - self._removed[gaps - 1]) if gaps else offset

    def offset(self, place: int) -> int:
        """The byte of the data that stands at a place in `text`."""
        gaps = bisect_right(self._bare, place)
        return place + self._removed[gaps - 1] if gaps else place
