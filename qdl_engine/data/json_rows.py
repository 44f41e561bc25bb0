"""JSON rows of a stranger's file, packed or plain, one at a time: JSON Lines and JSON arrays.

The second half explains a file of one JSON object where rows are expected, and how to get rows from it.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from qdl_engine.core.errors import DataError
from qdl_engine.data.schemas import jq, recognise, unwrapping

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

_CHUNK = 1 << 16
LONGEST_ROW = 1 << 25
"""Characters of one array element; a longer one is a broken file, not a row, and would fill the memory."""
LONGEST_LINE = 4 * LONGEST_ROW
"""Bytes of a row in JSON Lines: a character has up to four."""


class RowPlace(NamedTuple):
    """Where a row stands in its source."""

    line: int
    """The line it begins on; in a Parquet file or a stream, the row's number."""
    row: int = 0
    """Its number in a JSON array, where many rows may share a line; 0 elsewhere."""

    def __str__(self) -> str:
        return f"line {self.line}, row {self.row}" if self.row else f"line {self.line}"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as read: where it stands, and its value or what is wrong with it."""

    line: int
    value: Any
    problem: str = ""
    row: int = 0

    @property
    def place(self) -> RowPlace:
        """Where the row stands, for reports."""
        return RowPlace(self.line, self.row)


def open_unpacked(path: Path) -> BinaryIO:
    """The file, decompressed while it is read where gzip or Zstandard packed it."""
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
    """Turn an error of the system or a decompressor into a `DataError` that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as cause:
        if isinstance(cause, OSError) and cause.strerror:
            raise DataError(f"Cannot read {path}: {cause.strerror}") from cause
        raise DataError(
            f"Cannot read {path}: {first_line(cause)}", "It may be cut short: copy it again."
        ) from cause


def first_line(cause: BaseException) -> str:
    """The first line of an error, short; its type where it says nothing."""
    lines = str(cause).strip().splitlines()
    return (lines[0] if lines else type(cause).__name__)[:200]


def read_json_lines(path: Path) -> Iterator[SourceRow]:
    """The rows of a JSON Lines file; a line that is not JSON costs that line only."""
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
                yield SourceRow(number, None, f"not valid JSON: {first_line(cause)}")


def _lines(handle: BinaryIO) -> Iterator[bytes]:
    """The lines; one that is too long for a row is cut at that length, and its rest skipped."""
    while line := handle.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = handle.readline(LONGEST_LINE)


class JsonReader:
    """Decodes the elements of one JSON array or object while holding little more than one of them."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self.line = 1
        self._handle = handle
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._start = 0
        self._ended = False

    def members(self, begin: str, end: str) -> Iterator[None]:
        """Stop once at each member between two brackets; the caller reads it before taking the next.

        Raises:
            DataError: where the text stops being JSON.
        """
        self.skip(begin)
        more = self.next_character() != end
        while more:
            yield
            more = self.next_character() != end
            if more:
                self.skip(",")
                self.next_character()
        self.skip(end)

    def next_character(self) -> str:
        """Move to the next character that is not white space and give it; empty at the end of the file."""
        while True:
            for index in range(self._start, len(self._buffer)):
                if self._buffer[index] not in " \t\r\n":
                    self._advance(index)
                    return self._buffer[index]
            self._advance(len(self._buffer))
            if self._ended:
                return ""
            self._fill(_CHUNK)

    def skip(self, expected: str) -> None:
        """Move past `expected`, which must be the next character that is not white space."""
        if self.next_character() != expected:
            raise self.error(f"expected {expected!r}")
        self._start += 1

    def element(self) -> Any:
        """Decode the element that begins here; one that the buffer cuts is tried again with more of it."""
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._start)
            except json.JSONDecodeError as cause:
                if self._ended or len(self._buffer) - self._start > LONGEST_ROW:
                    raise self.error(cause.msg) from cause
            except (ValueError, RecursionError) as cause:
                raise self.error(first_line(cause)) from cause
            else:
                # A number near the end of the buffer may continue in the next chunk: `1.5e-` decodes as 1.5.
                if end + 2 < len(self._buffer) or self._ended:
                    self._advance(end)
                    return value
            self._fill(size)
            size *= 2

    def error(self, problem: str) -> DataError:
        """A `DataError` that names the file and the place in it."""
        return DataError(
            f"Not valid JSON: {self.path}, line {self.line}: {problem}",
            "Repair it there, or write JSON Lines: there a broken line costs one row only.",
        )

    def _fill(self, size: int) -> None:
        data = self._handle.read(size)
        self._ended = not data
        try:
            text = self._decode.decode(data, self._ended)
        except UnicodeDecodeError as cause:
            raise self.error("not UTF-8") from cause
        self._buffer, self._start = self._buffer[self._start :] + text, 0

    def _advance(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._start, end)
        self._start = end


def read_json_array(path: Path) -> Iterator[SourceRow]:
    """The elements of a JSON array, one at a time, with the line each begins on.

    Raises:
        DataError: where the file stops being a JSON array; the rows before that have been given.
    """
    with reading(path), open_unpacked(path) as handle:
        reader = JsonReader(path, handle)
        for number, _ in enumerate(reader.members("[", "]"), 1):
            line = reader.line
            yield SourceRow(line, reader.element(), row=number)
        if reader.next_character():
            # Such as a second array, whose rows would silently be missing.
            raise reader.error("something follows the array")


# One object where rows are expected --------------------------------------------------------------

_ENOUGH = 10_000
"""Keys of an object, or objects of a list, after which the verdict is clear without the rest."""
_ACCEPTED = "Accepted: one object on each line (JSON Lines), or one JSON array of objects."


@dataclass
class _Outline:
    """The keys of one JSON object, without their values: together those may exceed the memory."""

    columns: set[str] = field(default_factory=set)
    """Keys with a value other than null."""
    lists: list[str] = field(default_factory=list)
    """Keys that hold lists of objects."""
    lines: int = 1
    complete: bool = True
    """Whether the object was read to its end."""

    @property
    def wraps_rows(self) -> bool:
        """Whether the object is around rows and not a row itself: a chat's `messages` are a list too."""
        return bool(self.lists) and not recognise(self.columns)


def refuse_one_object(path: Path) -> None:
    """Refuse a file of one JSON object over several lines, or of several such objects.

    Read as JSON Lines, each of its lines would be a broken row, or worse, its last row the only one. A file
    whose first line is an object is JSON Lines, and so is one with a broken object here and there.

    Raises:
        DataError: saying what the file holds, what is accepted, and how to convert it.
    """
    with reading(path):
        limit = _last_line_of_a_broken_row(path)
        outlines = _outlines(path, limit) if limit else []
    if not outlines:
        return
    first = outlines[0]
    too_long_for_a_row = first.wraps_rows and path.stat().st_size >= LONGEST_ROW
    if any(found.lines == 1 and found.complete for found in outlines) and not too_long_for_a_row:
        return
    if len(outlines) > 1:
        holds = "JSON objects one after another, each over several lines"
        cure = f"To put each on its line: {jq('-c .', path)} > rows.jsonl"
    elif first.wraps_rows:
        named = " and ".join(json.dumps(name, ensure_ascii=False) for name in first.lists)
        lists = "a list" if len(first.lists) == 1 else "lists"
        holds = f"one JSON object, with {lists} of objects under {named}"
        cure = unwrapping(first.lists, path)
    elif not first.complete:
        each = jq("-c '.[]'", path)
        holds = f"one JSON object of more than {_ENOUGH:,} keys"
        cure = f"If each key holds a row: {each} > rows.jsonl"
    else:
        holds = f"one JSON object over {first.lines:,} lines"
        cure = f"If it is a row, put it on one line: {jq('-c .', path)} > rows.jsonl"
    raise DataError(f"Cannot read {path}: {holds}", f"{_ACCEPTED} {cure}")


def _last_line_of_a_broken_row(path: Path) -> float:
    """Up to which line a break in the first object may be one broken row of JSON Lines.

    0 when the file begins with a row or has one line, infinity when its second line is a row or the first
    is endless, otherwise the second line that is not blank.
    """
    seen = number = 0
    with open_unpacked(path) as handle:
        while seen < 2:
            line = handle.readline(LONGEST_ROW).removeprefix(codecs.BOM_UTF8)
            number += 1
            seen += bool(line.strip())
            if len(line) == LONGEST_ROW:
                return math.inf
            if not line or (seen and _is_json(line)):
                return math.inf if seen > 1 else 0
    return number


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _outlines(path: Path, limit: float) -> list[_Outline]:
    """The outlines of the file's first two objects, or of its only one; none when it begins otherwise.

    Raises:
        DataError: when the first object breaks beyond line `limit`.
    """
    found: list[_Outline] = []
    with open_unpacked(path) as handle:
        reader = JsonReader(path, handle)
        try:
            while len(found) < 2 and reader.next_character():
                found.append(_outline(reader))
                if not found[-1].complete:
                    break
        except DataError:
            if not found and reader.line > limit:
                raise
            return []
    return found


def _outline(reader: JsonReader) -> _Outline:
    """Read one object and keep its keys only; stop early where there is enough to tell."""
    found, begin = _Outline(), reader.line
    for number, _ in enumerate(reader.members("{", "}")):
        key = str(reader.element())
        reader.skip(":")
        if number == _ENOUGH:
            found.complete = False
            return found
        if reader.next_character() == "[":
            holds_objects, ended = _list_of_objects(reader)
            found.columns.add(key)
            if holds_objects:
                found.lists.append(key)
            if not ended:
                found.complete = False
                return found
        elif reader.element() is not None:
            found.columns.add(key)
    found.lines = reader.line - begin + 1
    return found


def _list_of_objects(reader: JsonReader) -> tuple[bool, bool]:
    """Whether a list holds objects only, and whether it was read to its end."""
    count = objects = 0
    for _ in reader.members("[", "]"):
        objects += isinstance(reader.element(), dict)
        count += 1
        if count == objects == _ENOUGH:
            return True, False
    return 0 < count == objects, True
