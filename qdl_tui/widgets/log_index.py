"""Where the lines of a growing file start, for a few bytes per 64 KiB of it.

One offset per line costs 235 MB for five million lines as a Python list. A count of newlines per block
costs 128 KB for a gigabyte, and finding a line then reads one block.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable

BLOCK = 65536
"""Bytes between two entries of the index: small enough that finding a line inside one is not felt."""

Read = Callable[[int, int], bytes]
"""`read(offset, size)`: up to `size` bytes from `offset`, fewer at the end of the file."""


class LineIndex:
    """Running newline counts at every block boundary, from `first_block` on.

    A big file is indexed from a block near its end first, so that its last page can be shown at once; the
    blocks before are counted in a worker and put in front with `prepend`. Until then lines are numbered
    from that block.
    """

    def __init__(self, first_block: int = 0) -> None:
        self.first_block = first_block
        self.newlines = 0
        self.end = first_block * BLOCK
        """The byte up to which the file has been counted."""
        self.line_end = self.end
        """The byte after the last newline: what follows is a line still being written."""
        self._counts = array("Q", [0])

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
                self._counts.append(self.newlines)

    def prepend(self, counts: array[int]) -> int:
        """Put the counts of the blocks before the first one in front.

        Args:
            counts: Running newline counts, the entry for block 0 first, as `count_blocks` returns them.

        Returns:
            By how many lines every line number known so far moves up.
        """
        added = counts[-1]
        self._counts = counts[:-1] + array("Q", (added + count for count in self._counts))
        self.first_block = 0
        self.newlines += added
        return added

    def line_start(self, line: int, read: Read) -> int:
        """The byte at which `line` starts; the end of what is known for a line past the last."""
        if line <= 0:
            return self.first_block * BLOCK
        if line > self.newlines:
            return self.end
        slot = bisect_right(self._counts, line - 1) - 1
        start = (self.first_block + slot) * BLOCK
        block = read(start, min(BLOCK, self.end - start))
        position = -1
        for _ in range(line - self._counts[slot]):
            found = block.find(b"\n", position + 1)
            if found < 0:  # The file shrank since it was counted; the next poll starts afresh.
                break
            position = found
        return start + position + 1

    def line_at(self, offset: int, read: Read) -> int:
        """The number of the line that holds the byte at `offset`."""
        slot = min(max(0, offset // BLOCK - self.first_block), len(self._counts) - 1)
        start = (self.first_block + slot) * BLOCK
        return self._counts[slot] + read(start, max(0, offset - start)).count(b"\n")


def count_blocks(read: Read, blocks: int, cancelled: Callable[[], bool]) -> array[int]:
    """Count the newlines of the first `blocks` blocks: the slow half of opening a big file, for a worker.

    It reads a megabyte at a time and never maps the file: mapped pages count as memory, and a file cut
    short while mapped kills the process with SIGBUS.

    Args:
        read: Reads the file.
        blocks: How many blocks to count.
        cancelled: Asked once a megabyte.

    Returns:
        Running counts, `blocks + 1` of them unless cancelled.
    """
    index = LineIndex()
    end = blocks * BLOCK
    while index.end < end and not cancelled():
        data = read(index.end, min(16 * BLOCK, end - index.end))
        if not data:
            break
        index.feed(data)
    return index._counts
