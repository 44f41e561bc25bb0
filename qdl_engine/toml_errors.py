"""What is wrong with a TOML file, as a person reads it: the line, the line's text, and what belongs there."""

from __future__ import annotations

import re
from pathlib import Path

from qdl_engine.errors import SettingsError
from qdl_engine.text import one_line

_PLACE = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_QUOTES = 'A value is a number, true, false, a list, or text in quotes: key = "text".'
_HINTS = (
    ("Invalid value", _QUOTES),
    ("Expected '='", 'One setting a line: key = value, such as rows = 1000 or student = "text".'),
    ("Expected ']'", "A table stands alone on its line, in brackets: [system1]"),
    ("Expected newline", f"One setting a line, and nothing after its value. {_QUOTES}"),
    ("Cannot overwrite", "The setting is there twice: keep one."),
    ("Cannot declare", "The table is there twice: put its settings under the first."),
    ("Unclosed inline table", "{ and } stand on the same line."),
    (
        "Illegal character",
        'Text ends with its quote on the same line; longer text stands between """ and """.',
    ),
    ("Unterminated string", "A text has no closing quote."),
)


def toml_error(path: Path, text: str, cause: ValueError) -> SettingsError:
    """The error that names file and line.

    Args:
        path: The file, for its name.
        text: What is in it.
        cause: What `tomllib` said.
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
    # A quote or bracket that is never closed is noticed at the end of its line.
    shown = one_line(lines[number - 1], 60) if number <= len(lines) else ""
    said = what[:1].lower() + what[1:] if not what.startswith("Illegal") else "a text that is not closed"
    return SettingsError(
        f"{path}: not valid TOML, line {number}: {shown}  ({said} at column {place['column']})", hint
    )
