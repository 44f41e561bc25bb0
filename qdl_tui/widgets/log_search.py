"""Searching and filtering a log as bytes, in a worker: 5 million lines in a second, with flat memory.

The file is read block by block and never mapped: a mapped file that is cut short while searched kills the
process. A text is found in the bytes as they are; only a regular expression pays for taking out the colours.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from qdl_tui.widgets.log_bare import LONGEST, Bare
from qdl_tui.widgets.log_index import Read
from qdl_tui.widgets.log_literal import Literal, LiteralIn

STEP = 1024 * 1024
"""Bytes per step. `bytes.find` holds the interpreter lock that long, so a key may have to wait for it."""
OVERLAP = 4096
"""The longest match that is found across a step's end."""

Cancelled = Callable[[], bool]


class PatternError(ValueError):
    """The regular expression does not compile; the text says where."""


@dataclass(frozen=True)
class Pattern:
    """What is looked for. Small letters match both cases; one capital makes it exact (as in less -i)."""

    text: str
    regex: bool = False

    def __post_init__(self) -> None:
        """Compile now: an error belongs at the prompt, not in a worker."""
        if self.regex:
            try:
                re.compile(self.text)
            except re.error as error:
                raise PatternError(f"not a regular expression: {error}") from error

    @cached_property
    def _any_case(self) -> bool:
        text = re.sub(r"\\.", "", self.text) if self.regex else self.text
        return text == text.lower() and text != text.upper()

    @cached_property
    def display(self) -> re.Pattern[str]:
        """The same pattern for the text on the screen, to mark the matches."""
        source = self.text if self.regex else re.escape(self.text)
        return re.compile(source, re.IGNORECASE if self._any_case else 0)

    @cached_property
    def _literal(self) -> Literal:
        return Literal(self.text.encode(), any_case=self._any_case)

    @cached_property
    def _compiled(self) -> re.Pattern[bytes]:
        return re.compile(self.text.encode(), re.MULTILINE)

    def within(self, data: bytes) -> LiteralIn | RegexIn:
        """The pattern in some bytes, to be asked for its matches."""
        return RegexIn(self._compiled, data, self._any_case) if self.regex else LiteralIn(self._literal, data)


class RegexIn:
    """A regular expression in the text that some bytes are without their colours.

    Args:
        compiled: What to look for; in small letters when `any_case`.
        data: The bytes as they stand in the file.
        any_case: Whether capitals match too. To lower the text is seven times as fast as `re.IGNORECASE`.
    """

    def __init__(self, compiled: re.Pattern[bytes], data: bytes, any_case: bool) -> None:
        self._compiled = compiled
        self._bare = Bare(data)
        if any_case:
            self._bare.text = self._bare.text.lower()
        self._all: array[int] | None = None

    @cached_property
    def _any(self) -> bool:
        return self._compiled.search(self._bare.text) is not None

    def first(self, start: int, stop: int) -> int:
        """The first match that starts in `start..stop`; -1 when there is none."""
        if not self._any:
            return -1
        place = next(self._places(self._bare.place(start)), -1)
        found = place if place < 0 else self._bare.offset(place)
        return found if found < stop else -1

    def last(self, start: int, stop: int) -> int:
        """The last match that starts in `start..stop`; -1 when there is none."""
        if not self._any:
            return -1
        if self._all is None:
            places = self._places(self._bare.place(start))
            self._all = array("q", (self._bare.offset(place) for place in places))
        while self._all and self._all[-1] >= stop:
            self._all.pop()
        return self._all[-1] if self._all and self._all[-1] >= start else -1

    def _places(self, place: int) -> Iterator[int]:
        """Where matches start in the text from a place on, each within its line, as it is shown."""
        text = self._bare.text
        while place <= len(text) and (match := self._compiled.search(text, place)):
            end = text.find(b"\n", match.start())
            if 0 <= end < match.end():
                match = self._compiled.search(text, match.start(), end)
            if match:
                yield match.start()
                place = max(match.end(), match.start() + 1)
            else:
                place = end + 1


def search(
    pattern: Pattern,
    read: Read,
    start: int,
    stop: int,
    *,
    backward: bool,
    cancelled: Cancelled,
    accept: Callable[[int], bool] | None = None,
) -> int | None:
    """The first (or, backward, the last) match that starts in the bytes `start..stop`.

    Args:
        pattern: What to look for.
        read: Reads the file.
        start: First byte.
        stop: Byte after the last one.
        backward: Look from the end.
        cancelled: Asked once a step.
        accept: Whether a match at a byte counts; None for all.

    Returns:
        The byte at which the match starts, or None.
    """
    while start < stop and not cancelled():
        low = max(start, stop - STEP) if backward else start
        high = stop if backward else min(stop, start + STEP)
        before = min(low, LONGEST)  # A colour that goes on here, and whether a line starts.
        data = pattern.within(read(low - before, high - low + before + OVERLAP))
        seek = data.last if backward else data.first
        first, last = before, before + high - low
        while (found := seek(first, last)) >= 0:
            if accept is None or accept(low - before + found):
                return low - before + found
            if cancelled():
                return None
            first, last = (first, found) if backward else (found + 1, last)
        start, stop = (start, low) if backward else (high, stop)
    return None


@dataclass(frozen=True)
class Hit:
    """A match found: the byte it starts at, and whether the search went round the end of the file."""

    offset: int
    round: bool


def search_round(
    pattern: Pattern,
    read: Read,
    start: int,
    size: int,
    *,
    backward: bool,
    cancelled: Cancelled,
    accept: Callable[[int], bool] | None = None,
) -> Hit | None:
    """Search from `start` to the end of the file (backward, to its start) and then the rest of it."""
    spans = [(0, start), (start, size)] if backward else [(start, size), (0, start)]
    for turn, (low, high) in enumerate(spans):
        found = search(pattern, read, low, high, backward=backward, cancelled=cancelled, accept=accept)
        if found is not None:
            return Hit(found, turn > 0)
    return None


class LineFilter:
    """The numbers of the lines that match, kept up as the file grows.

    Args:
        pattern: What a line must hold.
        invert: Keep the lines that do not.
    """

    def __init__(self, pattern: Pattern, *, invert: bool = False) -> None:
        self.pattern = pattern
        self.invert = invert
        self.lines = array("I")
        self.end = 0
        """The byte up to which whole lines have been looked at."""
        self._line = 0

    def scan(self, read: Read, stop: int, *, limit: int | None = None, cancelled: Cancelled = bool) -> bool:
        """Look at the whole lines up to `stop`.

        Args:
            read: Reads the file.
            stop: A byte at which a line starts.
            limit: Bytes to look at, at most (about); None for all.
            cancelled: Asked once a step.

        Returns:
            Whether lines were added.
        """
        before, begin, step = len(self.lines), self.end, STEP
        while self.end < stop and not cancelled():
            data = read(self.end, min(step, stop - self.end))
            cut = data.rfind(b"\n") + 1
            if not cut:
                if len(data) < step:
                    break  # Not the file that was counted any more; the next poll notices.
                step *= 2
                continue
            self._take(data[:cut])
            self.end += cut
            step = STEP
            if limit is not None and self.end - begin >= limit:
                break
        return len(self.lines) > before

    def _take(self, data: bytes) -> None:
        matches = self.pattern.within(data)
        position, line, kept = 0, self._line, self.lines
        while (hit := matches.first(position, len(data))) >= 0:
            passed = line + data.count(b"\n", position, hit)
            if self.invert:
                kept.extend(range(line, passed))
            else:
                kept.append(passed)
            line = passed + 1
            position = data.find(b"\n", hit) + 1  # There is one: `data` ends with it.
        rest = line + data.count(b"\n", position)
        if self.invert:
            kept.extend(range(line, rest))
        self._line = rest

    def accepts_at(self, read: Read, offset: int, reach: int = 8192) -> bool:
        """Whether the line that holds a byte would be kept; of a very long line, the part around the byte."""
        low = max(0, offset - reach)
        data = read(low, 2 * reach)
        start = data.rfind(b"\n", 0, offset - low) + 1
        stop = data.find(b"\n", offset - low)
        return self.accepts(data[start : stop if stop >= 0 else len(data)])

    def accepts(self, line: bytes) -> bool:
        """Whether one line, outside of the count, would be kept: the unfinished last one."""
        return (self.pattern.within(line).first(0, len(line)) >= 0) != self.invert
