"""The lab's own data files: JSON arrays, written and read row by row so that their size never matters."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from qdl_engine.core.errors import DataError, writing
from qdl_engine.core.lab import Lab
from qdl_engine.data.json_rows import read_json_array


def load_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a prepared file, one at a time.

    Raises:
        DataError: when the file is missing or not a JSON array of objects.
    """
    if not path.is_file():
        raise DataError(f"Data file not found: {path}", "Prepare the data first.")
    for row in read_json_array(path):
        if not isinstance(row.value, dict):
            raise DataError(f"{path}, line {row.line}: a {type(row.value).__name__}, not an object")
        yield row.value


def prepared_file(lab: Lab, system: str) -> Path | None:
    """The file of a student's rows, without answers before labelling; None before preparing."""
    path = lab.training_data(system)
    if system == "system1" and not path.exists():
        path = lab.train_instructions
    return path if path.exists() else None


def preview_rows(lab: Lab, system: str, start: int, count: int) -> list[dict[str, Any]]:
    """Rows `start` to `start + count` of a student's data; empty before preparing."""
    path = prepared_file(lab, system)
    return list(islice(load_rows(path), start, start + count)) if path else []


@contextmanager
def array_file(path: Path) -> Iterator[TextIO]:
    """Write the inside of a JSON array to `path`; the old file stays until the end, and on an error."""
    with whole_file(path) as handle:
        handle.write("[\n")
        yield handle
        handle.write("\n]\n")


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Write a text file to `path`; the old one stays until the end, and on an error.

    The caller holds the lab's writer lock, so a half-written file found here was left by a killed writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.*"):
        stale.unlink(missing_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with writing(path), os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def copy_atomic(original: Path, copy: Path) -> None:
    """Copy `original` to `copy`, whole or not at all."""
    temporary = copy.with_name(f".{copy.name}.copy")
    try:
        shutil.copyfile(original, temporary)
        os.replace(temporary, copy)
    finally:
        temporary.unlink(missing_ok=True)
