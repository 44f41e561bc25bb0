"""The terminal, which may be gone while the app still draws on it."""

from __future__ import annotations

from typing import Any, TextIO, cast

from textual.drivers.linux_driver import LinuxDriver


class LastingFile:
    """A terminal to write to; once it is gone, what is written goes nowhere.

    Textual's writer thread ends with the first error of a terminal that a dropped SSH link took away. The app
    then waited for it without end, and stayed as an orphan. This can go when `WriterThread.run` outlives an
    `OSError` (Textual 8.2).
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._gone = False

    def write(self, text: str) -> int:
        if not self._gone:
            try:
                self._file.write(text)
            except OSError:
                self._gone = True
        return len(text)

    def flush(self) -> None:
        if not self._gone:
            try:
                self._file.flush()
            except OSError:
                self._gone = True

    def fileno(self) -> int:
        return self._file.fileno()


class LastingDriver(LinuxDriver):
    """Textual's driver for Linux and macOS, on a file that outlives its terminal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file = cast(Any, LastingFile(cast(TextIO, self._file)))
