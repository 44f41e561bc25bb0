"""Screen 5, training: log and loss of one run, live. It only reads: leaving it leaves the run alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from qdl_engine.lab import Lab
from qdl_engine.runs.reader import RunSummary
from qdl_engine.runs.store import Run
from qdl_engine.status import size_text
from qdl_engine.text import one_line, printable
from qdl_tui.feed import TrainingFeed, TrainingView, duration_text, number_text
from qdl_tui.screens.run_actions import RunActionsScreen
from qdl_tui.widgets.log_pane import LogPane
from qdl_tui.widgets.loss_chart import LossChart
from qdl_tui.widgets.split_panes import SplitPanes

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
BAR = 20


@dataclass
class TrainingRead(Message):
    """The run was looked at; None when the lab has none."""

    lab: Lab
    view: TrainingView | None

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, TrainingRead)


class TrainingScreen(RunActionsScreen):
    """One run: its state in two lines, its loss, its log."""

    MODE = "training"
    TICK = 1.0
    CSS_PATH = "training.tcss"
    BINDINGS = [
        Binding(
            "z",
            "zoom",
            "Zoom",
            tooltip="Give the whole screen to the pane in focus, or back",
            id="training.zoom",
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
        self.view: TrainingView | None = None
        self._series: tuple[object, object] = ((), ())

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="run-status")
        with SplitPanes(name="training", kept=self.lab_app.state.splits, id="training-panes"):
            yield LossChart(id="loss")
            yield LogPane(None, id="log")

    def on_mount(self) -> None:
        self.query_one(LogPane).view.focus()

    def lab_opened(self) -> None:
        self.view = None

    def tick(self) -> None:
        self.read_run()

    @work(thread=True, exclusive=True, group="training", exit_on_error=False)
    def read_run(self, move: int = 0) -> None:
        lab = self.lab
        self.post_message(TrainingRead(lab, self.feed.read(lab, self.lab_app.run_id, move)))

    @on(TrainingRead)
    def show_run(self, message: TrainingRead) -> None:
        if message.lab != self.lab:
            return
        before, view = self.view, message.view
        self.view = view
        if view is None:
            self.query_one("#run-status", Static).update("No run yet. The lab screen (1) starts one.")
            return
        self.lab_app.run_id = view.run.id
        if before is None or before.run.directory != view.run.directory:
            self.query_one(LogPane).show_file(view.run.log_file)
        self._show_status(view)
        self.set_class(view.run.kind != "train" and not view.losses, "no-loss")
        if (view.losses, view.held_out) != self._series:
            self._series = (view.losses, view.held_out)
            series = {"train": list(view.losses), "held out": list(view.held_out)}
            self.query_one(LossChart).set_series(series, x_label="step")

    def on_resize(self) -> None:
        if self.view is not None:
            self._show_status(self.view)

    def _show_status(self, view: TrainingView) -> None:
        sign, colour = STATE_LOOKS[view.run.state]
        progress = "" if view.summary.progress is None else _bar(view.summary.progress)
        first = Content.assemble(
            (f"{sign} {view.run.state}", f"bold {colour}"),
            f"  {printable(view.run.name or view.run.id)}  ",
            (progress, colour),
            f"  {view.position} of {view.total}" if view.total > 1 else "",
        )
        width = max(20, self.size.width - 2)
        lines = [first, Content(one_line(figures_text(view.run, view.summary), width))]
        if view.run.message:
            lines.append(Content.styled(one_line(f"{view.run.message} {view.run.hint}", width), colour))
        self.query_one("#run-status", Static).update(Content("\n").join(lines))

    def run_at_hand(self) -> Run | None:
        return self.view.run if self.view is not None else None

    def action_move(self, runs: int) -> None:
        self.read_run(runs)

    def action_zoom(self) -> None:
        """The pane in focus alone, or both again."""
        zoomed = self.has_class("zoom-log") or self.has_class("zoom-loss")
        on_chart = self.focused is not None and self.focused.id == "loss"
        self.set_class(not zoomed and not on_chart, "zoom-log")
        self.set_class(not zoomed and on_chart, "zoom-loss")


def figures_text(run: Run, summary: RunSummary) -> str:
    """What a run has to tell in one line; what it has not said is left out."""
    parts = []
    if summary.stage and summary.stage != "train":
        done = "" if summary.done is None else f" {summary.done:,}"
        parts.append(
            f"{summary.stage}{done}{f' of {summary.total:,}' if summary.total else ''} {summary.unit}".strip()
        )
    elif summary.step is not None:
        parts.append(f"step {summary.step}{f'/{summary.total_steps}' if summary.total_steps else ''}")
    if summary.loss is not None:
        parts.append(f"loss {number_text(summary.loss)}")
    if summary.held_out_loss is not None:
        parts.append(f"held out {number_text(summary.held_out_loss)}")
    if run.active and summary.eta_seconds is not None:
        parts.append(f"ETA {duration_text(summary.eta_seconds)}")
    if summary.tokens_per_second is not None:
        parts.append(f"{summary.tokens_per_second:,.0f} tok/s")
    parts.append(f"time {duration_text(run.seconds)}" if run.seconds is not None else "")
    if summary.epoch is not None:
        parts.append(f"epoch {summary.epoch:.2f}")
    if summary.learning_rate is not None:
        parts.append(f"lr {number_text(summary.learning_rate)}")
    if summary.grad_norm is not None:
        parts.append(f"grad {number_text(summary.grad_norm)}")
    if summary.gpu_memory:
        parts.append(f"GPU {size_text(int(summary.gpu_memory))}")
    return " · ".join(part for part in parts if part)


def _bar(progress: float) -> str:
    full = round(progress * BAR)
    return f"{'━' * full}{'─' * (BAR - full)} {progress:.0%}"
