"""JSON rows of a file, packed or plain, one at a time: JSON Lines and JSON arrays."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from qdl_engine.errors import DataError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

_CHUNK = 1 << 16
LONGEST_ROW = 1 << 25
"""Characters of one array element; a longer one is a broken file, not a row, and would fill the memory."""
LONGEST_LINE = 4 * LONGEST_ROW
"""Bytes of a row in JSON Lines: a character has up to four."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as read: where it stands, and its value or what is wrong with it."""

    line: int
    """The line it begins on; in a Parquet file or a stream the number of the row."""
    value: Any
    problem: str = ""
    row: int = 0
    """Its number among the elements of a JSON array, which may all stand on one line; 0 elsewhere."""


def open_unpacked(path: Path) -> BinaryIO:
    """The file, unpacked on the way when it is packed by gzip or Zstandard."""
    handle = open(path, "rb")  # noqa: SIM115 - the caller closes it
    magic = handle.peek(4)[:4]
    if magic.startswith(GZIP):
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=handle))
    if magic == ZSTD:
        import pyarrow as pa

        handle.close()
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return handle


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the system or an unpacker says about a file, as an error that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as cause:
        words = cause.strerror if isinstance(cause, OSError) and cause.strerror else one_line(cause)
        hint = "" if isinstance(cause, OSError) and cause.strerror else "It may be cut short: copy it again."
        raise DataError(f"Cannot read {path}: {words}", hint) from cause


def read_json_lines(path: Path) -> Iterator[SourceRow]:
    """The rows of a JSON Lines file; a line that is no JSON costs that line only."""
    with reading(path), open_unpacked(path) as handle:
        for number, line in enumerate(_lines(handle), 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            if len(line) >= LONGEST_LINE:
                yield SourceRow(number, None, f"longer than {LONGEST_LINE:,} bytes")
                continue
            try:
                yield SourceRow(number, json.loads(line))
            except (ValueError, RecursionError) as cause:
                yield SourceRow(number, None, f"not valid JSON: {one_line(cause)}")


def _lines(handle: BinaryIO) -> Iterator[bytes]:
    """Its lines; of one that is too long to be a row no more than that, whatever follows."""
    while line := handle.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = handle.readline(LONGEST_LINE)


class ArrayReader:
    """Decodes the elements of one JSON array while holding little more than one of them."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self.line = 1
        self._handle = handle
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._start = 0
        self._ended = False

    def _fill(self, size: int = _CHUNK) -> None:
        data = self._handle.read(size)
        self._ended = not data
        try:
            text = self._decode.decode(data, self._ended)
        except UnicodeDecodeError as cause:
            raise self.error("not UTF-8") from cause
        self._buffer, self._start = self._buffer[self._start :] + text, 0

    def next_character(self) -> str:
        """The next character that is no white space, without taking it; empty at the end of the file."""
        while True:
            for index in range(self._start, len(self._buffer)):
                if self._buffer[index] not in " \t\r\n":
                    self._take(index)
                    return self._buffer[index]
            self._take(len(self._buffer))
            if self._ended:
                return ""
            self._fill()

    def _take(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._start, end)
        self._start = end

    def skip(self, expected: str) -> None:
        if self.next_character() != expected:
            raise self.error(f"expected {expected!r}")
        self._start += 1

    def element(self) -> Any:
        """The element that begins here. An element cut by the end of the buffer is tried again with more."""
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._start)
            except json.JSONDecodeError as cause:
                if self._ended or len(self._buffer) - self._start > LONGEST_ROW:
                    raise self.error(cause.msg) from cause
            except (ValueError, RecursionError) as cause:
                raise self.error(one_line(cause)) from cause
            else:
                # A number that touches the end of the buffer may go on in the next chunk.
                if end < len(self._buffer) or self._ended:
                    self._take(end)
                    return value
            self._fill(size)
            size *= 2

    def error(self, what: str) -> DataError:
        return DataError(
            f"Not valid JSON: {self.path}, line {self.line}: {what}",
            "Repair it there, or write JSON Lines: there a broken line costs one row only.",
        )


def read_json_array(path: Path) -> Iterator[SourceRow]:
    """The elements of a JSON array, one at a time, with the line each begins on.

    Raises:
        DataError: where the file stops being a JSON array; what came before has been given.
    """
    with reading(path), open_unpacked(path) as handle:
        reader = ArrayReader(path, handle)
        reader.skip("[")
        more = reader.next_character() != "]"
        for number in itertools.count(1):
            if not more:
                break
            reader.next_character()
            line = reader.line
            yield SourceRow(line, reader.element(), row=number)
            more = reader.next_character() != "]"
            if more:
                reader.skip(",")
        reader.skip("]")
        if reader.next_character():
            # Such as a second array: its rows would be missed in silence.
            raise reader.error("something follows the array")


def one_line(cause: BaseException) -> str:
    """What an error says first, short."""
    lines = str(cause).strip().splitlines()
    return (lines[0] if lines else type(cause).__name__)[:200]
