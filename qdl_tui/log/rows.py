"""Which line of a log stands in which row: all lines, or those that a filter keeps. No Textual here."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

from qdl_tui.log.file import Cancelled, LogFile, Read
from qdl_tui.log.search import Pattern, steps

SCAN = 4 * 1024 * 1024
"""Bytes a filter reads in one tick."""


class LineFilter:
    """The numbers of the lines that match, kept up to date as the file grows.

    Args:
        pattern: What a line must hold.
        invert: Keep the lines that do not match.
    """

    def __init__(self, pattern: Pattern, *, invert: bool = False) -> None:
        self.pattern = pattern
        self.invert = invert
        self.lines = array("I")
        self.end = 0
        """The byte up to which whole lines have been read."""
        self._read = 0

    def lines_in(self, data: bytes, first: int = 0) -> Iterable[int]:
        """The numbers of the lines to keep, ascending; `first` is the number of the first line."""
        found = self.pattern.lines_in(data, first)
        if not self.invert:
            return found
        count = data.count(b"\n") + (not data.endswith(b"\n"))
        return sorted(set(range(first, first + count)).difference(found))

    def scan(self, read: Read, stop: int, *, limit: int | None = None, cancelled: Cancelled = bool) -> bool:
        """Read the whole lines up to `stop`.

        Args:
            read: Reads the file.
            stop: A byte at which a line starts.
            limit: Bytes to read at most, about; None for all.
            cancelled: Asked before each step.

        Returns:
            Whether lines were added.
        """
        before, begin = len(self.lines), self.end
        for offset, data in steps(read, begin, stop, cancelled=cancelled):
            self.lines.extend(self.lines_in(data, self._read))
            self._read += data.count(b"\n")
            self.end = offset + len(data)
            if limit is not None and self.end - begin >= limit:
                break
        return len(self.lines) > before

    def keeps(self, line: bytes) -> bool:
        """Whether to keep one line that is not counted: the unfinished last one."""
        return any(True for _ in self.lines_in(line))


class LogRows:
    """A log file and the filter over it.

    Args:
        path: The file; None until it is known.
    """

    def __init__(self, path: Path | None) -> None:
        self.file = LogFile(path)
        self.filter: LineFilter | None = None
        self._unfinished = False
        """Whether the filter keeps the line still being written, which it has not counted."""

    def __len__(self) -> int:
        """Rows that can be scrolled to."""
        return self.file.lines if self.filter is None else len(self.filter.lines) + self._unfinished

    def line_of(self, row: int) -> int:
        """The line shown in a row; -1, the line before the first, for the row before the first."""
        if self.filter is None or row < 0:
            return row
        lines = self.filter.lines
        return lines[row] if row < len(lines) else self.file.lines - 1

    def row_of(self, line: int) -> int:
        """The row that shows a line, or the first line after it that is shown."""
        return line if self.filter is None else bisect_left(self.filter.lines, line)

    def is_finished(self, line: int) -> bool:
        """Whether a line cannot change any more."""
        return line < self.file.index.newlines

    def poll(self) -> bool:
        """Look at the file once; whether there is anything new to show."""
        before = self.file.generation
        changed = self.file.poll()
        if self.filter is not None and self.file.generation != before:
            self.filter = LineFilter(self.filter.pattern, invert=self.filter.invert)
        return self._scan() or changed

    def _scan(self) -> bool:
        """Bring the filter up to the end of the file; whether it shows other lines."""
        if self.filter is None or not self.file.whole:
            return False
        before = self._unfinished
        end = self.file.index.line_end
        added = self.filter.scan(self.file.read, end, limit=SCAN)
        self._unfinished = (
            self.file.partial
            and self.filter.end == end
            and self.filter.keeps(b"".join(self.file.read_lines(self.file.lines - 1, 1)))
        )
        return added or before != self._unfinished

    def read(self, lines: list[int]) -> dict[int, bytes]:
        """The raw text of some lines in ascending order, read together where they lie close together."""
        if not lines:
            return {}
        first, count = lines[0], lines[-1] - lines[0] + 1
        if count <= 4 * len(lines):
            return dict(enumerate(self.file.read_lines(first, count), first))
        return {line: b"".join(self.file.read_lines(line, 1)) for line in lines}
