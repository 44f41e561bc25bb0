"""The prepared data of one student, over its recipe: row by row as it is trained on, and what was dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from qdl_engine.lab import Lab
from qdl_engine.prompts import Mode
from qdl_engine.status import SYSTEM_NAMES
from qdl_engine.text import printable
from qdl_tui.data_view import DataView, read_data, report_lines
from qdl_tui.widgets.bars import KeyBar

if TYPE_CHECKING:
    from qdl_tui.app import QdlApp


@dataclass
class DataRead(Message):
    """A row was read."""

    view: DataView


class DataScreen(ModalScreen[None]):
    """One row at a time; the trained part stands behind bars, not only in another colour."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS = [
        Binding("right_square_bracket,n", "move(1)", "Next row", key_display="]", id="data.next"),
        Binding("left_square_bracket,N", "move(-1)", "Previous", key_display="[", id="data.previous"),
        Binding("h", "report", "Report", tooltip="What was dropped, and how long rows are", id="data.report"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="data.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="data.up"),
        Binding("escape,q", "close", "Close", key_display="esc", id="data.close"),
    ]

    def __init__(self, lab: Lab, system: Mode, system_prompt: str) -> None:
        super().__init__()
        self.lab = lab
        self.system: Mode = system
        self.system_prompt = system_prompt
        self.view: DataView | None = None
        self.on_report = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Static("", markup=False, classes="dialog-title")
            with VerticalScroll(can_focus=False):
                yield Static("", markup=False, id="data-text")
            yield KeyBar()

    def on_mount(self) -> None:
        self.read_row(0)

    @work(thread=True, exclusive=True, group="data", exit_on_error=False)
    def read_row(self, number: int) -> None:
        self.post_message(DataRead(read_data(self.lab, self.system, number, self.system_prompt)))

    @on(DataRead)
    def show_row(self, message: DataRead) -> None:
        if message.view.row is None and self.view is not None:
            return  # beyond the last row: stay
        self.view = message.view
        self._draw()

    def _draw(self) -> None:
        view = self.view
        if view is None:
            return
        name, kept = SYSTEM_NAMES[self.system], view.report.get("kept")
        if self.on_report or view.row is None:
            title, body = f"Data of {name}: report", Content("\n".join(report_lines(view.report)))
        else:
            of = f" of {kept:,}" if isinstance(kept, int) else ""
            levels = [
                f"{key.upper()} {view.row[key]}" for key in ("rv", "cd") if view.row.get(key) is not None
            ]
            title = f"Data of {name}: row {view.number + 1}{of}  {'  '.join(levels)}"
            body = _row_text(view)
        self.query_one(".dialog-title", Static).update(Content(printable(title)))
        self.query_one("#data-text", Static).update(body)

    def action_move(self, rows: int) -> None:
        if self.view is not None and self.view.number + rows >= 0:
            self.on_report = False
            self.read_row(self.view.number + rows)

    def action_report(self) -> None:
        self.on_report = not self.on_report
        self._draw()

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_close(self) -> None:
        self.dismiss()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            cast("QdlApp", self.app).tell_error(event.worker.error)


def _row_text(view: DataView) -> Content:
    trained = printable(view.trained) or "(no answer yet: the teacher has to label it)"
    bars = "\n".join(f"▌{line}" for line in trained.splitlines())
    return Content.assemble((printable(view.prompt), "$text-muted"), (bars, "bold"))
