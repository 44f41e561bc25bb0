"""Which line of a log is in which row: all of them, or those a filter keeps. No Textual here."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

from qdl_tui.widgets.log_file import Change, LogFile
from qdl_tui.widgets.log_search import LineFilter

SCAN = 4 * 1024 * 1024
"""Bytes a filter looks at in one tick."""


class LogRows:
    """A file and the filter before it.

    Args:
        path: The file; None for a log that is not known yet.
    """

    def __init__(self, path: Path | None) -> None:
        self.file = LogFile(path) if path else None
        self.filter: LineFilter | None = None
        self._unfinished = False
        """Whether the line still being written passes the filter; it is not in the filter's count."""

    def __len__(self) -> int:
        """Rows that can be scrolled to."""
        if self.file is None:
            return 0
        return self.file.lines if self.filter is None else len(self.filter.lines) + self._unfinished

    @property
    def generation(self) -> int:
        """Changes when the file is cut or replaced."""
        return self.file.generation if self.file else 0

    def line_of(self, row: int) -> int:
        """The line shown in a row; the row before the first one gives the line before the first one."""
        if self.filter is None or self.file is None or row < 0:
            return row
        lines = self.filter.lines
        return lines[row] if row < len(lines) else self.file.lines - 1

    def row_of(self, line: int) -> int:
        """The row that shows a line, or the first line after it that is shown."""
        return line if self.filter is None else bisect_left(self.filter.lines, line)

    def is_finished(self, line: int) -> bool:
        """Whether a line cannot change any more."""
        return self.file is not None and line < self.file.index.newlines

    def poll(self) -> tuple[Change, bool]:
        """Look at the file once.

        Returns:
            What changed in the file, and whether there is anything new to show.
        """
        if self.file is None:
            return Change.NONE, False
        problem = self.file.problem
        change = self.file.poll()
        if change is Change.RESET and self.filter is not None:
            self.filter = LineFilter(self.filter.pattern, invert=self.filter.invert)
        filtered = self._scan()
        return change, change is not Change.NONE or filtered or problem != self.file.problem

    def _scan(self) -> bool:
        """Keep the filter up with the file."""
        if self.filter is None or self.file is None or not self.file.whole:
            return False
        before = self._unfinished
        end = self.file.index.line_end
        added = self.filter.scan(self.file.read, end, limit=SCAN)
        self._unfinished = (
            self.file.partial
            and self.filter.end == end
            and self.filter.accepts(b"".join(self.file.read_lines(self.file.lines - 1, 1)))
        )
        return added or before != self._unfinished

    def read(self, lines: list[int]) -> dict[int, bytes]:
        """The raw text of some lines in ascending order; read in one go where they lie close together."""
        if self.file is None or not lines:
            return {}
        first, count = lines[0], lines[-1] - lines[0] + 1
        if count <= 4 * len(lines):
            return dict(enumerate(self.file.read_lines(first, count), first))
        return {line: b"".join(self.file.read_lines(line, 1)) for line in lines}

    def close(self) -> None:
        """Give the file back."""
        if self.file is not None:
            self.file.close()
