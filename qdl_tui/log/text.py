"""One line of a log as text that is safe to show: colours work, other controls are only shown."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from qdl_engine.core.words import printable

COLOUR = r"\x1b\[[0-9;:]{0,64}m"
"""The sequence that sets a colour (SGR). Bounded: int() refuses a number of 5,000 digits."""
CELLS = 10_000
"""Cells shown of a line, so that the app does not lay out a line of a megabyte."""
RAW = 16_000
"""Bytes read for those cells; colours take some. The cut comes before controls are escaped, so that half a
sequence left at the cut is escaped too."""

_COLOUR = re.compile(f"({COLOUR})")


def fold(line: bytes) -> bytes:
    """The last state of a progress bar that rewrites its line with carriage returns."""
    return line.rstrip(b"\r\n").rpartition(b"\r")[2] if b"\r" in line else line


def clean(line: bytes) -> str:
    """The line without control characters except tabs and colours.

    Every other one becomes its picture (`␛[2J`) or its code: a log must not clear the screen, set the
    title, write the clipboard or reverse the reading direction.
    """
    text = line.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    parts = _COLOUR.split(text)
    parts[::2] = [printable(part).replace("\n", "\u240a") for part in parts[::2]]
    return "".join(parts)


def line_text(line: bytes, mark: re.Pattern[str] | None = None, mark_style: Style | None = None) -> Text:
    """The line as the log pane shows it: at most `CELLS` cells, with an ellipsis where it was cut.

    Args:
        line: The raw line.
        mark: What to mark in it.
        mark_style: The style of the marks.
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


def wrap_cuts(text: str, width: int) -> list[int]:
    """The cells at which a wrapped text continues in the next row, so that no wide character is split."""
    if text.isascii():
        return list(range(width, len(text), width))
    cuts, place, start = [], 0, 0
    for character in text:
        cells = cell_len(character)
        if place + cells - start > width:
            cuts.append(place)
            start = place
        place += cells
    return cuts
