"""A curve that is being drawn while the run goes on: loss, learning rate, gradient norm, anything by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from time import monotonic

from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from qdl_engine.core.words import one_line
from qdl_tui.widgets.chart_data import Point, Series
from qdl_tui.widgets.chart_plot import plot
from qdl_tui.widgets.chart_text import Cell, Line, Row

PERIOD = 0.5
"""Seconds between two redraws for new points. A key redraws at once."""
WEIGHTS = (0.0, 0.6, 0.9, 0.98)
COLOURS = 4


class LossChart(Widget, can_focus=True):
    """Several series over one x axis.

    A series is told by its letter on the curve and in the legend and by its dashes; colour only helps.
    """

    COMPONENT_CLASSES = {"chart--a", "chart--b", "chart--c", "chart--d", "chart--frame"}
    DEFAULT_CSS = """
    LossChart {
        height: 1fr;
        & > .chart--a { color: $primary; }
        & > .chart--b { color: $warning; }
        & > .chart--c { color: $success; }
        & > .chart--d { color: $error; }
        & > .chart--frame { color: $text-muted; }
    }
    """
    log_scale: reactive[bool] = reactive(False, init=False)
    """Whether y is logarithmic."""
    smoothing: reactive[float] = reactive(0.0, init=False)
    """Weight of the past in the moving average; 0 for none."""
    hint: reactive[str] = reactive("", init=False)
    """What else stands at the right of the legend."""

    def __init__(
        self,
        *,
        title: str = "",
        x_label: str = "step",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.title = title
        self._series: dict[str, Series] = {}
        self._x_label = x_label
        self._rows: list[Row] | None = None
        self._drawn = 0.0
        self._pending: Timer | None = None

    # For screens -------------------------------------------------------------------------------------------

    def set_series(self, series: Mapping[str, Sequence[Point]], x_label: str | None = None) -> None:
        """Show these series, in this order: the first is solid, the next dashed, dotted and long-dashed.

        It may be called as often as there are news with all the points each time: only those added are
        looked at, and the redraw waits for its turn.

        Args:
            series: Points `(x, y)` by name, x ascending; y may be None, NaN or infinite, which leaves a gap.
            x_label: What x is.
        """
        other = list(series) != list(self._series) or (x_label or self._x_label) != self._x_label
        changed = False
        self._x_label = x_label or self._x_label
        self._series = {name: self._series.get(name) or Series() for name in series}
        for name, points in series.items():
            changed |= self._series[name].update(points)
        if other:
            self._drawn = monotonic()
            self._redraw()  # Somebody chose it: no waiting for its turn.
        elif changed:
            self._soon()

    def extend(self, name: str, points: Sequence[Point]) -> None:
        """Add points to one series, new or known."""
        series = self._series.setdefault(name, Series())
        for x, y in points:
            series.append(x, y)
        if points:
            self._soon()

    @property
    def text(self) -> list[str]:
        """The rows as they are on the screen."""
        return ["".join(cell.character for cell in row) for row in self._plot()]

    # Drawing -----------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        """Redraw now if the last time is long enough ago, else when it will be."""
        if not self.is_attached:
            self._redraw()
        elif self._pending is None:
            wait = self._drawn + PERIOD - monotonic()
            if wait <= 0:
                self._draw_news()
            else:
                self._pending = self.set_timer(wait, self._draw_news)

    def _draw_news(self) -> None:
        self._pending = None
        self._drawn = monotonic()
        self._redraw()

    def _redraw(self) -> None:
        self._rows = None
        self.refresh()

    def on_resize(self) -> None:
        """The plot fills the new size."""
        self._redraw()

    def watch_log_scale(self) -> None:
        """Redraw at once."""
        self._redraw()

    def watch_smoothing(self) -> None:
        """Redraw at once."""
        self._redraw()

    def watch_hint(self) -> None:
        """Redraw at once."""
        self._redraw()

    def on_focus(self) -> None:
        """The title says which chart the keys act on."""
        self._redraw()

    def on_blur(self) -> None:
        """The title says which chart the keys act on."""
        self._redraw()

    def action_scale(self) -> None:
        """Change between a linear and a logarithmic y axis."""
        self.log_scale = not self.log_scale

    def action_smooth(self) -> None:
        """Smooth more, and from the most back to none."""
        self.smoothing = next((weight for weight in WEIGHTS if weight > self.smoothing), WEIGHTS[0])

    def _lines(self) -> list[Line]:
        """The raw curves first, faint where a smooth one lies over them."""
        named = [(number, one_line(name, 24), it) for number, (name, it) in enumerate(self._series.items())]
        if not self.smoothing:
            return [Line(number, name, series.smoothed(0.0)) for number, name, series in named]
        faint = [Line(number, name, series.raw, faint=True) for number, name, series in named]
        return faint + [Line(number, name, series.smoothed(self.smoothing)) for number, name, series in named]

    def _plot(self) -> list[Row]:
        if self._rows is None:
            notes = [
                "log y" if self.log_scale else "",
                f"smoothed {self.smoothing:g}" if self.smoothing else "",
                self.hint,
            ]
            width, height = self.content_size
            self._rows = plot(
                self._lines(),
                width,
                height,
                log=self.log_scale,
                x_label=self._x_label,
                note="  ".join(filter(None, notes)),
                title=f"▸{self.title}" if self.title and self.has_focus else self.title,
            )
        return self._rows

    def render_line(self, y: int) -> Strip:
        """One row, its neighbouring cells of one kind in one segment."""
        rows = self._plot()
        if y >= len(rows):
            return Strip.blank(self.content_size.width, self.rich_style)
        segments = [
            Segment("".join(cell.character for cell in cells), self._style(*kind))
            for kind, cells in groupby(rows[y], key=_kind)
        ]
        return Strip(segments, len(rows[y]))

    def _style(self, owner: int | None, faint: bool) -> Style:
        name = "chart--frame" if owner is None else f"chart--{'abcd'[owner % COLOURS]}"
        style = self.get_component_rich_style(name)
        return style + Style(dim=True) if faint else style


def _kind(cell: Cell) -> tuple[int | None, bool]:
    return cell.owner, cell.faint
