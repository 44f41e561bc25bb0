"""What a person reads when something goes wrong."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdl_engine.core.words import one_line


class LabError(Exception):
    """An error a person can meet: what happened, where, and what to do about it.

    Args:
        message: What happened and where, in one sentence.
        hint: What to do about it; may be empty when the message already says it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SettingsError(LabError):
    """A setting, a file of settings or a command line that cannot be accepted."""

    exit_code = 2


class DataError(LabError):
    """A source that cannot be read, or that leaves no rows."""


class ModelError(LabError):
    """A model that is missing, is no model, or does not fit."""


class RunError(LabError):
    """A run that cannot be started, found, stopped or resumed."""


class LabBusyError(LabError):
    """Another process writes in this lab; the message names it."""


_SPACE = "Free some space there, then do it again."
_SYSTEM_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "Its size is limited: see ulimit -f, and the file system's own bound.",
    errno.EROFS: "Choose a directory that can be written: --lab DIR",
    errno.EACCES: "Look at who owns it, and at its permissions.",
    errno.EPERM: "Look at who owns it, and at its permissions.",
}


def from_system(error: OSError) -> LabError | None:
    """A full disk or a forbidden file in words; None when it is nothing a person can mend so."""
    hint = _SYSTEM_HINTS.get(error.errno or 0)
    if hint is None:
        return None
    if isinstance(error.filename, str | bytes):
        return LabError(f"{error.strerror}: {os.fsdecode(error.filename)}", hint)
    if hint == _SPACE:
        hint = "df -h says which disk is full: free some space there, then do it again."
    return LabError(f"{error.strerror}", hint)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in an error of writing it: the system names none when its disk is full."""
    try:
        yield
    except OSError as error:
        # Only these: what else fails while the file is open need not be the file's fault.
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = os.fspath(path)
        raise


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
