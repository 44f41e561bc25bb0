"""stdout and stderr that are closed, full, or in an encoding without our characters."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def make_streams_safe() -> None:
    """Open closed streams on /dev/null, and escape characters that a stream's encoding lacks.

    Closed descriptors come first: otherwise the next file that is opened would get the number of stdout, and
    the output of a child process would end up in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # None, whatever the type says, where the descriptor was closed when Python started.
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif isinstance(stream, io.TextIOWrapper) and not is_unicode(stream):
            stream.reconfigure(errors="backslashreplace")


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream can write every character."""
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def silence_streams() -> None:
    """Discard unwritten output, so that the flush at exit does not fail a second time."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, stream.fileno())
            os.close(sink)
