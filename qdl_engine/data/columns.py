"""Columns of source rows, by name or dotted path."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_DEEPEST = 3
_INDEX = re.compile(r"[0-9]{1,9}")


def at_path(row: Any, path: str) -> Any:
    """The value at a dotted path (`reasoning.0.thought`); None when the path leads nowhere."""
    return _walk(row, path)[1]


def has_path(row: Any, path: str) -> bool:
    """Whether a path may lead somewhere: what lies below a null or an empty list, this row cannot tell."""
    return _walk(row, path)[0]


def _walk(row: Any, path: str) -> tuple[bool, Any]:
    """Whether a path may lead somewhere, and what is there."""
    if row is None or row == []:
        return True, None
    if isinstance(row, Mapping):
        if path in row:
            return True, row[path]
        # A name may hold dots itself, at any depth: what leads to a value goes before what may lead to one.
        ends = [end for end, letter in enumerate(path) if letter == "." and path[:end] in row]
        ways = (_walk(row[path[:end]], path[end + 1 :]) for end in reversed(ends))
        return max(ways, key=lambda way: (way[0], way[1] is not None), default=(False, None))
    name, dot, rest = path.partition(".")
    if not isinstance(row, Sequence) or isinstance(row, str | bytes) or not _INDEX.fullmatch(name):
        return False, None
    if int(name) >= len(row):
        return True, None
    item = row[int(name)]
    return _walk(item, rest) if dot else (True, item)


def columns_of(value: Any, depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Every column, and the paths into a nested one; of a list only the first element."""
    items: Sequence[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        items = [("0", value[0])]
    for name, item in items:
        yield name, item
        if depth < _DEEPEST:
            yield from ((f"{name}.{path}", inner) for path, inner in columns_of(item, depth + 1))


def lists_of_objects(row: Mapping[str, Any]) -> list[str]:
    """The columns that hold a list of nothing but objects, which may be rows themselves."""
    return [
        name
        for name, value in row.items()
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
    ]


def unwrapping(names: Sequence[str], path: str | Path) -> str:
    """How to get at the rows that are wrapped in an object, under one of `names`."""
    name = names[0]
    within = f".{name}" if name.isascii() and name.isidentifier() else f".[{json.dumps(name)}]"
    which = "that" if len(names) == 1 else "one of them"
    return f"If {which} holds the rows, unwrap it: {jq(shlex.quote(within), path)} > rows.json"


def jq(what: str, path: str | Path) -> str:
    """A command line that reads a file by jq, which does not unpack."""
    place = shlex.quote(str(path))
    unpack = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(Path(path).suffix.lower())
    return f"jq {what} <({unpack} {place})" if unpack else f"jq {what} {place}"
