"""A TOML file that a person owns: read with errors that help, changed with every comment kept.

`qdl.toml` and the user's own `settings.toml` are such files. Nothing here imports pydantic, and reading
imports no tomlkit either: the app reads `qdl.toml` before its first paint.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import write_text_atomic
from qdl_engine.core.words import one_line

Tables = Mapping[str, Mapping[str, Any]]
"""A file's tables by name, each with its values by key."""

_PLACE = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_QUOTES = 'A value is a number, true, false, a list, or text in quotes: key = "text".'
_HINTS = (
    ("Invalid value", _QUOTES),
    ("Expected '='", 'Write one setting per line: key = value, such as rows = 1000 or student = "text".'),
    ("Expected ']'", "Write a table's name alone on its line, in brackets: [system1]"),
    ("Expected newline", f"Write one setting per line, and nothing after its value. {_QUOTES}"),
    ("Cannot overwrite", "The file sets this twice: keep one."),
    ("Cannot declare", "The file has this table twice: move its settings under the first."),
    ("Unclosed inline table", "Close { with } on the same line."),
    (
        "Illegal character",
        'Close the text with its quote on the same line; put longer text between """ and """.',
    ),
    ("Unterminated string", "Add the closing quote."),
)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain values.

    Raises:
        SettingsError: when the file cannot be read or is not TOML.
    """
    text = ""
    try:
        text = _text(path)
        return tomllib.loads(text)
    except OSError as cause:
        raise SettingsError(f"{path}: cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise SettingsError(f"{path}: not valid TOML: not UTF-8 text", "Save it as UTF-8.") from cause
    except tomllib.TOMLDecodeError as cause:
        raise toml_error(path, text, cause) from cause


def _text(path: Path) -> str:
    """The file with the user's own line ends, without the byte order mark that some editors write."""
    return path.read_bytes().decode().removeprefix("\ufeff")


def toml_error(path: Path, text: str, cause: ValueError) -> SettingsError:
    """The error of a file that is not TOML, with the line and what belongs there.

    Args:
        path: The file, for its name.
        text: Its content.
        cause: The error from `tomllib`.
    """
    words = str(cause)
    place = _PLACE.search(words)
    what = words[: place.start()] if place else words
    hint = next((hint for begin, hint in _HINTS if what.startswith(begin)), _QUOTES)
    if place is None or place["line"] is None:
        end = "it ends in the middle of a value" if place else one_line(what, 200)
        return SettingsError(f"{path}: not valid TOML: {end}", "Close what was opened: a quote, ] or }.")
    number = int(place["line"])
    lines = text.split("\n")
    # tomllib notices an unclosed quote or bracket only at the end of its line.
    shown = one_line(lines[number - 1], 60) if number <= len(lines) else ""
    reason = "unclosed text" if what.startswith("Illegal") else what[:1].lower() + what[1:]
    return SettingsError(
        f"{path}: not valid TOML, line {number}: {shown}  ({reason} at column {place['column']})", hint
    )


def save_toml(path: Path, values: Tables, defaults: Tables, *, new_file: str) -> None:
    """Write only the values that differ from the file; comments, order and unnamed defaults stay.

    Args:
        path: The file.
        values: What the file says afterwards.
        defaults: The same tables with their default values. A table with no defaults has free keys: the file
            loses those that `values` lacks.
        new_file: The text to start from when there is no file yet.

    Raises:
        SettingsError: when the file is broken; nothing is written.
    """
    import tomlkit

    if path.is_file():
        read_toml(path)  # its errors name the line and the cure, tomlkit's do not
        document = tomlkit.parse(_text(path))
    else:
        document = tomlkit.parse(new_file)
    for name, table in values.items():
        if name not in document:
            if table == defaults[name]:
                continue
            document[name] = tomlkit.table()
        change = _update if defaults[name] else _replace
        change(document[name], table, defaults[name])  # type: ignore[arg-type]
    write_text_atomic(path, tomlkit.dumps(document))


def _update(table: MutableMapping[str, Any], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Set the values that differ; a default that the file does not spell out stays unwritten."""
    import tomlkit

    for key, value in values.items():
        old = table.get(key)
        if (defaults.get(key) if old is None else _plain(old)) == value:
            continue
        if isinstance(value, Mapping) and isinstance(old, tomlkit.items.Table):
            _replace(old, value, {})
        else:
            table[key] = inline_table(value) if isinstance(value, Mapping) else value


def _replace(
    table: MutableMapping[str, Any], values: Mapping[str, Any], _defaults: Mapping[str, Any]
) -> None:
    """Leave exactly these keys; those that stay keep their place and comment."""
    for gone in [key for key in table if key not in values]:
        del table[gone]
    for key, value in values.items():
        if key not in table or _plain(table[key]) != value:
            table[key] = value


def _plain(item: Any) -> Any:
    from tomlkit.items import Item

    return item.unwrap() if isinstance(item, Item) else item


def inline_table(value: Mapping[str, Any]) -> Any:
    """A mapping as tomlkit writes it on one line: `{instruction = "question"}`."""
    import tomlkit

    table = tomlkit.inline_table()
    table.update(value)
    return table
