"""A text file that another process is writing, read without ever holding it. No Textual here."""

from __future__ import annotations

import os
from array import array
from enum import Enum
from pathlib import Path
from types import TracebackType

from qdl_tui.widgets.log_index import BLOCK, LineIndex

EAGER = 8 * 1024 * 1024
"""A file up to this size is indexed while it is opened (about 5 ms); a bigger one from its tail first."""
TAIL = 1024 * 1024
LONG_LINE = 65536
"""A longer line is read in part only: a progress bar that never ends its line grows without bound."""
PART = 16384
PRINT = 64
"""Bytes at the start of the file that tell a file cut and rewritten from one that grew."""


class Change(Enum):
    """What `LogFile.poll` found."""

    NONE = "none"
    GREW = "grew"
    RESET = "reset"
    """Another file, or the same one cut short: line numbers held from before mean nothing now."""


class Blocks:
    """The file as it was when the snapshot was taken, for a worker thread.

    It owns a descriptor, so that a rotation noticed meanwhile cannot close the file under the worker. Not
    entered by a worker cancelled before it starts, it is closed when it is collected.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._handle = open(descriptor, "rb", buffering=0)  # noqa: SIM115
        self.size = size

    def __enter__(self) -> Blocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer when the file was cut meanwhile."""
        return os.pread(self._handle.fileno(), size, offset)


class LogFile:
    """Lines by number in a file that grows, is cut, is replaced, or is not there yet.

    Args:
        path: The file; it may appear later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = LineIndex()
        self.generation = 0
        """Counts the resets: an answer computed for an earlier one is thrown away."""
        self.problem = ""
        """Why the file cannot be read, in a person's words; empty when it can, or is only not there yet."""
        self._descriptor: int | None = None
        self._identity = (0, 0)
        self._print = b""

    @property
    def lines(self) -> int:
        """Lines known so far, the unfinished last one included."""
        return self.index.lines

    @property
    def whole(self) -> bool:
        """Whether lines are numbered from the start of the file yet."""
        return self.index.first_block == 0

    @property
    def partial(self) -> bool:
        """Whether the last line is still being written."""
        return self.index.end > self.index.line_end

    def poll(self, limit: int = EAGER) -> Change:
        """Look at the file once: open it, notice that it was replaced or cut, count what was added.

        Args:
            limit: Bytes counted at most, so that one call stays within a few milliseconds; the rest is for
                the next one.

        Returns:
            What changed.
        """
        try:
            return self._poll(limit)
        except FileNotFoundError:
            return Change.NONE
        except OSError as error:
            self.problem = f"{self.path.name}: {error.strerror or error}"
            return Change.NONE

    def _poll(self, limit: int) -> Change:
        self.problem = ""
        status = os.stat(self.path)
        change = Change.NONE
        if self._descriptor is None or (status.st_dev, status.st_ino) != self._identity:
            self._open()
            change = Change.RESET
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        if size < self.index.end or (size > self.index.end and self._rewritten()):
            self._start(size)
            change = Change.RESET
        grown = self._count(size, limit)
        return Change.GREW if grown and change is Change.NONE else change

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        self._start(status.st_size)

    def _start(self, size: int) -> None:
        self.generation += 1
        self.index = LineIndex(max(0, size - TAIL) // BLOCK if size > EAGER else 0)
        self._print = b""

    def _rewritten(self) -> bool:
        return self.read(0, len(self._print)) != self._print

    def _count(self, size: int, limit: int) -> bool:
        stop = min(size, self.index.end + limit)
        before = self.index.end
        while self.index.end < stop:
            data = self.read(self.index.end, min(TAIL, stop - self.index.end))
            if not data:
                break
            self.index.feed(data)
        if len(self._print) < PRINT and self.index.end:
            self._print = self.read(0, min(PRINT, self.index.end))
        return self.index.end > before

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`. Empty when there is no file or it cannot be read just now."""
        if self._descriptor is None or size <= 0:
            return b""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            self.problem = f"{self.path.name}: {error.strerror or error}"
            return b""

    def line_start(self, line: int) -> int:
        """The byte at which `line` starts."""
        return self.index.line_start(line, self.read)

    def line_at(self, offset: int) -> int:
        """The line that holds the byte at `offset`."""
        return self.index.line_at(offset, self.read)

    def read_lines(self, start: int, count: int) -> list[bytes]:
        """Lines `start` to `start + count`, without their newlines; fewer at the end.

        Lines that together are long (see `LONG_LINE`) are read one by one, each in part.
        """
        start, stop = max(0, start), min(start + count, self.lines)
        if start >= stop:
            return []
        begin, end = self.line_start(start), self.line_start(stop)
        if end - begin > TAIL:
            return [self._read_long(line) for line in range(start, stop)]
        found = self.read(begin, end - begin).split(b"\n")[: stop - start]
        return found + [b""] * (stop - start - len(found))

    def _read_long(self, line: int) -> bytes:
        begin, end = self.line_start(line), self.line_start(line + 1)
        if end - begin <= LONG_LINE:
            return self.read(begin, end - begin).rstrip(b"\n")
        tail = self.read(end - PART, PART).rstrip(b"\r\n")
        return tail if b"\r" in tail else self.read(begin, PART)

    def snapshot(self) -> Blocks | None:
        """The file as far as it is known now, to be read in another thread; None when there is no file."""
        return None if self._descriptor is None else Blocks(os.dup(self._descriptor), self.index.end)

    def adopt(self, generation: int, counts: array[int]) -> int:
        """Take over the counts of the first blocks that a worker made.

        Args:
            generation: `generation` when the worker was started.
            counts: What `count_blocks` returned.

        Returns:
            By how many lines the numbers move up; 0 when the counts are of a file that is gone.
        """
        if generation != self.generation or self.whole or len(counts) != self.index.first_block + 1:
            return 0
        return self.index.prepend(counts)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
