"""The words around a chart: numbers in few cells, the legend, the axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from qdl_tui.widgets.chart_data import Curve

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Cell:
    """A character and its series, or None for the frame; `faint` behind a smooth curve."""

    character: str
    owner: int | None = None
    faint: bool = False


Row = list[Cell]


@dataclass(frozen=True)
class Line:
    """One series to draw: its number gives letter, dashes and colour."""

    number: int
    name: str
    curve: Curve
    faint: bool = False


def short(value: float) -> str:
    """A number in at most six characters."""
    size = abs(value)
    if size and (size < 0.001 or size >= 1e6):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    if size >= 10000:
        return f"{value / 1000:.0f}k"
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float) -> str:
    """A step in full up to 9,999, then in thousands or millions."""
    if value != int(value):
        return short(value)
    size = abs(value)
    if size < 10000:
        return str(int(value))
    unit, sign = (1e6, "M") if size >= 1e6 else (1e3, "k")
    return f"{value / unit:.1f}".removesuffix(".0") + sign


def text_row(text: str, width: int) -> Row:
    """A row of frame characters, cut or filled to the width."""
    return [Cell(character) for character in text[:width].ljust(width)]


def named(text: str, number: int) -> Row:
    """The cells of a text of a series: a wide character takes its own and an empty one."""
    row: Row = []
    for character in text:
        width = cell_len(character)
        row += [Cell(character if not nth else "", number) for nth in range(width)]
    return row


def cut(row: Row, width: int) -> Row:
    """The first cells of a row, without half a wide character at the end."""
    halved = width < len(row) and not row[width].character
    return row[: width - halved]


def legend(lines: Sequence[Line], width: int, note: str, title: str = "") -> Row:
    """What the chart is of, letter, name and last value of each series, and a note that always fits.

    A single series needs no letter: its value stands behind the title, and the note gives way to it, word
    by word from the left.
    """
    shown = [line for line in lines if not line.faint]
    alone = bool(title) and len(shown) == 1
    while alone and note and len(title) + 1 + len(_last(shown[0])) > width - len(note) - 2:
        note = note.partition("  ")[2]
    room = width - len(note) - 2 if note else width
    if alone:
        row = [*text_row(f"{title} ", len(title) + 1), *named(_last(shown[0]), shown[0].number)]
    else:
        head = text_row(f"{title}  ", len(title) + 2) if title else []
        row = [*head, *_entries(shown, room - len(head))]
    row = cut(row, max(0, room))
    return cut([*row, *text_row(note.rjust(width - len(row)), width - len(row))], width)


def _entries(lines: Sequence[Line], width: int) -> Row:
    """The series, shortened until all fit: first their values go, then the ends of their names."""
    names = [named(f"{LETTERS[line.number % len(LETTERS)]} {line.name}", line.number) for line in lines]
    texts = [name + named(f" {_last(line)}", line.number) for name, line in zip(names, lines, strict=True)]
    if sum(len(text) + 2 for text in texts) - 2 > width:
        texts = names
    if texts and sum(len(text) + 2 for text in texts) - 2 > width:
        room = max(1, (width + 2) // len(texts) - 2)
        texts = [cut(text, room) for text in texts]
    row: Row = []
    for text in texts:
        row += [*text, Cell(" "), Cell(" ")]
    return row[:-2]


def _last(line: Line) -> str:
    value = line.curve.last
    return "-" if value is None else short(value)


def x_axis(left: float, right: float, label: str, margin: int, width: int) -> Row:
    """The first x, the last one, and between them what x is."""
    start, end = count(left), count(right)
    room = width - margin
    middle = label if len(start) + len(end) + len(label) + 2 <= room else ""
    line = start + middle.center(max(1, room - len(start) - len(end))) + end
    return text_row(" " * margin + line, width)
