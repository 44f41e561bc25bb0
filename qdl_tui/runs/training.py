"""Screen 5, training: log and curves of one run, live. It only reads: leaving it does not touch the run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from qdl_engine.core.lab import Lab
from qdl_engine.runs.record import number_of
from qdl_engine.runs.store import Run
from qdl_tui.chart.panels import ChartPanels
from qdl_tui.log.pane import LogPane
from qdl_tui.runs.actions import RUN_KEYS, RunActions
from qdl_tui.runs.feed import (
    TrainingFeed,
    TrainingView,
    figures,
    fit,
    head,
    number_text,
    paragraphs,
    runs_with_curves,
    told_of,
)
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import ChooseScreen
from qdl_tui.shared.held_keys import DIALOG
from qdl_tui.shared.split_panes import SplitPanes

STATE_LOOKS = {
    "queued": ("·", "$text-muted"),
    "starting": ("▶", "$primary"),
    "running": ("▶", "$primary"),
    "stopping": ("■", "$warning"),
    "done": ("✓", "$success"),
    "failed": ("✗", "$error"),
    "stopped": ("■", "$warning"),
    "lost": ("?", "$error"),
}
NO_RUN = "none"


@dataclass
class TrainingRead(Message):
    """The run as it stands now; None when the lab has none."""

    lab: Lab
    view: TrainingView | None

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, TrainingRead)


class TrainingScreen(BaseScreen):
    """One run: its state in a few lines, its curves, its log."""

    MODE = "training"
    TICK = 1.0
    CSS_PATH = "training.tcss"
    BINDINGS = [
        *RUN_KEYS,
        Binding(
            "z",
            "zoom",
            "Zoom",
            tooltip="Give the whole screen to the pane in focus, or back",
            id="training.zoom",
        ),
        Binding(
            "p",
            "panel",
            "Next panel",
            show=False,
            tooltip="The next chart: loss, learning rate, gradient norm, tokens/s, memory",
            id="training.panel",
        ),
        Binding(
            "v",
            "overlay",
            "Overlay a run",
            show=False,
            tooltip="Overlay another run's curves",
            id="training.overlay",
        ),
        Binding(
            "y",
            "scale",
            "Linear or log",
            show=False,
            tooltip="Linear or logarithmic y axis",
            id="chart.scale",
        ),
        Binding(
            "e",
            "smooth",
            "Smoothing",
            show=False,
            tooltip="Smooth the curves more, or not",
            id="chart.smooth",
        ),
        Binding(
            "left_square_bracket", "move(1)", "Older run", show=False, key_display="[", id="training.older"
        ),
        Binding(
            "right_square_bracket", "move(-1)", "Newer run", show=False, key_display="]", id="training.newer"
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.feed = TrainingFeed()
        self.run_actions = RunActions(self, self.run_at_hand)
        self.view: TrainingView | None = None
        self.beside = ""
        """The id of the run that is overlaid; empty for none."""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="run-status")
        with SplitPanes(name="training", kept=self.lab_app.state.splits, id="training-panes"):
            yield ChartPanels(id="charts")
            yield LogPane(None, id="log")

    def on_mount(self) -> None:
        self.query_one(LogPane).view.focus()

    @property
    def charts(self) -> ChartPanels:
        return self.query_one(ChartPanels)

    def lab_opened(self) -> None:
        self.view = None
        self.beside = ""

    def tick(self) -> None:
        self.read_run()

    @work(thread=True, exclusive=True, group="training", exit_on_error=False)
    def read_run(self, move: int = 0) -> None:
        lab = self.lab
        view = self.feed.read(lab, self.lab_app.run_id, move, beside=self.beside)
        self.post_message(TrainingRead(lab, view))

    @on(TrainingRead)
    def show_run(self, message: TrainingRead) -> None:
        if message.lab != self.lab:
            return
        before, view = self.view, message.view
        self.view = view
        if view is None:
            self.query_one("#run-status", Static).update(self.run_actions.no_run())
            self.run_actions.offer_again()
            return
        if before is not None and before.run.id != view.run.id:
            self.lab_app.state.remember_run(self.lab.root, view.run.id)
            self.lab_app.save_state()
        self.lab_app.run_id = view.run.id
        if before is None or before.run.directory != view.run.directory:
            self.query_one(LogPane).show_file(view.run.log_file)
        self.run_actions.offer_again()
        self._show_status(view)
        self.set_class(view.run.kind != "train" and not view.series, "no-charts")
        self.charts.next_key = self.key_of("training.panel")
        own, other = number_of(view.run.id), number_of(view.beside)
        self.charts.show_series(view.series, own, view.beside_series, other)

    def on_resize(self) -> None:
        if self.view is not None:
            self._show_status(self.view)

    def _show_status(self, view: TrainingView) -> None:
        run, width = view.run, max(20, self.size.width - 2)
        sign, colour = STATE_LOOKS[run.state]
        state = f"{sign} {run.state}  "
        place = f"{view.position} of {view.total}" if view.total > 1 else ""
        title, rest = head(run, view.summary, place, width - len(state) - 2)
        first = Content.assemble((state, f"bold {colour}"), f"{title}  ", (rest, colour))
        lines = [first, *map(Content, fit(figures(run, view.summary, view.held_out_at), width))]
        lines += [Content.styled(line, colour) for line in paragraphs(told_of(run), width)]
        note = paragraphs(run.note and f"Note: {run.note}", width, rows=1)
        lines += [Content.styled(line, "$accent") for line in note]
        self.query_one("#run-status", Static).update(Content("\n").join(lines))

    def run_at_hand(self) -> Run | None:
        return self.view.run if self.view is not None else None

    def why_not(self, action: str) -> str:
        return self.run_actions.why_not(action)

    def action_stop(self) -> None:
        self.run_actions.stop()

    def action_resume(self) -> None:
        self.run_actions.resume()

    def action_rename(self) -> None:
        self.run_actions.rename()

    def action_note(self) -> None:
        self.run_actions.note()

    def action_copy_id(self) -> None:
        self.run_actions.copy_id()

    def action_export(self) -> None:
        self.run_actions.export()

    def action_move(self, runs: int) -> None:
        self.read_run(runs)

    # Charts ------------------------------------------------------------------------------------------------

    def action_zoom(self) -> None:
        """The pane in focus alone, or all again."""
        zoomed = self.has_class("zoom-log") or self.has_class("zoom-charts")
        on_chart = self.charts.has_focus_within
        self.set_class(not zoomed and not on_chart, "zoom-log")
        self.set_class(not zoomed and on_chart, "zoom-charts")
        self.charts.zoom(not zoomed and on_chart)

    def action_panel(self) -> None:
        self.charts.next()

    def action_scale(self) -> None:
        """Change the y axis of the chart in focus, else of the one on show."""
        self.charts.chart_at_hand.action_scale()

    def action_smooth(self) -> None:
        """Smooth the chart in focus, else the one on show."""
        self.charts.chart_at_hand.action_smooth()

    def action_overlay(self) -> None:
        """Choose a run from those that have curves."""
        if self.view is not None:
            self.read_others(self.view.run)

    @work(exclusive=True, group=DIALOG, exit_on_error=False)
    async def read_others(self, run: Run) -> None:
        found = await asyncio.to_thread(runs_with_curves, run.lab, run.id)
        if not found:
            self.notify("No other run has curves")
            return

        def chosen(run_id: str | None) -> None:
            if run_id:
                self.beside = "" if run_id == NO_RUN else run_id
                self.read_run()

        options = [
            (other.id, f"{other.state}  loss {number_text(summary.loss)}  {other.name}".rstrip())
            for other, summary in found
        ]
        options.append((NO_RUN, "only this run's own curves"))
        self.app.push_screen(ChooseScreen("Overlay which run?", options, now=self.beside), chosen)
