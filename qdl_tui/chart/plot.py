"""A chart as lines of text: curves in braille dots, the axes, the legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from textual.content import Content

from qdl_tui.chart.series import Column, Curve, Scale, find_scale, short, short_step, ticks

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot in a braille cell, by column and row."""
DASHES = ((1, 1, 1, 1), (1, 1, 0, 0), (1, 0, 0, 0), (1, 1, 1, 0))
"""The dot columns out of four that a curve draws: solid, dashed, dotted, long dashes.

With the letters they tell curves apart without colour.
"""
COLOURS = ("$primary", "$warning", "$success", "$error")
LETTERS = "ABCDEFGH"
LEAST_WIDTH, LEAST_HEIGHT = 16, 4


@dataclass(frozen=True)
class Line:
    """One curve to draw; its number selects its letter, dashes and colour."""

    number: int
    name: str
    curve: Curve
    faint: bool = False
    """Whether it is the raw curve behind a smoothed one."""

    @property
    def style(self) -> str:
        """The colour, as Textual writes styles."""
        return COLOURS[self.number % len(COLOURS)] + (" dim" if self.faint else "")

    @property
    def letter(self) -> str:
        """The letter on the curve and in the legend."""
        return LETTERS[self.number % len(LETTERS)]

    @property
    def value(self) -> str:
        """The last value; "-" when it is a gap or there is none."""
        y = self.curve.y
        return short(y[-1]) if y and y[-1] == y[-1] else "-"


class Canvas:
    """Dots, two by four to a cell; a cell has the colour of the last curve drawn in it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [bytearray(width) for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]
        self._letters: dict[tuple[int, int], Line] = {}

    def draw(self, line: Line, columns: Sequence[Column | None], scale: Scale) -> None:
        """Draw one curve: in each dot column from its minimum to its maximum, joined to the one before."""
        height = self.height * 4
        dashes = DASHES[line.number % len(DASHES)]
        before: tuple[int, int] | None = None
        for x, column in enumerate(columns):
            if column is None or (scale.log and column.high <= 0):
                continue
            start = before if column.joined else None
            if start is not None:
                self._join(line, start, (x, scale.place(column.first, height)), dashes)
            if dashes[x % 4] or start is None:
                self._rise(line, x, scale.place(column.high, height), scale.place(column.low, height))
            before = (x, scale.place(column.last, height))
        if before is not None and line.number and not line.faint:
            self._name(line, before[0] // 2, before[1] // 4)

    def _join(self, line: Line, start: tuple[int, int], end: tuple[int, int], dashes: Sequence[int]) -> None:
        """Draw from one dot to another in a later column."""
        (x0, y0), (x1, y1) = start, end
        last = y0
        for x in range(x0 + 1, x1 + 1):
            y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
            if dashes[x % 4]:
                # A steep line fills the rows between two dots, but not the row of the dot before.
                self._rise(line, x, min(y, last + 1), max(y, last - 1))
            last = y

    def _rise(self, line: Line, x: int, top: int, bottom: int) -> None:
        """Set the dots of one column from `top` down to `bottom`."""
        column, bits, style = x // 2, DOTS[x % 2], line.style
        for y in range(top, bottom + 1):
            self._bits[y // 4][column] |= bits[y % 4]
            self._styles[y // 4][column] = style

    def _name(self, line: Line, column: int, row: int) -> None:
        """Put the letter of a curve on it, in the nearest row without another letter in this column."""
        for distance in range(self.height):
            for near in (row - distance, row + distance):
                if 0 <= near < self.height and (column, near) not in self._letters:
                    self._letters[column, near] = line
                    return

    def rows(self) -> list[Content]:
        """The canvas as text."""
        cells = [
            [(chr(0x2800 + bit) if bit else " ", style) for bit, style in zip(bits, styles, strict=True)]
            for bits, styles in zip(self._bits, self._styles, strict=True)
        ]
        for (column, row), line in self._letters.items():
            cells[row][column] = (line.letter, line.style)
        return [_in_colours(row) for row in cells]


def _in_colours(cells: Sequence[tuple[str, str]]) -> Content:
    runs = groupby(cells, key=lambda cell: cell[1])
    return Content.assemble(*(("".join(text for text, _ in run), style) for style, run in runs))


def legend(lines: Sequence[Line], width: int, note: str, title: str) -> Content:
    """The title, then letter, name and last value of each curve, and at the right end the note.

    A single curve shows its value only, and the note loses words from its left where the value needs room.
    """
    shown = [line for line in lines if not line.faint]
    alone = shown[0] if len(shown) == 1 else None
    while alone and note and len(title) + 1 + len(alone.value) > width - len(note) - 2:
        note = note.partition("  ")[2]
    room = max(0, width - len(note) - 2) if note else width
    if alone:
        entries = Content.assemble(f"{title} ", (alone.value, alone.style))
    else:
        entries = Content(f"{title}  ") + _entries(shown, room - len(title) - 2)
    left = entries.truncate(room).truncate(max(0, width - len(note)), pad=True)
    return (left + note).truncate(width)


def _entries(lines: Sequence[Line], width: int) -> Content:
    """The curves of the legend. Where they do not fit, the values go first, then the ends of the names."""

    def too_wide(texts: Sequence[str]) -> bool:
        return sum(cell_len(text) + 2 for text in texts) - 2 > width

    names = [f"{line.letter} {line.name}" for line in lines]
    texts = [f"{name} {line.value}" for name, line in zip(names, lines, strict=True)]
    if too_wide(texts):
        texts = names
    room = max(1, (width + 2) // len(lines) - 2) if too_wide(texts) else width
    pairs = zip(texts, lines, strict=True)
    return Content("  ").join(Content.styled(text, line.style).truncate(room) for text, line in pairs)


def x_axis(left: float, right: float, margin: int, width: int) -> str:
    """The first step, the last one, and the word between them."""
    start, end = short_step(left), short_step(right)
    room = width - margin - len(start) - len(end)
    return " " * margin + start + ("step" if room >= len(" step ") else "").center(max(1, room)) + end


def plot(
    lines: Sequence[Line], width: int, height: int, *, log: bool, note: str, title: str
) -> list[Content]:
    """The whole chart, `height` rows of `width` cells; a message where there is nothing to draw."""
    scale = find_scale((line.curve for line in lines), log)
    drawn = [line for line in lines if line.curve.x]
    head = f"{title}  {note}".strip()
    if scale is None:
        return _message(head, "no value above zero" if drawn and log else "no values yet", width, height)
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return _message(head, "too small for a chart", width, height)
    labels = ticks(scale, height - 2)
    margin = max(len(label) for label in labels.values()) + 1
    left = min(line.curve.x[0] for line in drawn)
    right = max(line.curve.x[-1] for line in drawn)
    if right <= left:
        right = left + 1
    canvas = Canvas(width - margin, height - 2)
    for line in drawn:
        canvas.draw(line, line.curve.columns(left, right, canvas.width * 2), scale)
    framed = [
        Content(labels.get(y, "").rjust(margin - 1) + ("┤" if y in labels else "│")) + row
        for y, row in enumerate(canvas.rows())
    ]
    return [legend(lines, width, note, title), *framed, Content(x_axis(left, right, margin, width))]


def _message(head: str, text: str, width: int, height: int) -> list[Content]:
    rows = [""] * height
    if height:
        rows[0], rows[height // 2] = head, text.center(width)
    return [Content(row[:width].ljust(width)) for row in rows]
