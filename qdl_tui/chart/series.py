"""The numbers of a chart: its curves, the scale that holds them, and the labels of its axes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, nan
from typing import NamedTuple

Point = tuple[float, float]
"""x and y. `qdl_engine.runs.reader` keeps x ascending, also across a resume."""


class Column(NamedTuple):
    """What one column of the plot shows of a curve."""

    low: float
    high: float
    first: float
    last: float
    joined: bool
    """Whether a line connects it to the column before it. A gap breaks the line."""


@dataclass(frozen=True)
class Curve:
    """Points with ascending x; a y of NaN is a gap."""

    x: list[float]
    y: list[float]

    @classmethod
    def of(cls, points: Sequence[Point], factor: float = 1.0) -> Curve:
        """The curve of these points, y times `factor`. NaN, infinity and |y| over 1e300 become gaps."""
        # Two values of 1e308 have an infinite difference, which no scale can hold.
        y = [value * factor if -1e300 < value < 1e300 else nan for _, value in points]
        return cls([x for x, _ in points], y)

    def smoothed(self, weight: float) -> Curve:
        """The exponential moving average with this weight on the past, without a bias towards zero.

        A gap stays a gap and does not change the average.
        """
        mean = share = 0.0
        smooth = []
        for value in self.y:
            if value == value:
                mean = weight * mean + (1 - weight) * value
                share = weight * share + (1 - weight)
                value = mean / share
            smooth.append(value)
        return Curve(self.x, smooth)

    def columns(self, left: float, right: float, count: int) -> list[Column | None]:
        """The curve from `left` to `right` in `count` columns; None where a column has no value.

        A column keeps its minimum and maximum, so a spike of one step stays visible among thousands.
        """
        found: list[Column | None] = []
        start, line_is_open = bisect_left(self.x, left), False
        for number in range(1, count + 1):
            if number == count:
                stop = bisect_right(self.x, right)
            else:
                stop = bisect_left(self.x, left + (right - left) * number / count, start)
            part = self.y[start:stop]
            values = [value for value in part if value == value]
            column = None
            if values:
                joined = line_is_open and part[0] == part[0]
                column = Column(min(values), max(values), values[0], values[-1], joined)
            if part:
                line_is_open = part[-1] == part[-1]
            found.append(column)
            start = stop
        return found


@dataclass(frozen=True)
class Scale:
    """The range of y, linear or logarithmic."""

    low: float
    high: float
    log: bool

    def place(self, value: float, height: int) -> int:
        """The row of a value among `height` rows; 0 is the top."""
        low, high = self._at(self.low), self._at(self.high)
        share = (self._at(max(value, self.low) if self.log else value) - low) / (high - low)
        return min(height - 1, max(0, round((1 - share) * (height - 1))))

    def _at(self, value: float) -> float:
        return log10(value) if self.log else value


def find_scale(curves: Iterable[Curve], log: bool) -> Scale | None:
    """The scale that holds every value; None without values. A logarithmic one leaves out y <= 0."""
    values = [y for curve in curves for y in curve.y if y == y and not (log and y <= 0)]
    if not values:
        return None
    low, high = min(values), max(values)
    if log:
        low = max(low, high * 1e-12)
        return Scale(low / 1.1, high * 1.1, True) if high / low < 1.01 else Scale(low, high, True)
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-300):
        margin = abs(high) * 0.1 or 1.0
        return Scale(low - margin, high + margin, False)
    return Scale(low, high, False)


def ticks(scale: Scale, height: int) -> dict[int, str]:
    """The labels of the y axis by row: two or more round numbers if they fit, else the two ends."""
    wanted = max(2, min(6, height // 3 + 1))
    found: dict[int, str] = {}
    for value in _round_values(scale, wanted):
        if short(value) not in found.values():
            found.setdefault(scale.place(value, height), short(value))
    return found if len(found) > 1 else {0: short(scale.high), height - 1: short(scale.low)}


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


def short(value: float) -> str:
    """A number in six characters or fewer."""
    size = abs(value)
    if size and (size < 0.001 or size >= 1e6):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    if size >= 10000:
        return f"{value / 1000:.0f}k"
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short_step(step: float) -> str:
    """A step in full up to 9,999, then in thousands or millions."""
    if step < 10000:
        return str(int(step))
    unit, sign = (1e6, "M") if step >= 1e6 else (1e3, "k")
    return f"{step / unit:.1f}".removesuffix(".0") + sign
