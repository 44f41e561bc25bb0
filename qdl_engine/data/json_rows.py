"""JSON rows of a file, packed or plain, one at a time: JSON Lines and JSON arrays.

A JSON file that holds one object where rows are expected: what it is, and how to make rows of it.
"""

from __future__ import annotations

import codecs
import io
import itertools
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from qdl_engine.core.errors import DataError
from qdl_engine.data.schemas import detect_schema, jq, unwrapping

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


_ROWS_TO_TELL = 10_000
_KEYS_TO_TELL = 10_000
_ACCEPTED = "Accepted: one object on each line (JSON Lines), or one JSON array of objects."


@dataclass
class _Object:
    """The outside of one JSON object."""

    keys: dict[str, Any] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    """Keys that hold lists of objects."""
    lines: int = 1
    whole: bool = True
    """Whether it was read to its end; one of very many keys, or a list of very many objects, is not."""


def refuse_one_object(path: Path) -> None:
    """Refuse a file of one JSON object over several lines, or of several such objects.

    Read as JSON Lines each of its lines would be a broken row, or worse, its last row the only one. A file
    whose first line is an object is JSON Lines, and so is one that has an object broken here and there.

    Raises:
        DataError: saying what the file holds, what is accepted, and how to get there.
    """
    with reading(path):
        doubtful = _doubtful_lines(path)
        objects = _objects(path, doubtful) if doubtful else []
    if not objects:
        return
    first = objects[0]
    if any(found.lines == 1 and found.whole for found in objects) and not _is_huge_wrapper(path, first):
        return
    if len(objects) > 1:
        raise DataError(
            f"Cannot read {path}: JSON objects one after another, each over several lines",
            f"{_ACCEPTED} To put each on its line: {jq('-c .', path)} > rows.jsonl",
        )
    if first.lists and not _is_row(first):
        named = " and ".join(json.dumps(name, ensure_ascii=False) for name in first.lists)
        raise DataError(
            f"Cannot read {path}: one JSON object, with {_lists(first)} of objects under {named}",
            f"{_ACCEPTED} {unwrapping(first.lists, path)}",
        )
    if not first.whole:
        each = jq("-c '.[]'", path)
        raise DataError(
            f"Cannot read {path}: one JSON object of more than {_KEYS_TO_TELL:,} keys",
            f"{_ACCEPTED} If each key holds a row: {each} > rows.jsonl",
        )
    raise DataError(
        f"Cannot read {path}: one JSON object over {first.lines:,} lines",
        f"{_ACCEPTED} If it is a row, put it on one line: {jq('-c .', path)} > rows.jsonl",
    )


def _lists(found: _Object) -> str:
    return "a list" if len(found.lists) == 1 else "lists"


def _is_row(found: _Object) -> bool:
    """Whether its keys are the columns of a row: a chat's `messages` are a list of objects too."""
    try:
        detect_schema([found.keys], source="")
    except DataError:
        return False
    return True


def _is_huge_wrapper(path: Path, first: _Object) -> bool:
    """Whether an object on one line is around rows, and too long to be a row itself."""
    return bool(first.lists) and not _is_row(first) and path.stat().st_size >= LONGEST_ROW


def _doubtful_lines(path: Path) -> float:
    """Up to which line a break may be that of one row: none when the first is a row, all when the second is.

    Lines with nothing on them do not count.
    """
    seen = 0
    with open_unpacked(path) as handle:
        for number in itertools.count(1):
            line = handle.readline(LONGEST_ROW).removeprefix(codecs.BOM_UTF8)
            seen += bool(line.strip())
            if not line or len(line) == LONGEST_ROW or (seen and _is_json(line)):
                return math.inf if seen > 1 or len(line) == LONGEST_ROW else 0
            if seen == 2:
                return number
    return 0


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _objects(path: Path, doubtful: float) -> list[_Object]:
    """The file's first two objects, or its only one; none when it does not begin with a sound one.

    Raises:
        DataError: when the first one goes on beyond the doubtful lines, and is broken there.
    """
    found: list[_Object] = []
    with open_unpacked(path) as handle:
        reader = ArrayReader(path, handle)
        try:
            while len(found) < 2 and reader.next_character():
                found.append(_outside(reader))
                if not found[-1].whole:
                    break
        except DataError:
            if not found and reader.line > doubtful:
                raise
            return []
    return found


def _outside(reader: ArrayReader) -> _Object:
    """Read one object and keep its keys only.

    Raises:
        DataError: when it is none.
    """
    found = _Object()
    reader.skip("{")
    begin = reader.line
    more = reader.next_character() != "}"
    while more:
        key = str(reader.element())
        reader.skip(":")
        if len(found.keys) == _KEYS_TO_TELL:
            found.whole = False
            return found
        if reader.next_character() == "[":
            holds_objects, ended = _list_of_objects(reader)
            found.keys[key] = True
            if holds_objects:
                found.lists.append(key)
            if not ended:
                found.whole = False
                return found
        else:
            # Of a value only whether there is one: together they may be larger than the memory.
            found.keys[key] = None if reader.element() is None else True
        more = _goes_on(reader, "}")
    reader.skip("}")
    found.lines = reader.line - begin + 1
    return found


def _list_of_objects(reader: ArrayReader) -> tuple[bool, bool]:
    """Whether a list holds nothing but objects, and whether it was read to its end."""
    reader.skip("[")
    count = objects = 0
    more = reader.next_character() != "]"
    while more:
        objects += isinstance(reader.element(), dict)
        count += 1
        if count == objects == _ROWS_TO_TELL:
            return True, False
        more = _goes_on(reader, "]")
    reader.skip("]")
    return 0 < count == objects, True


def _goes_on(reader: ArrayReader, end: str) -> bool:
    if reader.next_character() == end:
        return False
    reader.skip(",")
    reader.next_character()
    return True
