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
    first_line,
    open_unpacked,
    read_json_array,
    read_json_lines,
    reading,
    refuse_one_object,
)

LOCAL_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst")
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Source:
    """A source that can be read once, row by row."""

    name: str
    streamed: bool
    """A hub data set or a directory of shards: read only as far as needed, so shuffled while reading."""
    read: Callable[[], Iterator[SourceRow]]


def open_source(lab: Lab, name: str, *, split: str, seed: int) -> Source:
    """The source that a setting names: a local file, a directory of files, or a data set of the hub.

    Raises:
        DataError: when `name` can only be a path, and nothing is there.
    """
    path = find_local(lab, name)
    if path is None:
        return Source(name, True, lambda: _read_stream(name, split, seed))
    if path.is_dir():
        return Source(str(path), True, lambda: _read_stream(str(path), split, seed))
    return Source(str(path), False, lambda: read_file(path))


def find_local(lab: Lab, name: str) -> Path | None:
    """The local file or directory called `name`, first in the lab, then from here; None for a hub id.

    Raises:
        DataError: when `name` can only be a path, and nothing is there.
    """
    path = Path(os.path.expanduser(name))  # `Path.expanduser` raises for an unknown user.
    for place in (lab.root / path, path.absolute()):
        if place.exists():
            return place
    looks_local = (
        path.suffix.lower() in LOCAL_SUFFIXES or name.startswith(("/", ".", "~")) or name.count("/") > 1
    )
    if looks_local:
        raise DataError(f"Data file not found: {path}", f"Looked in {lab.root} and in the current directory.")
    return None


def check_regular(path: Path) -> None:
    """Refuse a path that is not a file: reading a pipe without a writer would wait forever.

    Raises:
        DataError: for a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"Cannot read {path}: a pipe or a device, not a file", "Write its rows to a file.")


def read_file(path: Path) -> Iterator[SourceRow]:
    """The rows of a local file, judged by its content: many a `.json` holds JSON Lines.

    Raises:
        DataError: when the file holds no rows in a format we read.
    """
    check_regular(path)
    with reading(path), open_unpacked(path) as handle:
        head = handle.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    suffix = path.suffix.lower()
    if head.startswith(_PARQUET):
        return read_parquet(path)
    if suffix == ".parquet":
        # Read as JSON Lines, it would be hundreds of broken lines.
        raise DataError(f"Cannot read {path}: not a Parquet file", "It may be cut short: copy it again.")
    if b"\0" in head or suffix in (".csv", ".tsv"):
        kind = "not JSON, JSON Lines or Parquet" if b"\0" in head else f"{path.suffix} is not supported"
        raise DataError(
            f"Cannot read {path}: {kind}", "Write it as JSON Lines: one object with columns on each line."
        )
    if head.startswith(b"["):
        return read_json_array(path)
    if head.startswith(b"{"):
        refuse_one_object(path)
    return read_json_lines(path)


def is_heavy(path: Path) -> bool:
    """Whether reading a file or directory loads pyarrow or datasets, which the app must not import."""
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
        # Without `pre_buffer` a row group is read page by page, so our memory does not depend on its size.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=256, use_threads=False):
                for value in batch.to_pylist():
                    number += 1
                    yield SourceRow(number, value)
    except (pa.ArrowException, OSError) as cause:
        raise DataError(f"Cannot read {path} after row {number}: {first_line(cause)}") from cause


def _read_stream(name: str, split: str, seed: int) -> Iterator[SourceRow]:
    """The rows of a hub data set, in an order of shards drawn by `seed`, fetched as they are read.

    Without a network the same call reads what an earlier download left in the cache.
    """
    import datasets

    try:
        with _quiet_retries():
            stream = datasets.load_dataset(name, split=split, streaming=True)
    except Exception as cause:
        raise _unreadable(name, split, cause) from cause
    # A buffer of one shuffles only the shards: we shuffle rows later, by size and not by count.
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
def _quiet_retries() -> Iterator[None]:
    """Silence the hub client's warning at each retry: our note before it and the error after it say it."""
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
            f"Cannot read the directory {name} (split {split!r}): {first_line(cause)}",
            "It must hold JSON Lines or Parquet files, all with the same columns, as a hub data set does; "
            "or set source to one of its files.",
        )
    return DataError(
        f"Cannot read data set {name!r} (split {split!r}): {first_line(cause)}",
        "Without a network: set source to a local JSON, JSONL or Parquet file, or download the data set on "
        "another machine and copy its cache (HF_HOME). For a gated data set: log in with `hf auth login`.",
    )
