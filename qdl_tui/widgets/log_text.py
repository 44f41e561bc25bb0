"""One line of a log as text that is safe to show: colours kept, everything else shown and never obeyed."""

from __future__ import annotations

import re

from rich.style import Style
from rich.text import Text

from qdl_engine.core.words import printable

CELLS = 10_000
"""Cells of a line that are shown; a line of a megabyte would otherwise be laid out for nothing."""
RAW = 16_000
"""Bytes looked at for those cells: colours take some. Cut before the controls are escaped, so that half a
sequence left at the cut is escaped too."""

_COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,64}m)")  # Bounded: int() refuses a number of 5,000 digits.


def fold(line: bytes) -> bytes:
    """The last state of a progress bar that rewrites its line with carriage returns."""
    return line.rstrip(b"\r\n").rpartition(b"\r")[2] if b"\r" in line else line


def clean(line: bytes) -> str:
    """Text without a control character but tabs and the sequences that set colours (SGR).

    Every other one is shown as its picture (`␛[2J`) or code: a log must not clear the screen, set the
    title, write the clipboard or turn the reading direction.
    """
    text = line.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    parts = _COLOUR.split(text)
    parts[::2] = [printable(part).replace("\n", "\u240a") for part in parts[::2]]
    return "".join(parts)


def line_text(line: bytes, mark: re.Pattern[str] | None = None, mark_style: Style | None = None) -> Text:
    """A line as the log pane shows it.

    Args:
        line: The raw line.
        mark: What to mark in it.
        mark_style: How.

    Returns:
        At most `CELLS` cells of text, with an ellipsis where it was cut.
    """
    folded = fold(line)
    shown = clean(folded[:RAW])
    text = Text.from_ansi(shown) if "\x1b" in shown else Text(shown)
    if "\t" in shown:
        text.expand_tabs(8)
    if mark is not None and mark_style is not None:
        for match in mark.finditer(text.plain):
            text.stylize(mark_style, *match.span())
    if (len(shown) > CELLS // 2 and text.cell_len > CELLS) or len(folded) > RAW:
        text.truncate(CELLS, overflow="ellipsis")
    return text
