"""A text file that another process is writing, by line number, without holding it in memory. No Textual here.

One offset per line costs 235 MB for five million lines as a Python list. A count of newlines per 64 KiB
block costs 128 KB for a gigabyte, and finding a line then reads one block.
"""

from __future__ import annotations

import asyncio
import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

BLOCK = 65536
"""Bytes between two entries of the index: small enough that finding a line inside one takes no time."""
EAGER = 8 * 1024 * 1024
"""A file up to this size is counted when it is opened (about 5 ms); of a bigger one, the tail first."""
TAIL = 1024 * 1024
LONG_LINE = 65536
"""Only a part of a longer line is read: a progress bar that never ends its line grows without bound."""
PART = 16384
HEAD = 64
"""Bytes at the start of the file that tell a file truncated and rewritten from one that grew."""

Read = Callable[[int, int], bytes]
"""`read(offset, size)`: up to `size` bytes from `offset`, fewer at the end of the file."""
Cancelled = Callable[[], bool]
Answer = TypeVar("Answer")


class LineIndex:
    """Running newline counts at every block boundary, from `first_block` on.

    A big file is counted from a block near its end first, so that its last page can be shown at once. A
    worker counts the blocks before it, and `prepend` puts them in front; until then lines are numbered from
    that block.
    """

    def __init__(self, first_block: int = 0) -> None:
        self.first_block = first_block
        self.newlines = 0
        self.end = first_block * BLOCK
        """The byte up to which the file has been counted."""
        self.line_end = self.end
        """The byte after the last newline; what follows is a line still being written."""
        self.counts = array("Q", [0])

    @property
    def lines(self) -> int:
        """Lines known, the unfinished last one included."""
        return self.newlines + (self.end > self.line_end)

    def feed(self, data: bytes) -> None:
        """Count `data`, which starts at `end`."""
        last = data.rfind(b"\n")
        if last >= 0:
            self.line_end = self.end + last + 1
        position = 0
        while position < len(data):
            stop = min(position + BLOCK - self.end % BLOCK, len(data))
            self.newlines += data.count(b"\n", position, stop)
            self.end += stop - position
            position = stop
            if self.end % BLOCK == 0:
                self.counts.append(self.newlines)

    def prepend(self, counts: array[int]) -> int:
        """Put the counts of the blocks before the first one, as `count_blocks` returns them, in front.

        Returns:
            By how many lines every line number known so far moves up.
        """
        added = counts[-1]
        self.counts = counts[:-1] + array("Q", (added + count for count in self.counts))
        self.first_block = 0
        self.newlines += added
        return added

    def line_start(self, line: int, read: Read) -> int:
        """The byte at which `line` starts; the end of what is known for a line past the last."""
        if line <= 0:
            return self.first_block * BLOCK
        if line > self.newlines:
            return self.end
        slot = bisect_right(self.counts, line - 1) - 1
        start = (self.first_block + slot) * BLOCK
        block = read(start, min(BLOCK, self.end - start))
        position = -1
        for _ in range(line - self.counts[slot]):
            found = block.find(b"\n", position + 1)
            if found < 0:  # The file shrank since it was counted; the next poll starts over.
                break
            position = found
        return start + position + 1

    def line_at(self, offset: int, read: Read) -> int:
        """The number of the line that holds the byte at `offset`."""
        slot = min(max(0, offset // BLOCK - self.first_block), len(self.counts) - 1)
        start = (self.first_block + slot) * BLOCK
        return self.counts[slot] + read(start, max(0, offset - start)).count(b"\n")


def count_blocks(read: Read, blocks: int, cancelled: Cancelled) -> array[int]:
    """Count the newlines of the first `blocks` blocks: the slow half of opening a big file, for a worker.

    It reads a megabyte at a time and never maps the file: mapped pages count as memory, and truncating a
    file that is mapped kills the process with SIGBUS.

    Returns:
        Running counts, the 0 before block 0 first: `blocks + 1` of them unless cancelled.
    """
    index, end = LineIndex(), blocks * BLOCK
    while index.end < end and not cancelled():
        data = read(index.end, min(16 * BLOCK, end - index.end))
        if not data:
            break
        index.feed(data)
    return index.counts


class Snapshot:
    """The file as far as it was known when this was taken, to be read in another thread.

    It owns a descriptor, so that a log rotated meanwhile does not close the file under the thread. If the
    thread never starts, the descriptor is closed when this object is collected.
    """

    def __init__(self, file: LogFile, descriptor: int) -> None:
        self._handle = open(descriptor, "rb", buffering=0)  # noqa: SIM115
        self.file = file
        self.size = file.index.end
        self._generation = file.generation

    @property
    def is_current(self) -> bool:
        """Whether lines found in it still have the same numbers in the file."""
        return self._generation == self.file.generation

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer when the file was truncated meanwhile."""
        return os.pread(self._handle.fileno(), size, offset)

    async def in_thread(self, work: Callable[[Cancelled], Answer]) -> Answer:
        """Run work that reads this in a thread, and close it. Work ends when its argument says cancelled."""
        cancelled = threading.Event()

        def run() -> Answer:
            with closing(self._handle):  # Here: a cancelled `await` leaves while the thread still reads.
                return work(cancelled.is_set)

        try:
            return await asyncio.to_thread(run)
        finally:
            cancelled.set()


class LogFile:
    """Lines by number in a file that may grow, be truncated, be replaced, or not exist yet.

    Args:
        path: The file; None until it is known.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.index = LineIndex()
        self._name = path.name if path else ""
        self.generation = 0
        """Goes up when the file is opened, replaced or truncated: earlier line numbers no longer hold."""
        self.problem = "" if path else "no log"
        """Why the file cannot be read, for the user; empty when it can, or when it does not exist yet."""
        self._descriptor: int | None = None
        self._identity = (0, 0)
        self._head = b""

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

    def poll(self, limit: int = EAGER) -> bool:
        """Look at the file once: open it, notice that it was replaced or truncated, count what was added.

        Args:
            limit: Bytes to count at most, so that one call takes a few milliseconds; the next call counts
                the rest.

        Returns:
            Whether anything changed: the lines, the generation or the problem.
        """
        if self.path is None:
            return False
        before = (self.generation, self.index.end, self.problem)
        self.problem = ""
        try:
            self._look(self.path, limit)
        except OSError as error:
            self._fail(error)
        return before != (self.generation, self.index.end, self.problem)

    def _fail(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self.problem = f"{self._name}: {error.strerror or error}"

    def _look(self, path: Path, limit: int) -> None:
        status = os.stat(path)
        if self._descriptor is None or (status.st_dev, status.st_ino) != self._identity:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.close()
            self._descriptor = descriptor
            status = os.fstat(descriptor)
            self._identity = (status.st_dev, status.st_ino)
            self._start(status.st_size)
        size = os.fstat(self._descriptor).st_size
        if size < self.index.end or (size > self.index.end and self._is_rewritten()):
            self._start(size)
        self._count(size, limit)

    def _start(self, size: int) -> None:
        self.generation += 1
        self.index = LineIndex(max(0, size - TAIL) // BLOCK if size > EAGER else 0)
        self._head = b""

    def _is_rewritten(self) -> bool:
        return self.read(0, len(self._head)) != self._head

    def _count(self, size: int, limit: int) -> None:
        stop = min(size, self.index.end + limit)
        while self.index.end < stop:
            data = self.read(self.index.end, min(TAIL, stop - self.index.end))
            if not data:
                break
            self.index.feed(data)
        if len(self._head) < HEAD and self.index.end:
            self._head = self.read(0, min(HEAD, self.index.end))

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`. Empty when there is no file or it cannot be read now."""
        if self._descriptor is None or size <= 0:
            return b""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            self._fail(error)
            return b""

    def line_start(self, line: int) -> int:
        """The byte at which `line` starts."""
        return self.index.line_start(line, self.read)

    def line_at(self, offset: int) -> int:
        """The line that holds the byte at `offset`."""
        return self.index.line_at(offset, self.read)

    def read_lines(self, start: int, count: int) -> list[bytes]:
        """Lines `start` to `start + count`, without their newlines; fewer at the end.

        When the lines together are long, each is read on its own, and of each `LONG_LINE` only a part.
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

    def snapshot(self) -> Snapshot:
        """The file as far as it is known now, to read in another thread; empty when there is no file."""
        known = self._descriptor
        return Snapshot(self, os.open(os.devnull, os.O_RDONLY) if known is None else os.dup(known))

    def adopt(self, source: Snapshot, counts: array[int]) -> int:
        """Take over the counts of the first blocks, which `count_blocks` made in a snapshot.

        Returns:
            By how many lines the numbers move up; 0 when the counts are of a file that is gone.
        """
        if not source.is_current or self.whole or len(counts) != self.index.first_block + 1:
            return 0
        return self.index.prepend(counts)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
