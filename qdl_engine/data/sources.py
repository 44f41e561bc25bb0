"""Where rows come from: local JSON, JSON Lines and Parquet files, and data sets of the hub, all streamed."""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab
from qdl_engine.data.json_rows import (
    ZSTD,
    SourceRow,
    one_line,
    open_unpacked,
    read_json_array,
    read_json_lines,
    reading,
    refuse_one_object,
)

__all__ = [
    "Source",
    "SourceRow",
    "check_regular",
    "find_local",
    "is_heavy",
    "open_source",
    "read_file",
    "read_json_array",
    "read_json_lines",
    "read_parquet",
]

LOCAL_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst")
_PARQUET = b"PAR1"


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
    path = Path(os.path.expanduser(name))  # `Path` raises for a person who is not known here.
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
    with reading(path), open_unpacked(path) as handle:
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
    if head.startswith(b"["):
        return read_json_array(path)
    if head.startswith(b"{"):
        refuse_one_object(path)
    return read_json_lines(path)


def is_heavy(path: Path) -> bool:
    """Whether reading a file or directory loads pyarrow or datasets, which the app must not."""
    if not path.is_file():
        return True
    with open(path, "rb") as handle:
        return handle.read(4) in (_PARQUET, ZSTD)


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
        raise DataError(f"Cannot read {path} after row {number}: {one_line(cause)}") from cause


def _read_stream(name: str, split: str, seed: int) -> Iterator[SourceRow]:
    """The rows of a hub data set, shard order shuffled by `seed`, fetched as they are asked for.

    Without a network the same call reads what an earlier download left in the cache.
    """
    import datasets

    try:
        with _without_its_retries():
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


@contextmanager
def _without_its_retries() -> Iterator[None]:
    """Let the hub's client try again without a word on each try: the note before it and the error say it."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _unreadable(name: str, split: str, cause: Exception) -> DataError:
    if Path(name).is_dir():
        return DataError(
            f"Cannot read the directory {name} (split {split!r}): {one_line(cause)}",
            "It holds JSON Lines or Parquet files, as a data set of the hub does, all with the same columns; "
            "or set source to one of its files.",
        )
    return DataError(
        f"Cannot read data set {name!r} (split {split!r}): {one_line(cause)}",
        "Without a network: set source to a local JSON, JSONL or Parquet file, or download the data set once "
        "where there is one and copy its cache (HF_HOME). Behind a gate: log in with `hf auth login`.",
    )
