"""A chart as rows of characters: braille curves, axes, legend. The widget only adds colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log10

from qdl_tui.widgets.chart_data import Column
from qdl_tui.widgets.chart_text import LETTERS, Cell, Line, Row, legend, short, text_row, x_axis

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each of a braille cell's dots, by column and row."""
DASHES = ((1, 1, 1, 1), (1, 1, 0, 0), (1, 0, 0, 0), (1, 1, 1, 0))
"""Which dot columns of four a series draws: solid, dashed, dotted, long dashes. Told apart without colour."""
LEAST_WIDTH, LEAST_HEIGHT = 16, 4


@dataclass(frozen=True)
class Scale:
    """From values to the height of the plot."""

    low: float
    high: float
    log: bool

    def place(self, value: float, height: int) -> int:
        """The dot row of a value, 0 on top."""
        low, high = self._at(self.low), self._at(self.high)
        share = (self._at(max(value, self.low) if self.log else value) - low) / (high - low)
        return min(height - 1, max(0, round((1 - share) * (height - 1))))

    def _at(self, value: float) -> float:
        return log10(value) if self.log else value


class Canvas:
    """Dots, two by four to a cell; a cell belongs to the last series that drew in it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [bytearray(width) for _ in range(height)]
        self._owners: list[list[tuple[int | None, bool]]] = [[(None, False)] * width for _ in range(height)]
        self._letters: dict[tuple[int, int], int] = {}

    def dot(self, x: int, y: int, line: Line) -> None:
        """Set one dot."""
        row, column = y // 4, x // 2
        self._bits[row][column] |= DOTS[x % 2][y % 4]
        self._owners[row][column] = (line.number, line.faint)

    def letter(self, column: int, row: int, number: int) -> None:
        """Name a series on its curve, in the nearest row that has no other letter in this column."""
        for distance in range(self.height):
            for near in (row - distance, row + distance):
                if 0 <= near < self.height and (column, near) not in self._letters:
                    self._letters[column, near] = number
                    return

    def rows(self) -> list[Row]:
        """The cells."""
        rows = []
        for y, (bits, owners) in enumerate(zip(self._bits, self._owners, strict=True)):
            row = [
                Cell(chr(0x2800 + bit) if bit else " ", *owner)
                for bit, owner in zip(bits, owners, strict=True)
            ]
            for (column, near), number in self._letters.items():
                if near == y:
                    row[column] = Cell(LETTERS[number % len(LETTERS)], number)
            rows.append(row)
        return rows


def find_scale(lines: Sequence[Line], log: bool) -> Scale | None:
    """A scale that holds every value; None when there is none. Values of zero or less have no logarithm."""
    low, high = inf, -inf
    for line in lines:
        below, above = line.curve.extremes(0, len(line.curve))
        low, high = min(low, below), max(high, above)
    if low > high or (log and high <= 0):
        return None
    if log:
        low = max(low, _least_positive(lines), high * 1e-12)
        return Scale(low / 1.1, high * 1.1, True) if high / low < 1.01 else Scale(low, high, True)
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-300):
        margin = abs(high) * 0.1 or 1.0
        return Scale(low - margin, high + margin, False)
    return Scale(low, high, False)


def _least_positive(lines: Sequence[Line]) -> float:
    """Looked for only where a curve goes to zero or below, which a loss hardly does."""
    least = inf
    for line in lines:
        low, _ = line.curve.extremes(0, len(line.curve))
        found = low if low > 0 else min((y for y in line.curve.y if y > 0), default=inf)
        least = min(least, found)
    return least


def draw_line(canvas: Canvas, line: Line, columns: Sequence[Column | None], scale: Scale) -> None:
    """Draw one curve: in each column from its lowest to its highest value, joined to the column before."""
    height = canvas.height * 4
    dashes = DASHES[line.number % len(DASHES)]
    before: tuple[int, int] | None = None
    for x, column in enumerate(columns):
        if column is None or (scale.log and column.high <= 0):
            continue
        top, bottom = scale.place(column.high, height), scale.place(column.low, height)
        first = scale.place(column.first, height)
        joined = column.joined and before is not None
        if joined and before is not None:
            _join(canvas, line, before, (x, first), dashes)
        if dashes[x % 4] or not joined:
            for y in range(top, bottom + 1):
                canvas.dot(x, y, line)
        before = (x, scale.place(column.last, height))
    if before is not None and not line.faint and line.number:
        canvas.letter(before[0] // 2, before[1] // 4, line.number)


def _join(
    canvas: Canvas, line: Line, start: tuple[int, int], end: tuple[int, int], dashes: Sequence[int]
) -> None:
    """The dots strictly between two columns, and the rise to the second in its own column."""
    (x0, y0), (x1, y1) = start, end
    last = y0
    for x in range(x0 + 1, x1 + 1):
        y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        step = 1 if y >= last else -1
        if dashes[x % 4]:
            for between in range(last + step if last != y else y, y + step, step):
                canvas.dot(x, between, line)
        last = y


def ticks(scale: Scale, height: int) -> dict[int, str]:
    """Labels by row. Round numbers where there is room for two or more, else the ends."""
    wanted = max(2, min(6, height // 3 + 1))
    found: dict[int, str] = {}
    for value in _round_values(scale, wanted):
        if short(value) not in found.values():
            found.setdefault(scale.place(value, height), short(value))
    if len(found) < 2:
        return {0: short(scale.high), height - 1: short(scale.low)}
    return found


def _round_values(scale: Scale, wanted: int) -> list[float]:
    if scale.log:
        decades = range(floor(log10(scale.low)), ceil(log10(scale.high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5)):
            values = [f * 10.0**d for d in decades for f in factors if scale.low <= f * 10.0**d <= scale.high]
            if len(values) >= 2:
                return values[:: ceil(len(values) / wanted)]
    rough = (scale.high - scale.low) / wanted
    base = 10.0 ** floor(log10(rough))
    step = base * next((f for f in (1, 2, 5) if f * base >= rough), 10)
    first = ceil(scale.low / step)
    values = [number * step for number in range(first, first + 2 * wanted) if number * step <= scale.high]
    return [value for value in values if value > 0] if scale.log else values


def plot(
    lines: Sequence[Line], width: int, height: int, *, log: bool, x_label: str, note: str, title: str = ""
) -> list[Row]:
    """The whole chart, `height` rows of `width` cells, or a word where there is nothing to draw."""
    scale = find_scale(lines, log)
    drawn = [line for line in lines if len(line.curve)]
    if scale is None or width < LEAST_WIDTH or height < LEAST_HEIGHT:
        word = (
            "too small for a chart"
            if scale
            else ("no value above zero" if drawn and log else "no values yet")
        )
        rows = [text_row("", width) for _ in range(height)]
        if height:
            rows[0] = text_row(f"{title}  {note}".strip(), width)
            rows[height // 2] = text_row(word.center(width), width)
        return rows
    body = height - 2
    labels = ticks(scale, body)
    margin = max(len(label) for label in labels.values()) + 1
    left = min(line.curve.x[0] for line in drawn)
    right = max(line.curve.x[-1] for line in drawn)
    if right <= left:
        right = left + 1
    canvas = Canvas(width - margin, body)
    for line in drawn:
        draw_line(canvas, line, line.curve.columns(left, right, canvas.width * 2), scale)
    framed = [
        text_row(labels.get(y, "").rjust(margin - 1) + ("┤" if y in labels else "│"), margin) + row
        for y, row in enumerate(canvas.rows())
    ]
    return [legend(lines, width, note, title), *framed, x_axis(left, right, x_label, margin, width)]
