"""The points of a curve, kept so that drawing costs the same after a hundred steps and after ten million.

A pyramid of minima and maxima answers "how low and how high between these two points" in a few looks, so a
spike of one step is seen however many steps share its column. No Textual here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

FAN = 16
"""Points, or entries of the level below, that share an entry."""
LEVELS = 5

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Column:
    """What one column of the drawing shows of a curve."""

    low: float
    high: float
    first: float
    last: float
    joined: bool
    """Whether the curve runs on from the last column drawn; not across a value that is no number."""


class Curve:
    """A series of points with ascending x; a y that is no finite number is a gap."""

    def __init__(self) -> None:
        self.x = array("d")
        self.y = array("d")
        self._gaps = array("Q")
        self._lows = [array("d") for _ in range(LEVELS)]
        self._highs = [array("d") for _ in range(LEVELS)]

    def __len__(self) -> int:
        return len(self.x)

    def append(self, x: float, y: float | None) -> None:
        """Add a point. A step back (a run resumed from a checkpoint) replaces what came after."""
        if not _drawable(x):
            return
        if self.x and x < self.x[-1]:
            self.cut(bisect_left(self.x, x))
        index = len(self.x)
        value = float(y) if y is not None and _drawable(y) else nan
        self.x.append(x)
        self.y.append(value)
        low, high = value, value
        if value != value:
            self._gaps.append(index)
            low, high = inf, -inf
        for lows, highs in zip(self._lows, self._highs, strict=True):
            index //= FAN
            if index == len(lows):
                lows.append(low)
                highs.append(high)
            else:
                lows[index] = min(lows[index], low)
                highs[index] = max(highs[index], high)

    def cut(self, length: int) -> None:
        """Forget the points from `length` on."""
        points = list(zip(self.x[:length], self.y[:length], strict=True))
        self.__init__()  # type: ignore[misc]
        for x, y in points:
            self.append(x, y)

    def extremes(self, start: int, stop: int) -> tuple[float, float]:
        """The lowest and the highest value of the points `start..stop`; `(inf, -inf)` when all are gaps."""
        low, high = inf, -inf
        lows, highs = self.y, self.y
        for level in range(LEVELS + 1):
            while start < stop and (start % FAN or stop - start < FAN or level == LEVELS):
                low, high = _wider(low, high, lows[start], highs[start])
                start += 1
            while start < stop and stop % FAN:
                stop -= 1
                low, high = _wider(low, high, lows[stop], highs[stop])
            if start >= stop:
                break
            start, stop = start // FAN, stop // FAN
            lows, highs = self._lows[level], self._highs[level]
        return low, high

    def columns(self, left: float, right: float, count: int) -> list[Column | None]:
        """The curve between two x in `count` columns; None where there is nothing to draw."""
        found: list[Column | None] = []
        span, last = right - left, -1
        start = bisect_left(self.x, left)
        for number in range(1, count + 1):
            if number == count:
                stop = bisect_right(self.x, right)
            else:
                stop = bisect_left(self.x, left + span * number / count, start)
            column = self._column(start, stop, last) if start < stop else None
            if column is not None:
                last = self._last_number(stop)
            found.append(column)
            start = stop
        return found

    def _column(self, start: int, stop: int, last: int) -> Column | None:
        low, high = self.extremes(start, stop)
        if low > high:
            return None
        first = start
        while self.y[first] != self.y[first]:
            first += 1
        broken = bisect_left(self._gaps, first) > bisect_left(self._gaps, max(last, 0))
        return Column(low, high, self.y[first], self.y[self._last_number(stop)], last >= 0 and not broken)

    def _last_number(self, stop: int) -> int:
        """The last point before `stop` that is no gap."""
        stop -= 1
        while self.y[stop] != self.y[stop]:
            stop -= 1
        return stop

    @property
    def last(self) -> float | None:
        """The last value; None when it is a gap or there is none."""
        return self.y[-1] if self.y and self.y[-1] == self.y[-1] else None


class Series:
    """A curve as it came and, when asked for, smoothed by an exponential moving average."""

    def __init__(self) -> None:
        self.raw = Curve()
        self.smooth: Curve | None = None
        self._weight = 0.0
        self._mean = 0.0
        self._share = 0.0

    def update(self, points: Sequence[Point]) -> bool:
        """Take over all the points of the series as they are known now.

        Only what was added since the last time is looked at, if the first point and the last known one are
        the same as then; else the series starts afresh.

        Returns:
            Whether anything changed.
        """
        known = len(self.raw)
        if known > len(points) or (known and not (self._same(0, points) and self._same(known - 1, points))):
            weight = self._weight
            self.__init__()  # type: ignore[misc]
            self.smoothed(weight)
            known = 0
        for x, y in points[known:]:
            self.append(x, y)
        return len(points) > known

    def _same(self, index: int, points: Sequence[Point]) -> bool:
        x, y = points[index]
        value = self.raw.y[index]
        return self.raw.x[index] == x and (value == y or (value != value and (y is None or not _drawable(y))))

    def append(self, x: float, y: float | None) -> None:
        """Add a point."""
        rewound = bool(self.raw.x) and x < self.raw.x[-1]
        self.raw.append(x, y)
        if rewound:
            self.smoothed(self._weight)
        elif self.smooth is not None:
            self._extend(self.smooth, x, y)

    def smoothed(self, weight: float) -> Curve:
        """The curve averaged with this weight on the past (0: as it is), started without a bias towards
        zero."""
        if weight == self._weight and self.smooth is not None and len(self.smooth) == len(self.raw):
            return self.smooth
        self._weight, self._mean, self._share, self.smooth = weight, 0.0, 0.0, None
        if not weight:
            return self.raw
        curve = self.smooth = Curve()
        for x, y in zip(self.raw.x, self.raw.y, strict=True):
            self._extend(curve, x, y)
        return curve

    def _extend(self, curve: Curve, x: float, y: float | None) -> None:
        if y is None or not _drawable(y):
            curve.append(x, nan)
            return
        self._mean = self._weight * self._mean + (1 - self._weight) * y
        self._share = self._weight * self._share + (1 - self._weight)
        curve.append(x, self._mean / self._share)


def _drawable(value: float) -> bool:
    """No NaN, no infinity, and nothing so big that the difference of two would be infinite."""
    return -1e300 < value < 1e300


def _wider(low: float, high: float, other_low: float, other_high: float) -> tuple[float, float]:
    """A range made wide enough for another; a comparison with a gap is false, so gaps change nothing."""
    return (other_low if other_low < low else low, other_high if other_high > high else high)
