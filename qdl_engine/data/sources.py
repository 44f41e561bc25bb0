"""Where rows come from: local JSON, JSON Lines and Parquet files, and data sets of the hub, all streamed."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from qdl_engine.errors import DataError
from qdl_engine.lab import Lab

LOCAL_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst")
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"

_CHUNK = 1 << 16
_LONGEST_ROW = 1 << 25
"""Characters of one array element; a longer one is a broken file, not a row, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as read: where it stands, and its value or what is wrong with it."""

    line: int
    """The line it begins on; in a Parquet file or a stream the number of the row."""
    value: Any
    problem: str = ""
    row: int = 0
    """Its number among the elements of a JSON array, which may all stand on one line; 0 elsewhere."""


@dataclass(frozen=True)
class Source:
    """A source that can be read once, row by row."""

    name: str
    streamed: bool
    """From a hub or a sharded directory: read only as far as needed, so shuffled on the way."""
    read: Callable[[], Iterator[SourceRow]]


def open_source(lab: Lab, name: str, *, split: str, seed: int) -> Source:
    """The source that a setting names: a local file, a directory of files, or a data set of the hub.

    Raises:
        DataError: when it is neither there nor reachable.
    """
    path = find_local(lab, name)
    if path is None:
        return Source(name, True, lambda: _read_stream(name, split, seed))
    if path.is_dir():
        return Source(str(path), True, lambda: _read_stream(str(path), split, seed))
    return Source(str(path), False, lambda: read_file(path))


def find_local(lab: Lab, name: str) -> Path | None:
    """The local file or directory that `name` means, first from the lab, then from here; None for a hub id.

    Raises:
        DataError: when `name` can only be a path, and nothing is there.
    """
    path = Path(name).expanduser()
    for candidate in (lab.root / path, path.absolute()):
        if candidate.exists():
            return candidate
    looks_local = (
        path.suffix.lower() in LOCAL_SUFFIXES or name.startswith(("/", ".", "~")) or name.count("/") > 1
    )
    if looks_local:
        raise DataError(f"Data file not found: {path}", f"Looked in {lab.root} and in the current directory.")
    return None


def check_regular(path: Path) -> None:
    """Refuse what is no file: a pipe without a writer would be waited for without end.

    Raises:
        DataError: for a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"Cannot read {path}: a pipe or a device, not a file", "Write its rows to a file.")


def read_file(path: Path) -> Iterator[SourceRow]:
    """The rows of a local file, by what is in it: many a `.json` holds JSON Lines."""
    check_regular(path)
    with _reading(path), _open(path) as handle:
        head = handle.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith(_PARQUET):
        return read_parquet(path)
    if path.suffix.lower() == ".parquet":
        # Not JSON Lines either: it would be hundreds of broken lines.
        raise DataError(f"Cannot read {path}: no Parquet file", "It may be cut short: copy it again.")
    if b"\0" in head or path.suffix.lower() in (".csv", ".tsv"):
        kind = "neither JSON, JSON Lines nor Parquet" if b"\0" in head else f"{path.suffix} is not read"
        raise DataError(
            f"Cannot read {path}: {kind}", "Write it as JSON Lines: one object with columns on each line."
        )
    return read_json_array(path) if head.startswith(b"[") else read_json_lines(path)


def is_heavy(path: Path) -> bool:
    """Whether reading a file or directory loads pyarrow or datasets, which the app must not."""
    if not path.is_file():
        return True
    with open(path, "rb") as handle:
        return handle.read(4) in (_PARQUET, _ZSTD)


def _open(path: Path) -> BinaryIO:
    """The file, unpacked on the way when it is packed by gzip or Zstandard."""
    handle = open(path, "rb")  # noqa: SIM115 - the caller closes it
    magic = handle.peek(4)[:4]
    if magic.startswith(_GZIP):
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=handle))
    if magic == _ZSTD:
        import pyarrow as pa

        handle.close()
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return handle


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What the system or an unpacker says about a file, as an error that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as cause:
        words = cause.strerror if isinstance(cause, OSError) and cause.strerror else _one_line(cause)
        hint = "" if isinstance(cause, OSError) and cause.strerror else "It may be cut short: copy it again."
        raise DataError(f"Cannot read {path}: {words}", hint) from cause


def read_json_lines(path: Path) -> Iterator[SourceRow]:
    """The rows of a JSON Lines file; a line that is no JSON costs that line only."""
    with _reading(path), _open(path) as handle:
        for number, line in enumerate(handle, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                yield SourceRow(number, json.loads(line))
            except (ValueError, RecursionError) as cause:
                yield SourceRow(number, None, f"not valid JSON: {_one_line(cause)}")


class _ArrayReader:
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
                if self._ended or len(self._buffer) - self._start > _LONGEST_ROW:
                    raise self.error(cause.msg) from cause
            except (ValueError, RecursionError) as cause:
                raise self.error(_one_line(cause)) from cause
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
    with _reading(path), _open(path) as handle:
        reader = _ArrayReader(path, handle)
        reader.skip("[")
        if reader.next_character() == "]":
            return
        for number in itertools.count(1):
            reader.next_character()
            line = reader.line
            yield SourceRow(line, reader.element(), row=number)
            if reader.next_character() == "]":
                return
            reader.skip(",")


def read_parquet(path: Path) -> Iterator[SourceRow]:
    """The rows of a Parquet file in small batches; `line` is the row's number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        # Without `pre_buffer` a row group is read page by page, so its size does not set ours.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=256, use_threads=False):
                for value in batch.to_pylist():
                    number += 1
                    yield SourceRow(number, value)
    except (pa.ArrowException, OSError) as cause:
        raise DataError(f"Cannot read {path} after row {number}: {_one_line(cause)}") from cause


def _read_stream(name: str, split: str, seed: int) -> Iterator[SourceRow]:
    """The rows of a hub data set, shard order shuffled by `seed`, fetched as they are asked for.

    Without a network the same call reads what an earlier download left in the cache.
    """
    import datasets

    try:
        stream = datasets.load_dataset(name, split=split, streaming=True)
    except Exception as cause:
        raise _unreadable(name, split, cause) from cause
    # The buffer of one shuffles nothing but the shards: rows are shuffled later, by size and not by count.
    rows = iter(stream.shuffle(seed=seed, buffer_size=1))
    number = 0
    while True:
        try:
            value = next(rows)
        except StopIteration:
            return
        except Exception as cause:
            raise _unreadable(name, split, cause) from cause
        number += 1
        yield SourceRow(number, value)


def _unreadable(name: str, split: str, cause: Exception) -> DataError:
    if Path(name).is_dir():
        return DataError(
            f"Cannot read the directory {name} (split {split!r}): {_one_line(cause)}",
            "It holds JSON Lines or Parquet files, as a data set of the hub does, all with the same columns; "
            "or set source to one of its files.",
        )
    return DataError(
        f"Cannot read data set {name!r} (split {split!r}): {_one_line(cause)}",
        "Without a network: set source to a local JSON, JSONL or Parquet file, or download the data set once "
        "where there is one and copy its cache (HF_HOME). Behind a gate: log in with `hf auth login`.",
    )


def _one_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return (lines[0] if lines else type(cause).__name__)[:200]
