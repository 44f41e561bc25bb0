"""What a person reads when something goes wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


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
