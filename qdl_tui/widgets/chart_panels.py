"""The charts of a run: loss, learning rate, gradient norm, speed, memory, GPU; one at a time, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.containers import Container

from qdl_tui.widgets.chart_data import Point
from qdl_tui.widgets.loss_chart import LossChart

GRID_WIDTH, GRID_HEIGHT = 40, 20
"""Cells from which all panels are shown at once."""
PAIR_WIDTH = 96
"""Cells from which two panels stand side by side."""


@dataclass(frozen=True)
class Panel:
    """One chart: its name, what stands above it, and the series it draws, each with its label."""

    name: str
    title: str
    series: tuple[tuple[str, str], ...]
    factor: float = 1.0
    """From a series' unit to the one in the title."""


PANELS = (
    Panel("loss", "loss", (("loss", "train"), ("held_out_loss", "held out"))),
    Panel("rate", "learning rate", (("learning_rate", ""),)),
    Panel("grad", "gradient norm", (("grad_norm", ""),)),
    Panel("speed", "tokens/s", (("tokens_per_second", ""),)),
    Panel("gpu-memory", "GPU memory, GB", (("gpu_memory_bytes", ""),), 1e-9),
    Panel("gpu-use", "GPU use, %", (("gpu_use", ""),), 100.0),
    Panel("memory", "memory, GB", (("memory_bytes", ""),), 1e-9),
)

SeriesMap = Mapping[str, Sequence[tuple[int, float]]]


class ChartPanels(Container):
    """A panel is there when the run told what it draws: absent is hidden, never zero."""

    DEFAULT_CSS = """
    ChartPanels {
        layout: grid;
        grid-size: 1;
        & > LossChart { height: 1fr; width: 1fr; }
        &.pair { grid-size: 2; grid-gutter: 0 1; }
        &.grid { grid-size: 2; grid-rows: 2fr 1fr; grid-gutter: 0 1; }
        &.grid > .whole-row { column-span: 2; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(*(LossChart(title=panel.title, id=f"chart-{panel.name}") for panel in PANELS), id=id)
        self.present: list[Panel] = []
        self.at = PANELS[0].name
        """The panel on show where there is room for one only."""
        self.next_key = "p"
        """The key of the next panel, for the hint."""
        self.zoomed = False
        self._seen: dict[str, dict[str, Sequence[Point]]] = {}

    def on_mount(self) -> None:
        self.lay_out()

    def on_resize(self) -> None:
        self.lay_out()

    def chart(self, name: str) -> LossChart:
        """The chart of a panel."""
        return self.query_one(f"#chart-{name}", LossChart)

    @property
    def chart_at_hand(self) -> LossChart:
        """The chart that keys act on: the one in focus, else the one on show."""
        focused = next((chart for chart in self.query(LossChart) if chart.has_focus), None)
        return focused or self.chart(self.at)

    @property
    def is_grid(self) -> bool:
        """Whether all panels are on show."""
        return not self.zoomed and self.size.width >= GRID_WIDTH and self.size.height >= GRID_HEIGHT

    @property
    def is_pair(self) -> bool:
        """Whether the panel at hand and the next one stand side by side."""
        room = self.size.width >= PAIR_WIDTH and not self.is_grid
        return room and not self.zoomed and len(self.present) > 1

    def show_series(self, mine: SeriesMap, label: str, other: SeriesMap, other_label: str) -> None:
        """Draw a run's series, and over them those of another run where there is one."""
        for panel in PANELS:
            self._draw(panel, mine, label, other, other_label)
        present = [
            panel for panel in PANELS if any(mine.get(key) or other.get(key) for key, _ in panel.series)
        ]
        if present != self.present:
            self.present = present
            self.lay_out()

    def _draw(self, panel: Panel, mine: SeriesMap, label: str, other: SeriesMap, other_label: str) -> None:
        drawn: dict[str, Sequence[Point]] = {}
        for series, run in ((mine, label if other_label else ""), (other, other_label)):
            for key, name in panel.series:
                points = series.get(key)
                if points:
                    drawn[f"{run} {name}".strip() or panel.title] = points
        # The same objects as the last time: nothing to look at.
        seen = self._seen.get(panel.name, {})
        if list(seen) == list(drawn) and all(seen[name] is points for name, points in drawn.items()):
            return
        self._seen[panel.name] = drawn
        if panel.factor != 1.0:
            drawn = {name: _scaled(points, panel.factor) for name, points in drawn.items()}
        self.chart(panel.name).set_series(drawn, x_label="step")

    def lay_out(self) -> None:
        """Show what fits: all panels, the loss above the others; else one, or two side by side."""
        grid, pair = self.is_grid, self.is_pair
        names = [panel.name for panel in self.present] or [PANELS[0].name]
        if self.at not in names:
            self.at = names[0]
        self.set_class(grid and len(names) > 1, "grid")
        self.set_class(pair, "pair")
        shown = names if grid else [self.at]
        if pair:
            shown = sorted([self.at, names[(names.index(self.at) + 1) % len(names)]], key=names.index)
        rest = [name for name in names if name != names[0]]
        for panel in PANELS:
            chart = self.chart(panel.name)
            chart.display = panel.name in shown
            alone = len(rest) % 2 == 1 and panel.name == names[-1]
            chart.set_class(grid and (panel.name == names[0] or alone), "whole-row")
            place = f"{names.index(panel.name) + 1}/{len(names)}" if panel.name in names else ""
            chart.hint = "" if grid or len(names) < 2 else f"{self.next_key} {place}"

    def next(self) -> None:
        """The panel after the one at hand: on show, or in focus where all are on show."""
        names = [panel.name for panel in self.present] or [PANELS[0].name]
        if self.is_grid:
            self.at = (self.chart_at_hand.id or "").removeprefix("chart-")
        focused = self.chart_at_hand.has_focus
        first = self.is_grid and not focused
        self.at = names[0] if first else names[(names.index(self.at) + 1) % len(names)]
        self.lay_out()
        if self.is_grid or focused:
            self.chart(self.at).focus()

    def zoom(self, zoomed: bool) -> None:
        """One panel in all of the room, or as many as fit again."""
        self.at = (self.chart_at_hand.id or "").removeprefix("chart-")
        self.zoomed = zoomed
        self.lay_out()


def _scaled(points: Sequence[Point], factor: float) -> list[Point]:
    return [(x, None if y is None else y * factor) for x, y in points]
