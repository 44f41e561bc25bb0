"""Searching a log as bytes, for a worker thread: 5 million coloured lines in about a second, in flat memory.

A match is a line: its text without colours holds the pattern, so `er\\x1b[31mror` is found as `error`.
The file is read in steps and never mapped: truncating a file that is mapped kills the process with SIGBUS.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from qdl_tui.log.file import Cancelled, Read
from qdl_tui.log.text import COLOUR

STEP = 512 * 1024
"""Bytes per step. `bytes.find` holds the interpreter lock that long, so a key may have to wait for it."""
LONG_LINE = 16 * 1024 * 1024
"""A search reads a longer line in pieces: a progress bar that never ends its line would fill the memory."""

LinesIn = Callable[[bytes], Iterable[int]]
"""Picks lines of some bytes, by their numbers from 0."""

_COLOUR = re.compile(COLOUR.encode())
_ESCAPE = b"\x1b"
_INSIDE = b"[0123456789;:m"
"""The bytes of a colour after its escape: a text that starts with another byte cannot start in a colour."""
_LONGEST = 67
"""Bytes of the longest colour."""
_NONE = sys.maxsize
"""Greater than any place in a file."""


class PatternError(ValueError):
    """The regular expression does not compile; the text says where."""


@dataclass(frozen=True)
class Pattern:
    """What to look for. Lower case matches both cases; one capital makes the case count (as in `less -i`)."""

    text: str
    regex: bool = False

    def __post_init__(self) -> None:
        """Compile now, as text and as bytes: the prompt should show the error, not a worker."""
        if self.regex:
            try:
                re.compile(self.text)
                re.compile(self._bytes)
            except re.error as error:
                raise PatternError(f"not a regular expression: {error}") from error

    @cached_property
    def display(self) -> re.Pattern[str]:
        """The pattern for a line as it is shown, to mark the matches."""
        source = self.text if self.regex else re.escape(self.text)
        return re.compile(source, re.IGNORECASE if self._any_case else 0)

    def lines_in(self, data: bytes, first: int = 0) -> Iterator[int]:
        """The numbers of the lines that match, ascending; `first` is the number of the first line."""
        return self._regex_lines(data, first) if self.regex else self._literal_lines(data, first)

    @cached_property
    def _bytes(self) -> bytes:
        return self.text.encode()

    @cached_property
    def _any_case(self) -> bool:
        text = re.sub(r"\\.", "", self.text) if self.regex else self.text
        return text == text.lower() and text != text.upper()

    def _regex_lines(self, data: bytes, line: int) -> Iterator[int]:
        compiled = re.compile(self._bytes, re.MULTILINE)
        text = _without_colours(data)
        text = text.lower() if self._any_case else text  # Seven times as fast as re.IGNORECASE.
        start, stop = 0, len(text) - text.endswith(b"\n")
        while start <= stop and (match := compiled.search(text, start, stop)):
            place, end = match.start(), _line_end(text, match.start())
            line += text.count(b"\n", start, place)
            if match.end() <= end or compiled.search(text, place, end):
                yield line
            line += 1
            start = end + 1

    def _literal_lines(self, data: bytes, line: int) -> Iterator[int]:
        """Find candidates in the bytes as they stand; strip colours only from the line of a doubtful one.

        Stripping all lines first costs seven times as much: a log may have two colours in every line.
        """
        text, lowered = self._bytes, self._lowered(data)
        split_by = self._split if _ESCAPE in data else None
        start, split = 0, -1
        whole = -1 if lowered.rfind(text) >= 0 else _NONE  # Three times as fast as find where there is none.
        while True:
            if whole < start:
                found = lowered.find(text, start)
                whole = found if found >= 0 else _NONE
            if split < start:
                match = split_by.search(data, start) if split_by else None
                split = match.start() if match else _NONE
            place = min(whole, split)
            if place == _NONE:
                return
            line += data.count(b"\n", start, place)
            end = _line_end(data, place)
            if (place == whole and not _is_in_colour(data, place)) or self._is_in(data[start:end]):
                yield line
            line += 1
            start = end + 1

    def _is_in(self, lines: bytes) -> bool:
        """Whether the last of some lines holds the text."""
        line = lines[lines.rfind(b"\n") + 1 :]
        return self._bytes in self._lowered(_without_colours(line))

    @cached_property
    def _capitals(self) -> list[bytes]:
        letters = set(self._bytes.upper()) - set(self._bytes) if self._any_case else set()
        return [bytes([letter]) for letter in letters]

    def _lowered(self, data: bytes) -> bytes:
        """The data in lower case, where that makes a difference."""
        return data.lower() if any(capital in data for capital in self._capitals) else data

    @cached_property
    def _split(self) -> re.Pattern[bytes] | None:
        """A colour that may split the text: the bytes on either side of it occur in the text."""
        if len(self._bytes) < 2:
            return None
        before, after = self._any_of(self._bytes[:-1]), self._any_of(self._bytes[1:] + _ESCAPE)
        rest = _COLOUR.pattern.removeprefix(rb"\x1b")
        # The escape first, and then what is before it: `re` leaps from escape to escape.
        return re.compile(rb"\x1b(?<=" + before + rb"\x1b)" + rest + b"(?=" + after + b")")

    def _any_of(self, letters: bytes) -> bytes:
        chosen = letters + letters.upper() if self._any_case else letters
        return b"[" + b"".join(re.escape(bytes([letter])) for letter in sorted(set(chosen))) + b"]"


def _line_end(data: bytes, place: int) -> int:
    end = data.find(b"\n", place)
    return end if end >= 0 else len(data)


def _is_in_colour(data: bytes, place: int) -> bool:
    if data[place] not in _INSIDE:
        return False
    escape = data.rfind(_ESCAPE, max(0, place - _LONGEST), place)
    colour = _COLOUR.match(data, escape) if escape >= 0 else None
    return colour is not None and colour.end() > place


def _without_colours(data: bytes) -> bytes:
    return _COLOUR.sub(b"", data) if _ESCAPE in data else data


def steps(
    read: Read,
    start: int,
    stop: int,
    *,
    backward: bool = False,
    longest: int = sys.maxsize,
    cancelled: Cancelled = bool,
) -> Iterator[tuple[int, bytes]]:
    """Read whole lines, about `STEP` bytes at a time.

    Args:
        read: Reads the file.
        start: The byte at which the first line starts.
        stop: The byte after the last one.
        backward: Give the last lines first.
        longest: Bytes of the longest line kept whole, at least `STEP`; a longer one comes in pieces.
        cancelled: Asked before each step.

    Yields:
        The byte at which the lines start, and the lines. Ends early when the file was truncated meanwhile.
    """
    size = STEP
    while start < stop and not cancelled():
        low, high = (max(start, stop - size), stop) if backward else (start, min(stop, start + size))
        data = read(low, high - low)
        if len(data) < high - low:
            return
        cut = 0 if backward else len(data)
        if low > start or high < stop:  # Not all that is left: one end of it may be within a line.
            cut = data.find(b"\n", 0, -1) + 1 if backward else data.rfind(b"\n") + 1
            if not cut and size < longest:
                size *= 2
                continue
            cut = cut or (0 if backward else len(data))
        if backward:
            stop = low + cut
            yield stop, data[cut:]
        else:
            start += cut
            yield low, data[:cut]
        size = STEP


@dataclass(frozen=True)
class Hit:
    """A line found: the byte at which it starts, and whether the search passed the end of the file."""

    offset: int
    wrapped: bool


def find_line(
    pattern: Pattern,
    read: Read,
    start: int,
    size: int,
    *,
    backward: bool,
    cancelled: Cancelled,
    shown: LinesIn | None = None,
) -> Hit | None:
    """Find the next line that matches from `start` to the end of the file, then in the rest of it.

    Args:
        pattern: What to look for.
        read: Reads the file.
        start: A byte at which a line starts.
        size: Bytes of the file.
        backward: Find the last line before `start` instead, then the last one of the rest.
        cancelled: Asked before each step.
        shown: Picks the lines that count; None for all.
    """
    spans = [(0, start), (start, size)] if backward else [(start, size), (0, start)]
    for turn, (low, high) in enumerate(spans):
        read_lines = steps(read, low, high, backward=backward, longest=LONG_LINE, cancelled=cancelled)
        for offset, data in read_lines:
            found = list(pattern.lines_in(data))
            if found and shown is not None:
                counted = set(shown(data))
                found = [line for line in found if line in counted]
            if found:
                line = found[-1 if backward else 0]
                before = sum(len(part) + 1 for part in data.split(b"\n", line)[:line])
                return Hit(offset + before, wrapped=turn > 0)
    return None
