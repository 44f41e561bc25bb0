"""A text looked for in a stretch of a log: by `bytes.find`, and where colours split it, from their escapes.

To strip the colours first (`Bare`) costs seven times as much: a log may have two of them in every line.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterator
from functools import cached_property

from qdl_tui.widgets.log_bare import COLOUR, LONGEST

_ESCAPE = b"\x1b"
_REST_OF_COLOUR = COLOUR.pattern.removeprefix(rb"\x1b")
_INSIDE = b"[0123456789;:m"
"""What a colour is made of after its escape: a text that starts otherwise cannot start in one."""
_NONE = sys.maxsize


class Literal:
    """A text without an escape, made ready to be looked for.

    Args:
        text: What to look for; in small letters when `any_case`.
        any_case: Whether capitals match too (ASCII only).
    """

    def __init__(self, text: bytes, *, any_case: bool) -> None:
        self.text = text
        self._any_case = any_case
        self._capitals = [bytes([letter]) for letter in set(text.upper()) - set(text)] if any_case else []

    def folded(self, data: bytes) -> bytes:
        """The data in small letters, where that makes a difference."""
        return data.lower() if any(capital in data for capital in self._capitals) else data

    def _any_of(self, letters: bytes) -> bytes:
        chosen = letters + letters.upper() if self._any_case else letters
        return b"[" + b"".join(re.escape(bytes([letter])) for letter in sorted(set(chosen))) + b"]"

    @cached_property
    def coloured(self) -> re.Pattern[bytes]:
        """The text with any colours in between."""
        letters = [self._any_of(bytes([letter])) for letter in self.text]
        return re.compile((b"(?:" + COLOUR.pattern + b")*").join(letters))

    @cached_property
    def split(self) -> re.Pattern[bytes]:
        """A colour that may split the text: what is on either side of it is in the text."""
        before, after = self._any_of(self.text[:-1]), self._any_of(self.text[1:] + _ESCAPE)
        # The escape first, and then what is before it: `re` leaps from escape to escape.
        return re.compile(rb"\x1b(?<=" + before + rb"\x1b)" + _REST_OF_COLOUR + b"(?=" + after + b")")


class LiteralIn:
    """A literal in some bytes. One of them is asked either forward, from low to high, or backward.

    Args:
        literal: What to look for.
        data: The bytes as they stand in the file.
    """

    def __init__(self, literal: Literal, data: bytes) -> None:
        self._literal, self._data = literal, data
        self._folded = literal.folded(data)
        self._unbroken: int | None = None
        self._split = -1
        self._splits = self._split_starts()
        self._all_splits: array[int] | None = None

    def first(self, start: int, stop: int) -> int:
        """The first match that starts in `start..stop`; -1 when there is none."""
        if self._unbroken is None or self._unbroken < start:
            self._unbroken = self._find(start)
        while self._split < start:
            self._split = next(self._splits, _NONE)
        hit = min(self._unbroken, self._split)
        return hit if hit < stop else -1

    def last(self, start: int, stop: int) -> int:
        """The last match that starts in `start..stop`; -1 when there is none."""
        if self._unbroken is None or self._unbroken >= stop:
            self._unbroken = self._rfind(stop)
        if self._all_splits is None:
            self._all_splits = array("q", self._splits)
        while self._all_splits and self._all_splits[-1] >= stop:
            self._all_splits.pop()
        hit = max(self._unbroken, self._all_splits[-1] if self._all_splits else -1)
        return hit if hit >= start else -1

    def _find(self, start: int) -> int:
        while (hit := self._folded.find(self._literal.text, start)) >= 0 and self._in_colour(hit):
            start = hit + 1
        return hit if hit >= 0 else _NONE

    def _rfind(self, stop: int) -> int:
        text = self._literal.text
        while (hit := self._folded.rfind(text, 0, stop + len(text) - 1)) >= 0 and self._in_colour(hit):
            stop = hit
        return hit

    def _in_colour(self, place: int) -> bool:
        if self._data[place] not in _INSIDE:
            return False
        escape = self._data.rfind(_ESCAPE, max(0, place - LONGEST + 1), place)
        colour = COLOUR.match(self._data, escape) if escape >= 0 else None
        return colour is not None and colour.end() > place

    def _split_starts(self) -> Iterator[int]:
        """Where the matches start that a colour splits, in ascending order."""
        literal, data = self._literal, self._data
        if len(literal.text) < 2 or _ESCAPE not in data:  # Most logs have no colours, and pay nothing.
            return
        for colour in literal.split.finditer(data):
            escape = colour.start()
            for length in range(min(escape, len(literal.text) - 1), 0, -1):
                start = escape - length
                if (
                    self._folded.startswith(literal.text[:length], start)
                    and literal.coloured.match(data, start)
                    and not self._in_colour(start)
                ):
                    yield start
