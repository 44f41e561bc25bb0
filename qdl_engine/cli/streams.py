"""stdout and stderr made fit for anything: closed, full, or in an encoding that lacks our characters."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def make_streams_safe() -> None:
    """Give closed streams somewhere to go, and let no character be one that cannot be written.

    A closed descriptor is filled first: else the next file opened would take the number of stdout, and what
    a child prints would end up in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python sets them to None where the descriptor was closed at the start, whatever their type says.
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif isinstance(stream, io.TextIOWrapper) and not is_unicode(stream):
            stream.reconfigure(errors="backslashreplace")


def is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def silence_streams() -> None:
    """Send what is still unwritten nowhere, so that leaving does not fail on it once more."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, stream.fileno())
            os.close(sink)
