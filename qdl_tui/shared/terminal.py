"""What the app draws with and on: its two themes, and a terminal that may be gone while it still draws."""

from __future__ import annotations

from typing import Any, TextIO, cast

from textual.drivers.linux_driver import LinuxDriver
from textual.theme import Theme

# Every colour is one of the 256 of a plain SSH terminal, so a terminal rounds none.
DARK = Theme(
    name="qdl-dark",
    primary="#5fafff",
    secondary="#87afd7",
    accent="#ffaf5f",
    warning="#ffd75f",
    error="#ff8787",
    success="#87d787",
    foreground="#dadada",
    background="#121212",
    surface="#1c1c1c",
    panel="#303030",
    dark=True,
    variables={
        "text-muted": "#a8a8a8",
        "text-disabled": "#808080",
        "border": "#5f87af",
        "border-blurred": "#585858",
        "block-cursor-background": "#5fafff",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#444444",
        "block-cursor-blurred-foreground": "#ffffff",
    },
)

LIGHT = Theme(
    name="qdl-light",
    primary="#005faf",
    secondary="#005f87",
    accent="#875f00",
    warning="#875f00",
    error="#af0000",
    success="#005f00",
    foreground="#121212",
    background="#eeeeee",
    surface="#ffffff",
    panel="#d0d0d0",
    dark=False,
    variables={
        "text-muted": "#444444",
        "text-disabled": "#767676",
        "border": "#005faf",
        "border-blurred": "#9e9e9e",
        "block-cursor-background": "#005faf",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#bcbcbc",
        "block-cursor-blurred-foreground": "#000000",
    },
)


class LastingFile:
    """A terminal to write to; once it is gone, writing does nothing.

    Textual's writer thread ends with the first error of a terminal that a dropped SSH link took away. The app
    then waited for it for ever, and stayed as an orphan. Remove this when `WriterThread.run` survives an
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
