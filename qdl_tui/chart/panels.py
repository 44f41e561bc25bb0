"""The charts of a run: loss, learning rate, gradient norm, speed, memory, GPU; one, two or all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from textual.containers import Container
from textual.content import Content
from textual.reactive import reactive
from textual.timer import Timer
from textual.widget import Widget

from qdl_engine.core.words import one_line
from qdl_tui.chart.plot import Line, plot
from qdl_tui.chart.series import Curve, Point

PERIOD = 0.5
"""Seconds between two redraws for new points. A key redraws at once."""
WEIGHTS = (0.0, 0.6, 0.9, 0.98)
"""The degrees of smoothing."""
GRID_WIDTH, GRID_HEIGHT = 40, 20
"""From this size on, in cells, all panels show at once."""
PAIR_WIDTH = 96
"""From this width on, in cells, two panels stand side by side."""

SeriesMap = Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class Panel:
    """What one chart draws: its title, and the series by name, each with its label."""

    name: str
    title: str
    series: tuple[tuple[str, str], ...]
    factor: float = 1.0
    """From the unit of the series to the unit in the title."""


PANELS = (
    Panel("loss", "loss", (("loss", "train"), ("held_out_loss", "held out"))),
    Panel("rate", "learning rate", (("learning_rate", ""),)),
    Panel("grad", "gradient norm", (("grad_norm", ""),)),
    Panel("speed", "tokens/s", (("tokens_per_second", ""),)),
    Panel("gpu-memory", "GPU memory, GB", (("gpu_memory_bytes", ""),), 1e-9),
    Panel("gpu-use", "GPU use, %", (("gpu_use", ""),), 100.0),
    Panel("memory", "memory, GB", (("memory_bytes", ""),), 1e-9),
)


class Chart(Widget, can_focus=True):
    """The curves of one panel over the steps of the run."""

    DEFAULT_CSS = "Chart { height: 1fr; width: 1fr; color: $text-muted; text-wrap: nowrap; }"

    log_scale: reactive[bool] = reactive(False)
    """Whether y is logarithmic."""
    smoothing: reactive[float] = reactive(0.0)
    """Weight of the past in the moving average; 0 for none."""
    hint: reactive[str] = reactive("")
    """What else stands at the right of the legend."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(id=f"chart-{panel.name}")
        self.panel = panel
        self._series: dict[str, Sequence[Point]] = {}
        self._drawn = 0.0
        self._pending: Timer | None = None

    def set_series(self, series: SeriesMap) -> None:
        """Draw these series, by label. Call it as often as you like: unchanged series cost nothing.

        Another choice of series shows at once, new points within `PERIOD`. Do not change a sequence that
        was handed over.
        """
        chosen = list(series) != list(self._series)
        if not chosen and series == self._series:
            return
        self._series = dict(series)
        wait = 0.0 if chosen else self._drawn + PERIOD - monotonic()
        if wait <= 0:
            self._redraw()
        elif self._pending is None:
            self._pending = self.set_timer(wait, self._redraw)

    def _redraw(self) -> None:
        if self._pending is not None:
            self._pending.stop()
            self._pending = None
        self._drawn = monotonic()
        self.refresh()

    def on_focus(self) -> None:
        """Mark the title: keys act on this chart."""
        self.refresh()

    def on_blur(self) -> None:
        """Take the mark off the title."""
        self.refresh()

    def action_scale(self) -> None:
        """Change between a linear and a logarithmic y axis."""
        self.log_scale = not self.log_scale

    def action_smooth(self) -> None:
        """Smooth more; after the strongest smoothing, none."""
        self.smoothing = next((weight for weight in WEIGHTS if weight > self.smoothing), WEIGHTS[0])

    def render(self) -> Content:
        """The chart at its present size."""
        curves = [Curve.of(points, self.panel.factor) for points in self._series.values()]
        named = [(number, one_line(name, 24)) for number, name in enumerate(self._series)]
        lines = [Line(*name, curve, bool(self.smoothing)) for name, curve in zip(named, curves, strict=True)]
        if self.smoothing:
            smooth = [curve.smoothed(self.smoothing) for curve in curves]
            lines += [Line(*name, curve) for name, curve in zip(named, smooth, strict=True)]
        smoothed = f"smoothed {self.smoothing:g}" if self.smoothing else ""
        notes = ("log y" if self.log_scale else "", smoothed, self.hint)
        title = f"▸{self.panel.title}" if self.has_focus else self.panel.title
        width, height = self.content_size
        note = "  ".join(filter(None, notes))
        return Content("\n").join(plot(lines, width, height, log=self.log_scale, note=note, title=title))


class ChartPanels(Container):
    """The charts of a run. A panel without data is hidden; it never shows zero instead."""

    DEFAULT_CSS = """
    ChartPanels {
        layout: grid;
        grid-size: 1;
        &.pair { grid-size: 2; grid-gutter: 0 1; }
        &.grid { grid-size: 2; grid-rows: 2fr 1fr; grid-gutter: 0 1; }
        &.grid > .whole-row { column-span: 2; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(*map(Chart, PANELS), id=id)
        self.names = [PANELS[0].name]
        """The panels that have data; the first one while none has."""
        self.at = PANELS[0].name
        """The panel that shows where there is room for one only."""
        self.next_key = "p"
        """The key of the next panel, for the hint."""
        self.zoomed = False

    def on_mount(self) -> None:
        self.lay_out()

    def on_resize(self) -> None:
        self.lay_out()

    def chart(self, name: str) -> Chart:
        """The chart of a panel."""
        return self.query_one(f"#chart-{name}", Chart)

    @property
    def chart_at_hand(self) -> Chart:
        """The chart that keys act on: the one in focus, else the one at hand."""
        focused = next((chart for chart in self.query(Chart) if chart.has_focus), None)
        return focused or self.chart(self.at)

    @property
    def is_grid(self) -> bool:
        """Whether all panels show."""
        return not self.zoomed and self.size.width >= GRID_WIDTH and self.size.height >= GRID_HEIGHT

    @property
    def is_pair(self) -> bool:
        """Whether the panel at hand and the next one stand side by side."""
        has_room = self.size.width >= PAIR_WIDTH and not self.is_grid
        return has_room and not self.zoomed and len(self.names) > 1

    def show_series(self, mine: SeriesMap, label: str, other: SeriesMap, other_label: str) -> None:
        """Draw the series of a run, and over them those of another run if there is one."""
        names = []
        for panel in PANELS:
            drawn = {}
            for series, run in ((mine, label if other_label else ""), (other, other_label)):
                for key, name in panel.series:
                    if points := series.get(key):
                        drawn[f"{run} {name}".strip() or panel.title] = points
            self.chart(panel.name).set_series(drawn)
            if drawn:
                names.append(panel.name)
        names = names or [PANELS[0].name]
        if names != self.names:
            self.names = names
            self.lay_out()

    def lay_out(self) -> None:
        """Show what fits: all panels, the loss above the others; else one, or two side by side."""
        grid, pair, names = self.is_grid, self.is_pair, self.names
        if self.at not in names:
            self.at = names[0]
        self.set_class(grid and len(names) > 1, "grid")
        self.set_class(pair, "pair")
        shown = names if grid else [self.at, self._after(self.at)] if pair else [self.at]
        for chart in self.query(Chart):
            name = chart.panel.name
            chart.display = name in shown
            # An odd panel out at the end takes the row that it would leave half empty.
            is_odd = name == names[-1] and len(names) % 2 == 0
            chart.set_class(grid and (name == names[0] or is_odd), "whole-row")
            has_hint = name in names and len(names) > 1 and not grid
            chart.hint = f"{self.next_key} {names.index(name) + 1}/{len(names)}" if has_hint else ""

    def _after(self, name: str) -> str:
        return self.names[(self.names.index(name) + 1) % len(self.names)]

    def next(self) -> None:
        """Go to the next panel: show it, or give it the focus where all panels show."""
        chart = self.chart_at_hand
        focused = chart.has_focus
        if self.is_grid:
            self.at = self._after(chart.panel.name) if focused else self.names[0]
        else:
            self.at = self._after(self.at)
        self.lay_out()
        if self.is_grid or focused:
            self.chart(self.at).focus()

    def zoom(self, zoomed: bool) -> None:
        """Give one panel all the room, or show as many as fit again."""
        self.at = self.chart_at_hand.panel.name
        self.zoomed = zoomed
        self.lay_out()
