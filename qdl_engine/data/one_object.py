"""A JSON file that holds one object where rows are expected: what it is, and how to make rows of it."""

from __future__ import annotations

import codecs
import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.data.columns import jq, unwrapping
from qdl_engine.data.fields import detect_schema
from qdl_engine.data.json_rows import LONGEST_ROW, ArrayReader, open_unpacked, reading
from qdl_engine.errors import DataError

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
