"""A mapping held against the columns that are there."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qdl_engine.data.columns import columns_of, has_path
from qdl_engine.data.fields import detect_schema
from qdl_engine.errors import DataError
from qdl_engine.text import one_line

_SHOWN = 24
_WIDEST = 60
"""Characters of a name: a file can have a text where a name belongs."""
_BRACKETS = re.compile(r"\.?\[(\d*)\]")


def check_mapping(
    mapping: Mapping[str, str],
    first_rows: Sequence[Mapping[str, Any]],
    *,
    source: str,
    answered: bool = True,
) -> None:
    """Refuse a mapping to columns that none of the first rows has: all rows would come out empty.

    Args:
        mapping: Of `MAPPING_KEYS` to columns or dotted paths.
        first_rows: Those that have columns; without any, nothing is refused.
        source: What the message calls the source.
        answered: Whether the answers are read; without, only what makes the question must be there.

    Raises:
        DataError: naming the columns that are not there, the nearest ones, and all that are.
    """
    read = {key: path for key, path in mapping.items() if answered or key in ("instruction", "input")}
    absent = {
        key: path
        for key, path in read.items()
        if path and first_rows and not any(has_path(row, path) for row in first_rows)
    }
    if not absent:
        return
    known = list(dict.fromkeys(one_line(name, _WIDEST) for row in first_rows for name, _ in columns_of(row)))
    near = list(dict.fromkeys(filter(None, (_nearest(path, known) for path in absent.values()))))
    sentences = [f"Did you mean {' and '.join(near)}?"] if near else []
    more = ", …" if len(known) > _SHOWN else "."
    sentences.append(f"Its columns: {', '.join(known[:_SHOWN]) or 'none'}{more}")
    fitting = _fitting(first_rows)
    if fitting:
        sentences.append(f'A named schema fits them too: fields = "{fitting}", without a mapping.')
    named = ", ".join(f"{one_line(path, _WIDEST)!r} ({key})" for key, path in absent.items())
    raise DataError(
        f"The mapping names what is not in the first {len(first_rows):,} rows of {source}: {named}",
        " ".join(sentences),
    )


def _fitting(rows: Sequence[Mapping[str, Any]]) -> str:
    try:
        return detect_schema(rows, source="")
    except DataError:
        return ""


def _nearest(path: str, known: Iterable[str]) -> str:
    """The column most like `path`; `reasoning[].thought`, as others write it, is the first element's."""
    spelt = {name.casefold(): name for name in known}
    wanted = _BRACKETS.sub(lambda found: f".{found[1] or 0}", path.strip()).casefold()
    found = difflib.get_close_matches(wanted, spelt, 1)
    if not found:
        return ""
    near = spelt[found[0]]
    # An accent may be a character of its own: two names that look the same are told apart by their spelling.
    alike = near != path and unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path)
    return ascii(near) if alike else repr(near)
