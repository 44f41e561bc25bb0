"""Columns of source rows, by name or dotted path."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DEEPEST = 3


def at_path(row: Any, path: str) -> Any:
    """The value at a dotted path (`reasoning.0.thought`); None when the path leads nowhere."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    for part in path.split("."):
        if isinstance(row, Mapping):
            row = row.get(part)
        elif (
            isinstance(row, Sequence) and not isinstance(row, str) and part.isdigit() and int(part) < len(row)
        ):
            row = row[int(part)]
        else:
            return None
    return row


def has_path(row: Any, path: str) -> bool:
    """Whether a path may lead somewhere: what lies below a null or an empty list, this row cannot tell."""
    if isinstance(row, Mapping) and path in row:
        return True
    for part in path.split("."):
        if row is None or row == []:
            return True
        if isinstance(row, Mapping):
            if part not in row:
                return False
            row = row[part]
        elif isinstance(row, Sequence) and not isinstance(row, str):
            if not part.isdigit():
                return False
            if int(part) >= len(row):
                return True
            row = row[int(part)]
        else:
            return False
    return True


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


def unwrapping(names: Sequence[str], place: str) -> str:
    """How to get at the rows that are wrapped in an object, under one of `names`."""
    name = names[0]
    path = f".{name}" if name.isascii() and name.isidentifier() else f".[{json.dumps(name)}]"
    which = "that" if len(names) == 1 else "one of them"
    return f"If {which} holds the rows, unwrap it: jq {shlex.quote(path)} {shlex.quote(place)} > rows.json"
